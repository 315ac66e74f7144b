"""What the double of Harbor has pulled through, and what of it its API lists.

As in `src/controller/proxy` of goharbor/harbor: a manifest is held once all of its blobs are, an
index with the manifests that are there. Two things differ: the real one does it 20 to 400 seconds
later, and fetches by itself what a client did not ask for.
"""

import hashlib
import json
import threading
from dataclasses import dataclass, field
from pathlib import Path

from plan import manifests


@dataclass
class Repository:
    """One repository of a project.

    Attributes:
        id: of the repository.
        blobs: digests of configs and layers that came through it.
        manifests: digest -> (media type, content) of all that came through it.
        tags: tag -> digest upstream.
    """

    id: int
    blobs: set = field(default_factory=set)
    manifests: dict = field(default_factory=dict)
    tags: dict = field(default_factory=dict)

    def artifacts(self):
        """Digest upstream -> what is held of it."""
        held = {}
        for digest, (media_type, content) in self.manifests.items():
            if artifact := self._held(digest, media_type, content):
                held[digest] = artifact
        return held

    def find(self, reference):
        """What is held under a tag or a digest; None where nothing is."""
        held = self.artifacts()
        if not reference.startswith("sha256:"):
            return held.get(self.tags.get(reference))
        return next((one for one in held.values() if one.digest == reference), None)

    def _held(self, digest, media_type, content):
        manifest = manifests.parse(content)
        if not manifest.is_index:
            if not {part.digest for part in manifest.refers_to} <= self.blobs:
                return None
            size = len(content) + sum(part.size for part in manifest.refers_to)
            return Artifact(digest, media_type, content, size, [])
        there = {
            part.digest: child
            for part in manifest.refers_to
            if part.digest in self.manifests
            and (child := self._held(part.digest, *self.manifests[part.digest]))
        }
        if not there:
            return None
        if len(there) < len(manifest.refers_to):
            content = _trimmed(content, there)
            digest = digest_of(content)
        references = [
            (part.digest, part.platform) for part in manifest.refers_to if part.digest in there
        ]
        return Artifact(digest, media_type, content, len(content), references)


@dataclass
class Artifact:
    """What is held: `references` are (digest, platform) of an index's manifests."""

    digest: str
    media_type: str
    content: bytes
    size: int
    references: list


class Store:
    """Repositories by (project's id, name), their blobs in one folder."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.repositories = {}
        self._ids = 0
        self._lock = threading.RLock()

    def repository(self, project, name):
        """The repository, made if there is none: it is listed once it holds something."""
        with self._lock:
            if (project, name) not in self.repositories:
                self._ids += 1
                self.repositories[project, name] = Repository(self._ids)
            return self.repositories[project, name]

    def listed(self, project):
        """(name, repository) of those that hold something, by name."""
        with self._lock:
            return sorted(
                (name, one)
                for (number, name), one in self.repositories.items()
                if number == project and one.artifacts()
            )

    def remove(self, project, name):
        with self._lock:
            del self.repositories[project, name]

    def blob(self, digest):
        return self.folder / digest.replace(":", "-")


def digest_of(content):
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _trimmed(content, there):
    index = json.loads(content)
    index["manifests"] = [one for one in index["manifests"] if one["digest"] in there]
    return json.dumps(index, indent=3).encode()
