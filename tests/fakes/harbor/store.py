"""What the fake Harbor stores, and what its API lists: as Harbor's own registry accepts it.

A manifest is accepted with all of its blobs, an index with all of its manifests, a blob while the
project has room for it, and nothing is accepted for a project that is gone.
"""

import hashlib
import threading
from dataclasses import dataclass, field
from pathlib import Path

from plan.images import manifests


class NotTakenError(Exception):
    """Harbor's registry refuses what its proxy wants to store."""


@dataclass
class Repository:
    """One repository of a project.

    Attributes:
        id: of the repository.
        blobs: digests of configs and layers.
        manifests: digest -> (media type, content).
        tags: tag -> digest.
    """

    id: int
    blobs: set = field(default_factory=set)
    manifests: dict = field(default_factory=dict)
    tags: dict = field(default_factory=dict)

    def artifacts(self):
        """Digest -> artifact."""
        return {
            digest: _artifact(digest, media_type, content)
            for digest, (media_type, content) in list(self.manifests.items())
        }

    def find(self, reference):
        """The artifact with a tag or a digest; None if there is none."""
        return self.artifacts().get(self.tags.get(reference, reference))


@dataclass
class Artifact:
    """A stored artifact: `references` are (digest, platform) of an index's manifests."""

    digest: str
    media_type: str
    content: bytes
    size: int
    references: list


class Store:
    """Repositories by (project's id, name), their blobs in one folder.

    Attributes:
        remembered: (repository with its project's name, digest) -> (media type, content) of every
            index that was sent; stays when the project goes.
        trimmed: digest of an index that was requested -> digest that it was stored under.
    """

    def __init__(self, folder):
        self.folder = Path(folder)
        self.repositories = {}
        self.remembered = {}
        self.trimmed = {}
        self._ids = 0
        self.lock = threading.RLock()

    def repository(self, project, name):
        """The repository, created if there is none: it is listed once it has a manifest."""
        with self.lock:
            if (project, name) not in self.repositories:
                self._ids += 1
                self.repositories[project, name] = Repository(self._ids)
            return self.repositories[project, name]

    def listed(self, project):
        """(name, repository) of those with a manifest, by name."""
        with self.lock:
            return sorted(
                (name, one)
                for (number, name), one in self.repositories.items()
                if number == project and one.manifests
            )

    def remove(self, project, name):
        with self.lock:
            del self.repositories[project, name]

    def blob(self, digest):
        return self.folder / digest.replace(":", "-")

    def used(self, project):
        """Bytes of a project's blobs."""
        with self.lock:
            mine = [one.blobs for (owner, _), one in self.repositories.items() if owner == project]
        files = [self.blob(digest) for digest in set().union(*mine)]
        return sum(file.stat().st_size for file in files if file.exists())

    def forget(self, key):
        """Delete a key of its Redis."""
        _, kind, name = key.split(":", 2)
        repository, _, digest = name.rpartition(":sha256:")
        if kind == "manifestlist":
            del self.remembered[repository, f"sha256:{digest}"]
        elif kind == "trimmedmanifestlist":
            self.trimmed.pop(name, None)
        else:
            raise KeyError(key)

    def put_manifest(self, repository, media_type, content, tag=""):
        """Store a manifest or an index, and set a tag to it."""
        digest = digest_of(content)
        manifest = manifests.parse(content)
        there = repository.manifests if manifest.is_index else repository.blobs
        if missing := {part.digest for part in manifest.refers_to} - set(there):
            raise NotTakenError(f"{digest}: {', '.join(sorted(missing))} unknown")
        repository.manifests[digest] = (media_type, content)
        if tag:
            repository.tags[tag] = digest


def digest_of(content):
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _artifact(digest, media_type, content):
    manifest = manifests.parse(content)
    if manifest.is_index:
        references = [(part.digest, part.platform) for part in manifest.refers_to]
        return Artifact(digest, media_type, content, len(content), references)
    size = len(content) + sum(part.size for part in manifest.refers_to)
    return Artifact(digest, media_type, content, size, [])
