"""The images in a cache's volume: what belongs to each, what is pinned, and what nothing needs."""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone

from plan.images import manifests, storage
from plan.images.digest import digest_of_hex
from plan.images.last_used import Days, name_of
from plan.images.manifests import Manifest
from plan.images.reference import ImageReference
from plan.images.storage import STAGING, Repository, Store, revision_link, tag_links

# Links below ROOT.
TAG = re.compile(
    r"repositories/(.+)/_manifests/tags/([^/]+)/(?:current|index/sha256/([0-9a-f]{64}))/link"
)
REVISION = re.compile(r"repositories/(.+)/_manifests/revisions/sha256/([0-9a-f]{64})/link")
LAYER = re.compile(r"repositories/(.+)/_layers/sha256/([0-9a-f]{64})/link")
_UPLOAD = re.compile(r"(repositories/.+/_uploads/[^/]+)/data")
# Temporary files of the registry and of `import`, next to the final ones, and `import`'s staging.
_UNFINISHED = re.compile(rf".+\.(?:tmp|new)|{STAGING}[^/]*/.+")


@dataclass(frozen=True, kw_only=True)
class File:
    """A file in a cache's volume.

    Attributes:
        size: in bytes.
        written: when it was last written, in seconds since 1970.
    """

    size: int
    written: int

    @property
    def day(self) -> str:
        """The same as a day (UTC), as in 2026-11-24."""
        return datetime.fromtimestamp(self.written, timezone.utc).date().isoformat()


@dataclass(frozen=True, kw_only=True)
class Volume:
    """One cache's volume.

    Attributes:
        host: the cache's upstream.
        store: its content.
        files: path below ROOT -> link or leftover; leftovers are data of uploads, and unfinished
            files, that have not been written to for long.
    """

    host: str
    store: Store
    files: Mapping[str, File]

    @property
    def size(self) -> int:
        """Bytes of blobs and leftovers."""
        return self.store.size + sum(_left_over(self.files).values())


@dataclass(frozen=True, kw_only=True)
class Unit:
    """An image that stays or goes as a whole.

    Attributes:
        image: with a tag; or with a digest if no tag points to it.
        root: digest of its manifest or index.
        last_used: day (UTC); empty if unknown.
        manifests: digests of the root, of all below it, and of what is attached to these, as far as
            the cache has them.
        attached: tags of what is attached to it.
        blobs: digests of all of its blobs that the cache has, manifests included.
        pinned: whether it must stay.
    """

    image: ImageReference
    root: str
    last_used: str
    manifests: frozenset[str]
    attached: frozenset[str]
    blobs: frozenset[str]
    pinned: bool


@dataclass(frozen=True, kw_only=True)
class Removal:
    """What is removed from one volume, in this order, and nothing of it before all before it.

    Attributes:
        tags: files, below ROOT, that make tags.
        files: the other links, and what is left over; of uploads the folders.
        blobs: digest -> size in bytes.
        size: bytes of blobs and of what is left over.
    """

    tags: tuple[str, ...]
    files: tuple[str, ...]
    blobs: Mapping[str, int]
    size: int

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to remove."""
        return not (self.tags or self.files or self.blobs)

    def without(self, other: "Removal") -> "Removal":
        """This, but not what is in the other one, which no image needs."""
        blobs = {digest: size for digest, size in self.blobs.items() if digest not in other.blobs}
        return Removal(
            tags=tuple(path for path in self.tags if path not in set(other.tags)),
            files=tuple(path for path in self.files if path not in set(other.files)),
            blobs=blobs,
            size=self.size - other.size,
        )


class VolumeImages:
    """A volume whose manifests are parsed and whose images are known."""

    def __init__(self, volume: Volume, pins: Collection[ImageReference], days: Days) -> None:
        self.host = volume.host
        self.volume = volume
        self.store = volume.store
        self.manifests: dict[str, Manifest] = {}
        damaged = []
        for digest, content in self.store.manifests.items():
            manifest = manifests.intact(digest, content)
            if manifest is None:
                damaged.append(digest)
            else:
                self.manifests[digest] = manifest
        self.refusal = _damage(self.host, damaged)
        # Repository -> digest of a manifest -> (tag or "", digest) of what is attached to it.
        self.attached = {
            name: self._attached(repository) for name, repository in self.store.repositories.items()
        }
        # Repository -> digests of the manifests of pinned images; and tags of what is attached.
        self.pinned: dict[str, frozenset[str]] = {}
        self.pinned_tags: set[tuple[str, str]] = set()
        for image in pins:
            if image.host == self.host:
                self._pin(image)
        self.units = tuple(self._units(days))

    def below(self, repository: Repository, root: str) -> frozenset[str]:
        """The manifest and all below it, as far as this repository has them."""
        digests: set[str] = set()
        ahead = [root]
        while ahead:
            digest = ahead.pop()
            if digest not in digests and self._has(repository, digest):
                digests.add(digest)
                ahead += _children(self.manifests[digest])
        return frozenset(digests)

    def with_attached(self, name: str, root: str) -> tuple[frozenset[str], frozenset[str]]:
        """The manifest, all below it, and what is attached to these; and the tags of the latter."""
        repository, attached = self.store.repositories[name], self.attached[name]
        digests: set[str] = set()
        tags: set[str] = set()
        ahead = [root]
        while ahead:
            new = self.below(repository, ahead.pop()) - digests
            digests |= new
            for digest in new:
                for tag, belonging in attached.get(digest, ()):
                    ahead.append(belonging)
                    tags |= {tag} if tag else set()
        return frozenset(digests), frozenset(tags)

    def blobs_of(self, digests: Iterable[str]) -> frozenset[str]:
        """These manifests and what they refer to, as far as the volume has it."""
        blobs = set(digests)
        blobs |= {entry.digest for one in digests for entry in self.manifests[one].refers_to}
        return frozenset(blobs & self.store.blobs.keys())

    def pinned_root(self, image: ImageReference) -> str | None:
        """Digest of a pinned image's manifest; None if the cache does not have the image."""
        repository = self.store.repositories.get(image.repository)
        return None if repository is None else image.digest or repository.tags.get(image.tag)

    def removal(self, going: Collection[Unit]) -> Removal:
        """What to remove with these images: everything that no other image needs."""
        if self.refusal:
            return Removal(tags=(), files=(), blobs={}, size=0)
        gone = {unit.image for unit in going}
        staying = [unit for unit in self.units if unit.image not in gone]
        kept = {name: set(pinned) for name, pinned in self.pinned.items()}
        for unit in staying:
            kept.setdefault(unit.image.repository, set()).update(unit.manifests)
        tags = {
            (unit.image.repository, tag)
            for unit in staying
            for tag in (unit.image.tag, *unit.attached)
            if tag
        } | self.pinned_tags
        needed = {name: self.blobs_of(digests) for name, digests in kept.items()}
        everywhere = frozenset[str]().union(*needed.values())
        left_over = _left_over(self.volume.files)
        links = {
            path
            for path in self.volume.files
            if _is_loose(path, tags=tags, manifests_kept=kept, blobs_kept=needed)
        }
        first = {path for path in links if path.endswith("/current/link")}
        blobs = {
            digest: size for digest, size in self.store.blobs.items() if digest not in everywhere
        }
        return Removal(
            tags=tuple(sorted(first)),
            files=(*sorted(links - first), *sorted(left_over)),
            blobs=blobs,
            size=sum(blobs.values()) + sum(left_over.values()),
        )

    def _has(self, repository: Repository, digest: str) -> bool:
        return digest in repository.revisions and digest in self.manifests

    def _pin(self, image: ImageReference) -> None:
        root = self.pinned_root(image)
        if not root:
            return
        repository = self.store.repositories[image.repository]
        present, tags = self.with_attached(image.repository, root)
        self.pinned_tags |= {(image.repository, tag) for tag in tags}
        self.pinned[image.repository] = self.pinned.get(image.repository, frozenset()) | present
        # A link shows that a manifest was here; those never pulled (other platforms) have none.
        linked = repository.revisions | (frozenset() if image.digest else {root})
        named = {root}.union(*(_children(self.manifests[one]) for one in present))
        if named & linked - present and not self.refusal:
            self.refusal = (
                f"{self.host}: a manifest of the pinned {image} is missing, so it is unknown which "
                "layers are its own: warm or import it, or remove it from the list"
            )

    def _attached(self, repository: Repository) -> dict[str, list[tuple[str, str]]]:
        """Digest of a manifest -> (tag or "", digest) of what is attached to it and present."""
        attached: dict[str, list[tuple[str, str]]] = {}
        for tag, root in sorted(repository.tags.items()):
            subject = storage.subject_of(tag)
            if (
                subject
                and subject != root
                and self._has(repository, subject)
                and self._has(repository, root)
            ):
                attached.setdefault(subject, []).append((tag, root))
        for digest in sorted(repository.revisions & self.manifests.keys()):
            above = self.manifests[digest].subject
            if above and self._has(repository, above):
                attached.setdefault(above, []).append(("", digest))
        return attached

    def _units(self, days: Days) -> Iterator[Unit]:
        for name, repository in self.store.repositories.items():
            belonging = {one for attached in self.attached[name].values() for one in attached}
            covered: set[str] = set()
            for tag, root in sorted(repository.tags.items()):
                if (tag, root) not in belonging and self._has(repository, root):
                    link, _ = tag_links(name, tag, root)
                    image = ImageReference(host=self.host, repository=name, tag=tag)
                    unit = self._unit(image, root, link, days)
                    covered |= unit.manifests
                    yield unit
            loose = {one for one in repository.revisions if self._has(repository, one)} - covered
            others = {child for one in loose for child in _children(self.manifests[one])}
            others |= {digest for _, digest in belonging}
            # Those that are not part of another come first.
            for root in sorted(loose, key=lambda one: (one in others, one)):
                if root not in covered:
                    image = ImageReference(host=self.host, repository=name, digest=root)
                    unit = self._unit(image, root, revision_link(name, root), days)
                    covered |= unit.manifests
                    yield unit

    def _unit(self, image: ImageReference, root: str, link: str, days: Days) -> Unit:
        digests, tags = self.with_attached(image.repository, root)
        # A tag's link is rewritten whenever its upstream confirms it, which is a use as well.
        written = self.volume.files[link].day if link in self.volume.files else ""
        names = [name_of(image.repository, one) for one in (image.tag, *digests) if one]
        return Unit(
            image=image,
            root=root,
            last_used=max(written, *(days.get(name, "") for name in names)),
            manifests=digests,
            attached=tags,
            blobs=self.blobs_of(digests),
            pinned=root in self.pinned.get(image.repository, ()),
        )


def _is_loose(
    path: str,
    *,
    tags: Collection[tuple[str, str]],
    manifests_kept: Mapping[str, Collection[str]],
    blobs_kept: Mapping[str, Collection[str]],
) -> bool:
    """Whether a file is a link that nothing needs any more."""
    if match := TAG.fullmatch(path):
        name, tag, old = match.groups()
        if (name, tag) not in tags:
            return True
        return old is not None and digest_of_hex(old) not in manifests_kept[name]
    if match := REVISION.fullmatch(path):
        return digest_of_hex(match[2]) not in manifests_kept.get(match[1], ())
    if match := LAYER.fullmatch(path):
        return digest_of_hex(match[2]) not in blobs_kept.get(match[1], ())
    return False


def _left_over(files: Mapping[str, File]) -> dict[str, int]:
    """Path to remove -> bytes: an upload is a folder, anything else a file."""
    sizes = {}
    for path, file in files.items():
        if match := _UPLOAD.fullmatch(path):
            sizes[match[1]] = file.size
        elif _UNFINISHED.fullmatch(path):
            sizes[path] = file.size
    return sizes


def _damage(host: str, damaged: Sequence[str]) -> str | None:
    if not damaged:
        return None
    return (
        f"{host}: {len(damaged)} of its manifests can't be read (the first is {min(damaged)}), so "
        "it is unknown what they need: run repair"
    )


def _children(manifest: Manifest) -> list[str]:
    return [entry.digest for entry in manifest.refers_to if manifest.is_index]
