"""What a cache's volume holds, in distribution's own layout of files, and what it lacks.

An image is complete when the registry, asked without an upstream, can serve all of it: the tag's
link, the manifest's link and content, and for config and layers the link in this repository and
the content. Source of the layout: `registry/storage/paths.go` of distribution v3.
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
# Where `import` keeps a blob while it comes, below ROOT; the registry does not look there.
STAGING = "talos-cache-import"
# And where links are made, each time in a folder of its own: `warm` may run beside an import.
LINKS_STAGING = f"{STAGING}-links"
# A link is a file that holds a digest: "sha256:" and 64 digits.
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
        blobs: digest -> size in bytes of the file that holds it.
        repositories: name -> what is linked in it.
        manifests: digest -> content of every linked manifest and index that is there.
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
        """Every manifest and index that is there and not damaged."""
        found = {one: intact(one, content) for one, content in self.manifests.items()}
        return {digest: manifest for digest, manifest in found.items() if manifest}

    @cached_property
    def gone(self) -> frozenset[str]:
        """Digests that a repository links and an image of it may need, of files that are not there.

        The registry writes a link when it has the file. While it runs it remembers what it had,
        goes on announcing it, and does not fetch it again. What expires (`cache.ttl`) leaves links
        too: the registry takes away the manifest's and that of one repository, with the file.
        """
        needed = (one.revisions | self._needed(one) for one in self.repositories.values())
        return frozenset[str]().union(*needed) - self.blobs.keys()

    def _needed(self, repository: Repository) -> frozenset[str]:
        """Of what a repository links, configs and layers that its manifests name, or may name."""
        if repository.revisions - self.readable.keys():
            return repository.layers
        return repository.layers & _blobs_of(self.readable[one] for one in repository.revisions)

    def repository(self, name: str) -> Repository:
        """What is linked in a repository; nothing where there is none of that name."""
        return self.repositories.get(name, _NO_REPOSITORY)

    def revisions(self) -> tuple[str, ...]:
        """Digests of every manifest that is linked and there, in a fixed order."""
        linked = {one for repo in self.repositories.values() for one in repo.revisions}
        return tuple(sorted(linked & self.blobs.keys()))


EMPTY = Store(blobs={}, repositories={})


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One thing that an image lacks.

    Attributes:
        part: "tag", "platform", "index", "manifest", "config" or "layer".
        digest: of the part; empty for a tag and a platform.
        size: in bytes, as the manifest says; 0 where nobody knows.
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
    """Make a store, without manifests' contents, from the names of its files.

    Args:
        files: (path below ROOT, size in bytes) of every file.
        tags: path of every tag's link -> what it holds.

    Returns:
        What is linked; a link that does not hold a digest counts as missing.
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
    """The repositories below a path, by their names without it; all blobs stay."""
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
    """The folder that holds one blob, below ROOT."""
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
    """The two links that name a tag's manifest, below ROOT: what it is now, and its history."""
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
    """What keeps an image from being served without its upstream; nothing if it is complete.

    Args:
        store: of the image's cache.
        image: what is wanted.
        platform: which entry of an index is wanted.
        damaged: digests whose content is known not to match.
    """
    return examined(store, image, platform, damaged)[1]


def parts(store: Store, image: ImageReference, platform: Platform) -> tuple[Part, ...]:
    """Every blob of an image as far as its manifests are there, itself there or not; once each."""
    return examined(store, image, platform)[0]


def entries(
    index: Manifest, image: ImageReference, platform: Platform
) -> tuple[Descriptor, ...] | None:
    """Which manifests of an index an image needs; None where there is none for the platform.

    What belongs to another image has no platform: all of it is needed.
    """
    if subject_of(image.tag):
        return index.refers_to
    entry = manifests.chosen(index, platform)
    return None if entry is None else (entry,)


def subject_of(tag: str) -> str | None:
    """The digest of what a tag belongs to, by its name; None if it belongs to nothing.

    `sha256-DIGEST` is the referrers tag schema of the distribution specification; cosign adds
    `.sig`, `.att` or `.sbom`.
    """
    match = _ATTACHED.fullmatch(tag)
    return digest_of_hex(match[1]) if match else None


def kind(store: Store, image: ImageReference, faults: Collection[Fault]) -> str:
    """What a tag of a cache is.

    Returns:
        IMAGE, ATTACHED (it belongs to another image), or LOOKED_AT: somebody has asked for the
        manifest alone, and nobody has pulled the image.

    Args:
        store: of the image's cache.
        image: with a tag.
        faults: what it lacks, for some platform.
    """
    repository = store.repository(image.repository)
    root = repository.tags.get(image.tag, "")
    if subject_of(image.tag) not in (None, root):
        return ATTACHED
    missing = faults and all(fault.problem == MISSING for fault in faults)
    return LOOKED_AT if missing and _never_pulled(store, repository, root) else IMAGE


def _never_pulled(store: Store, repository: Repository, root: str) -> bool:
    """Whether nothing ever came of it, for any platform, that other images have not brought."""
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
            return False  # it has lost a manifest, and nobody knows what that one named
        if digest in readable and digest not in own:
            own.add(digest)
            if readable[digest].is_index:
                ahead += [entry.digest for entry in readable[digest].refers_to]
    others = _blobs_of(readable[digest] for digest in readable.keys() - own)
    # A link is proof of a pull, whether the file is there still or not.
    return not (_blobs_of(readable[digest] for digest in own) & repository.layers) - others


def _blobs_of(found: Iterable[Manifest]) -> set[str]:
    return {entry.digest for one in found if not one.is_index for entry in one.refers_to}


def examined(
    store: Store,
    image: ImageReference,
    platform: Platform,
    damaged: Collection[str] = frozenset(),
) -> tuple[tuple[Part, ...], tuple[Fault, ...]]:
    """What `parts` and `faults` tell, from one walk over the image; arguments as for `faults`."""
    walk = _Walk(store, image, platform, damaged)
    found = tuple(walk.faults())
    return tuple(walk.seen.values()), found


class _Walk:
    """From the tag down to the layers, noting what is seen."""

    def __init__(
        self, store: Store, image: ImageReference, platform: Platform, damaged: Collection[str]
    ) -> None:
        self.store = store
        self.image = image
        self.platform = platform
        self.damaged = damaged
        self.repository = store.repository(image.repository)
        self.seen: dict[str, Part] = {}
        # Not a recursion: indexes may lie as deep in each other as somebody likes.
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
        held = self.store.blobs.get(digest)
        known = held if size is None else size
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
        wanted = entries(index, self.image, self.platform)
        if wanted is None:
            yield Fault(part="platform", digest="", size=0, problem=MISSING)
        else:
            self.ahead.extend((entry.digest, entry.size) for entry in wanted)

    def _blob(self, entry: Descriptor) -> Iterator[Fault]:
        if entry.digest in self.seen:
            return
        self.seen[entry.digest] = Part(part=entry.part, digest=entry.digest, size=entry.size)
        held = self.store.blobs.get(entry.digest)
        if held is None or entry.digest not in self.repository.layers:
            problem = MISSING
        elif held != entry.size:
            problem = WRONG_SIZE
        elif entry.digest in self.damaged:
            problem = DAMAGED
        else:
            return
        yield Fault(part=entry.part, digest=entry.digest, size=entry.size, problem=problem)
