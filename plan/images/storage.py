"""The content of a cache's volume, in distribution's file layout, and what is missing there.

An image is complete if the registry can serve all of it without an upstream. That takes the tag's
link, the manifest's link and content, and for the config and the layers the link in this repository
and the content. Source of the layout: `registry/storage/paths.go` of distribution v3.
"""

import re
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from plan.images import manifests
from plan.images.digest import digest_of_hex, is_digest
from plan.images.manifests import Descriptor, Manifest, intact
from plan.images.reference import ImageReference, Platform

ROOT = "docker/registry/v2"
# Where `import` keeps an incoming blob, below ROOT; the registry does not look there.
STAGING = "talos-cache-import"
# Where links are made, in a folder per run: `warm` may run at the same time as an import.
LINKS_STAGING = f"{STAGING}-links"
# A link is a file whose content is a digest: "sha256:" and 64 digits.
LINK_BYTES = 71
_BLOB = re.compile(r"blobs/sha256/[0-9a-f]{2}/([0-9a-f]{64})/data")
_LINK = re.compile(r"repositories/(.+)/(_layers|_manifests/revisions)/sha256/([0-9a-f]{64})/link")
_TAG = re.compile(r"repositories/(.+)/_manifests/tags/([^/]+)/current/link")

_ATTACHED = re.compile(r"sha256-([0-9a-f]{64})(?:\..+)?")

IMAGE = "image"
ATTACHED = "attached"
LOOKED_AT = "looked at"

MISSING = "missing"
WRONG_SIZE = "wrong size"
DAMAGED = "damaged"


@dataclass(frozen=True, kw_only=True)
class Repository:
    """What is linked in one repository.

    Attributes:
        tags: tag -> digest of its manifest or index.
        revisions: digests of manifests and indexes.
        layers: digests of configs and layers.
    """

    tags: Mapping[str, str]
    revisions: frozenset[str]
    layers: frozenset[str]


_NO_REPOSITORY = Repository(tags={}, revisions=frozenset(), layers=frozenset())


@dataclass(frozen=True, kw_only=True)
class Store:
    """One cache's volume.

    Attributes:
        blobs: digest -> size in bytes of its file.
        repositories: name -> what is linked in it.
        manifests: digest -> content, of every linked manifest and index that exists.
    """

    blobs: Mapping[str, int]
    repositories: Mapping[str, Repository]
    manifests: Mapping[str, bytes] = field(default_factory=dict, repr=False)

    @property
    def size(self) -> int:
        """Bytes of all blobs."""
        return sum(self.blobs.values())

    @cached_property
    def readable(self) -> Mapping[str, Manifest]:
        """Every manifest and index that exists and is not damaged."""
        parsed = {digest: intact(digest, content) for digest, content in self.manifests.items()}
        return {digest: manifest for digest, manifest in parsed.items() if manifest}

    @cached_property
    def gone(self) -> frozenset[str]:
        """Digests that are linked, that an image may need, and whose files are missing.

        The registry writes a link when it has the file. While it runs, it remembers the blobs it
        had: it still announces a missing one, and does not fetch it again. Expiry (`cache.ttl`)
        leaves links too: with the file, the registry removes only the manifest's link and that of
        one repository.
        """
        needed = (repo.revisions | self._needed(repo) for repo in self.repositories.values())
        return frozenset[str]().union(*needed) - self.blobs.keys()

    def _needed(self, repository: Repository) -> frozenset[str]:
        """The linked configs and layers that the repository's manifests name, or may name."""
        if repository.revisions - self.readable.keys():
            return repository.layers
        return repository.layers & _blobs_of(self.readable[one] for one in repository.revisions)

    def repository(self, name: str) -> Repository:
        """What is linked in a repository; nothing if there is no such repository."""
        return self.repositories.get(name, _NO_REPOSITORY)

    def revisions(self) -> tuple[str, ...]:
        """Digests of all manifests that are linked and exist, sorted."""
        linked = {one for repo in self.repositories.values() for one in repo.revisions}
        return tuple(sorted(linked & self.blobs.keys()))


EMPTY = Store(blobs={}, repositories={})


@dataclass(frozen=True, kw_only=True)
class Fault:
    """A missing or broken part of an image.

    Attributes:
        part: "tag", "platform", "index", "manifest", "config" or "layer".
        digest: of the part; empty for a tag and a platform.
        size: in bytes, as the manifest says; 0 if unknown.
        problem: MISSING, WRONG_SIZE or DAMAGED.
    """

    part: str
    digest: str
    size: int
    problem: str


@dataclass(frozen=True, kw_only=True)
class Part:
    """A blob that belongs to an image: a manifest, an index, a config or a layer."""

    part: str
    digest: str
    size: int


def parse_listing(files: Iterable[tuple[str, int]], tags: Mapping[str, str]) -> Store:
    """Build a store, without manifests' contents, from a list of files.

    Args:
        files: (path below ROOT, size in bytes) of every file.
        tags: path of every tag's link -> its content.

    Returns:
        The store; a link that does not contain a digest counts as missing.
    """
    blobs: dict[str, int] = {}
    links: dict[str, dict[str, set[str]]] = {}
    for path, size in files:
        if match := _BLOB.fullmatch(path):
            blobs[digest_of_hex(match[1])] = size
        elif (match := _LINK.fullmatch(path)) and size == LINK_BYTES:
            kinds = links.setdefault(match[1], {"_layers": set(), "_manifests/revisions": set()})
            kinds[match[2]].add(digest_of_hex(match[3]))
    named: dict[str, dict[str, str]] = {}
    for path, digest in tags.items():
        if (match := _TAG.fullmatch(path)) and is_digest(digest):
            named.setdefault(match[1], {})[match[2]] = digest
    return Store(
        blobs=blobs,
        repositories={
            name: Repository(
                tags=named.get(name, {}),
                revisions=frozenset(links.get(name, {}).get("_manifests/revisions", ())),
                layers=frozenset(links.get(name, {}).get("_layers", ())),
            )
            for name in sorted({*links, *named})
        },
    )


def below(store: Store, prefix: str) -> Store:
    """The store with only the repositories below a path, whose names lose it; all blobs stay."""
    if not prefix:
        return store
    start = f"{prefix}/"
    return replace(
        store,
        repositories={
            name.removeprefix(start): repository
            for name, repository in store.repositories.items()
            if name.startswith(start)
        },
    )


def blob_path(digest: str) -> str:
    """Where a blob's content is, below ROOT."""
    return f"{blob_folder(digest)}/data"


def blob_folder(digest: str) -> str:
    """The folder of one blob, below ROOT."""
    algorithm, _, hexadecimal = digest.partition(":")
    return f"blobs/{algorithm}/{hexadecimal[:2]}/{hexadecimal}"


def layer_link(repository: str, digest: str) -> str:
    """The link that lets a repository serve a config or a layer, below ROOT."""
    return f"repositories/{repository}/_layers/{digest.replace(':', '/')}/link"


def revision_link(repository: str, digest: str) -> str:
    """The link that lets a repository serve a manifest by digest, below ROOT."""
    return f"repositories/{repository}/_manifests/revisions/{digest.replace(':', '/')}/link"


def tag_folder(repository: str, tag: str) -> str:
    """The folder of everything about one tag, below ROOT."""
    return f"repositories/{repository}/_manifests/tags/{tag}"


def tag_links(repository: str, tag: str, digest: str) -> tuple[str, str]:
    """A tag's two links to its manifest, below ROOT: the current one, and that in its history."""
    folder = tag_folder(repository, tag)
    return f"{folder}/current/link", f"{folder}/index/{digest.replace(':', '/')}/link"


def images(store: Store, host: str) -> tuple[ImageReference, ...]:
    """Every tagged image of a cache."""
    return tuple(
        ImageReference(host=host, repository=name, tag=tag)
        for name, repository in sorted(store.repositories.items())
        for tag in sorted(repository.tags)
    )


def faults(
    store: Store,
    image: ImageReference,
    platform: Platform,
    damaged: Collection[str] = frozenset(),
) -> tuple[Fault, ...]:
    """What prevents an image from being served without its upstream; nothing if it is complete.

    Args:
        store: of the image's cache.
        image: its reference.
        platform: which entry of an index it needs.
        damaged: digests whose content is known not to match.
    """
    return examined(store, image, platform, damaged)[1]


def parts(store: Store, image: ImageReference, platform: Platform) -> tuple[Part, ...]:
    """Every blob of an image, present or not, as far as its manifests are; each once."""
    return examined(store, image, platform)[0]


def entries(
    index: Manifest, image: ImageReference, platform: Platform
) -> tuple[Descriptor, ...] | None:
    """The entries of an index that an image needs; None if there is none for the platform.

    What is attached to another image (a signature, say) has no platform: all entries are needed.
    """
    if subject_of(image.tag):
        return index.refers_to
    entry = manifests.chosen(index, platform)
    return None if entry is None else (entry,)


def subject_of(tag: str) -> str | None:
    """The digest of what a tag is attached to, by the tag's name; None if it is not attached.

    `sha256-DIGEST` is the referrers tag schema of the distribution specification; cosign adds
    `.sig`, `.att` or `.sbom`.
    """
    match = _ATTACHED.fullmatch(tag)
    return digest_of_hex(match[1]) if match else None


def kind(store: Store, image: ImageReference, faults: Collection[Fault]) -> str:
    """What a tag in a cache is.

    Args:
        store: of the image's cache.
        image: with a tag.
        faults: its faults for some platform.

    Returns:
        IMAGE, ATTACHED (it belongs to another image), or LOOKED_AT: only the manifest was
        requested, and the image was never pulled.
    """
    repository = store.repository(image.repository)
    root = repository.tags.get(image.tag, "")
    if subject_of(image.tag) not in (None, root):
        return ATTACHED
    missing = faults and all(fault.problem == MISSING for fault in faults)
    return LOOKED_AT if missing and _never_pulled(store, repository, root) else IMAGE


def _never_pulled(store: Store, repository: Repository, root: str) -> bool:
    """Whether no layer of it was ever pulled, for any platform, but for those of other images."""
    readable = {
        digest: store.readable[digest] for digest in repository.revisions & store.readable.keys()
    }
    if root not in readable:
        return False
    lost = repository.revisions - readable.keys()
    own, ahead = set[str](), [root]
    while ahead:
        digest = ahead.pop()
        if digest in lost:
            return False  # a manifest is lost, and what it named is unknown
        if digest in readable and digest not in own:
            own.add(digest)
            if readable[digest].is_index:
                ahead += [entry.digest for entry in readable[digest].refers_to]
    others = _blobs_of(readable[digest] for digest in readable.keys() - own)
    # A link proves that there was a pull, even if the file is gone.
    return not (_blobs_of(readable[digest] for digest in own) & repository.layers) - others


def _blobs_of(read: Iterable[Manifest]) -> set[str]:
    plain = (manifest for manifest in read if not manifest.is_index)
    return {entry.digest for manifest in plain for entry in manifest.refers_to}


def examined(
    store: Store,
    image: ImageReference,
    platform: Platform,
    damaged: Collection[str] = frozenset(),
) -> tuple[tuple[Part, ...], tuple[Fault, ...]]:
    """The results of `parts` and `faults` from one walk; for the arguments see `faults`."""
    walk = _Walk(store, image, platform, damaged)
    all_faults = tuple(walk.faults())
    return tuple(walk.seen.values()), all_faults


class _Walk:
    """A walk from the tag down to the layers, which records the parts it sees."""

    def __init__(
        self, store: Store, image: ImageReference, platform: Platform, damaged: Collection[str]
    ) -> None:
        self.store = store
        self.image = image
        self.platform = platform
        self.damaged = damaged
        self.repository = store.repository(image.repository)
        self.seen: dict[str, Part] = {}
        # Not recursive: indexes may be nested to any depth.
        self.ahead: deque[tuple[str, int | None]] = deque()

    def faults(self) -> Iterator[Fault]:
        root = self.image.digest or self.repository.tags.get(self.image.tag, "")
        if not root:
            yield Fault(part="tag", digest="", size=0, problem=MISSING)
            return
        self.ahead.append((root, None))
        while self.ahead:
            yield from self._manifest(*self.ahead.popleft())

    def _manifest(self, digest: str, size: int | None) -> Iterator[Fault]:
        if digest in self.seen:
            return
        content = self.store.manifests.get(digest)
        known = self.store.blobs.get(digest) if size is None else size
        self.seen[digest] = Part(part="manifest", digest=digest, size=known or 0)
        if digest not in self.repository.revisions or content is None:
            yield Fault(part="manifest", digest=digest, size=known or 0, problem=MISSING)
            return
        manifest = intact(digest, content)
        if manifest is None:
            yield Fault(part="manifest", digest=digest, size=known or 0, problem=DAMAGED)
        elif manifest.is_index:
            self.seen[digest] = Part(part="index", digest=digest, size=len(content))
            yield from self._entries(manifest)
        else:
            for entry in manifest.refers_to:
                yield from self._blob(entry)

    def _entries(self, index: Manifest) -> Iterator[Fault]:
        needed = entries(index, self.image, self.platform)
        if needed is None:
            yield Fault(part="platform", digest="", size=0, problem=MISSING)
        else:
            self.ahead.extend((entry.digest, entry.size) for entry in needed)

    def _blob(self, entry: Descriptor) -> Iterator[Fault]:
        if entry.digest in self.seen:
            return
        self.seen[entry.digest] = Part(part=entry.part, digest=entry.digest, size=entry.size)
        size = self.store.blobs.get(entry.digest)
        if size is None or entry.digest not in self.repository.layers:
            problem = MISSING
        elif size != entry.size:
            problem = WRONG_SIZE
        elif entry.digest in self.damaged:
            problem = DAMAGED
        else:
            return
        yield Fault(part=entry.part, digest=entry.digest, size=entry.size, problem=problem)
