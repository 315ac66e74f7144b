"""What of the caches goes so that the rest fits into a size; pinned images stay.

What goes is an image: a tag, or a manifest that no tag leads to, with what belongs to it (such as
signatures) and everything that nothing else needs. Each cache has a volume of its own, and volumes
share nothing. Sizes are those of blobs and of what is left over; links, of 71 bytes each, are not
counted.

Nothing is decided by guesswork: where a manifest can't be read, nobody knows what it needs, and
its cache is left alone.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from plan.images import manifests, storage
from plan.images.last_used import Days, name_of
from plan.images.manifests import Manifest
from plan.images.reference import ImageReference, Platform
from plan.images.storage import STAGING, Repository, Store, revision_link, tag_links

_TAG = re.compile(
    r"repositories/(.+)/_manifests/tags/([^/]+)/(?:current|index/sha256/([0-9a-f]{64}))/link"
)
_REVISION = re.compile(r"repositories/(.+)/_manifests/revisions/sha256/([0-9a-f]{64})/link")
_LAYER = re.compile(r"repositories/(.+)/_layers/sha256/([0-9a-f]{64})/link")
_UPLOAD = re.compile(r"(repositories/.+/_uploads/[^/]+)/data")
# Beside a file, while it is written: the registry's, and those of `import`; and what it stages.
_UNFINISHED = re.compile(rf".+\.(?:tmp|new)|{STAGING}[^/]*/.+")


class PruneError(Exception):
    """A cache can't be pruned; the text says why and what to do."""


@dataclass(frozen=True, kw_only=True)
class File:
    """A file of a cache's volume.

    Attributes:
        size: in bytes.
        day: on which it was last written (UTC), as in 2026-11-24.
    """

    size: int
    day: str


@dataclass(frozen=True, kw_only=True)
class Volume:
    """One cache's volume.

    Attributes:
        host: the cache's upstream.
        store: what it holds.
        files: path below ROOT -> every link, and what is left over: uploads' data and unfinished
            files that nobody has written to for long.
    """

    host: str
    store: Store
    files: Mapping[str, File]

    @property
    def size(self) -> int:
        """Bytes of blobs and of what is left over."""
        return self.store.size + sum(_left_over(self.files).values())


@dataclass(frozen=True, kw_only=True)
class Unit:
    """An image that stays or goes as a whole.

    Attributes:
        image: with a tag; or with a digest where no tag leads to it.
        root: digest of its manifest or index.
        last_used: day (UTC); empty where nobody knows.
        manifests: digests of the root, of all below it, and of what belongs to these, as far as the
            cache has them.
        attached: tags of what belongs to it.
        blobs: digests of all of its blobs that the cache has, manifests included.
        pinned: whether it has to stay.
    """

    image: ImageReference
    root: str
    last_used: str
    manifests: frozenset[str]
    attached: frozenset[str]
    blobs: frozenset[str]
    pinned: bool


@dataclass(frozen=True, kw_only=True)
class Going:
    """An image that goes.

    Attributes:
        frees: bytes, after those before it in the list have gone.
    """

    image: ImageReference
    root: str
    last_used: str
    frees: int


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


@dataclass(frozen=True, kw_only=True)
class PinnedSet:
    """A list of images that stay.

    Attributes:
        size: bytes of all of its blobs that the caches have.
        images: how many it names.
        complete: how many of them could be served without their upstreams.
    """

    name: str
    size: int
    images: int
    complete: int


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What goes.

    Attributes:
        budget: bytes that all caches may have together.
        going: least recently used first; nothing where the budget can't be kept.
        before: host -> bytes.
        after: host -> bytes, when what goes is gone.
        strays: host -> bytes that belong to no image, and go too.
        sets: the pinned ones.
        pinned: bytes of all pinned sets, every blob once.
        refused: host -> why this cache is left alone.
        floor: bytes that have to stay.
    """

    budget: int
    going: tuple[Going, ...]
    before: Mapping[str, int]
    after: Mapping[str, int]
    strays: Mapping[str, int]
    sets: tuple[PinnedSet, ...]
    pinned: int
    refused: Mapping[str, str]
    floor: int

    @property
    def fits(self) -> bool:
        """Whether what has to stay is within the budget."""
        return self.floor <= self.budget


def decide(
    volumes: Sequence[Volume],
    sets: Mapping[str, Sequence[ImageReference]],
    days: Mapping[str, Days],
    budget: int,
    platform: Platform,
) -> Decision:
    """Choose what goes.

    Args:
        volumes: of all caches.
        sets: name -> images that stay.
        days: host -> when its images were last used, by its ledger.
        budget: bytes that all caches may have together.
        platform: of an image that has to be there for it to count as complete.
    """
    pins = _all(sets)
    caches = [_Cache(volume, pins, days.get(volume.host, {})) for volume in volumes]
    before = {volume.host: volume.size for volume in volumes}
    floor = sum(
        before[cache.host] - cache.removal([unit for unit in cache.units if not unit.pinned]).size
        for cache in caches
    )
    strays = {cache.host: cache.removal(()).size for cache in caches}
    going = _going(caches, sum(before.values()) - sum(strays.values()), budget)
    if floor > budget:
        going, strays = [], dict.fromkeys(strays, 0)
    by_host: dict[str, list[Unit]] = {cache.host: [] for cache in caches}
    for host, unit, _ in going:
        by_host[host].append(unit)
    return Decision(
        budget=budget,
        going=tuple(
            Going(image=unit.image, root=unit.root, last_used=unit.last_used, frees=frees)
            for _, unit, frees in going
        ),
        before=before,
        after={
            cache.host: before[cache.host]
            - (cache.removal(by_host[cache.host]).size if floor <= budget else 0)
            for cache in caches
        },
        strays=strays,
        sets=tuple(_pinned_set(name, images, caches, platform) for name, images in sets.items()),
        pinned=_bytes_of(pins, caches),
        refused={cache.host: cache.refusal for cache in caches if cache.refusal},
        floor=floor,
    )


def removal(
    volume: Volume, sets: Mapping[str, Sequence[ImageReference]], going: Collection[Going]
) -> Removal:
    """What to remove from a volume whose registry is stopped, so that these images are gone.

    The volume may have changed since the decision: what came since stays, and so does a tag that
    leads elsewhere by now.

    Raises:
        PruneError: this cache has to be left alone.
    """
    cache = _Cache(volume, _all(sets), {})
    if cache.refusal:
        raise PruneError(cache.refusal)
    chosen = {(one.image, one.root) for one in going}
    return cache.removal(
        [unit for unit in cache.units if (unit.image, unit.root) in chosen and not unit.pinned]
    )


class _Cache:
    """A volume with its manifests read and its images found."""

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
        # Repository -> digest of a manifest -> (tag, or none, and digest) of what belongs to it.
        self.attached = {name: self._attached(one) for name, one in self.store.repositories.items()}
        # Repository -> digests of the manifests of pinned images, and tags of what belongs to them.
        self.pinned: dict[str, frozenset[str]] = {}
        self.pinned_tags: set[tuple[str, str]] = set()
        for image in pins:
            if image.host == self.host:
                self._pin(image)
        self.units = tuple(self._units(days))

    def below(self, repository: Repository, root: str) -> frozenset[str]:
        """The manifest and all below it, as far as this repository has them."""
        found: set[str] = set()
        ahead = [root]
        while ahead:
            digest = ahead.pop()
            if digest not in found and self._has(repository, digest):
                found.add(digest)
                ahead += _children(self.manifests[digest])
        return frozenset(found)

    def with_attached(self, name: str, root: str) -> tuple[frozenset[str], frozenset[str]]:
        """The manifest, all below it, and what belongs to these; the tags of the latter."""
        repository, attached = self.store.repositories[name], self.attached[name]
        found: set[str] = set()
        tags: set[str] = set()
        ahead = [root]
        while ahead:
            new = self.below(repository, ahead.pop()) - found
            found |= new
            for digest in new:
                for tag, belonging in attached.get(digest, ()):
                    ahead.append(belonging)
                    tags |= {tag} if tag else set()
        return frozenset(found), frozenset(tags)

    def blobs_of(self, digests: Iterable[str]) -> frozenset[str]:
        """These manifests, and what they refer to, as far as it is there."""
        wanted = set(digests)
        wanted |= {entry.digest for one in digests for entry in self.manifests[one].refers_to}
        return frozenset(wanted & self.store.blobs.keys())

    def pinned_root(self, image: ImageReference) -> str:
        """Digest of a pinned image's manifest; empty where the cache does not know it."""
        repository = self.store.repositories.get(image.repository)
        return "" if repository is None else image.digest or repository.tags.get(image.tag, "")

    def removal(self, going: Collection[Unit]) -> Removal:
        """What goes with these images: all that no other image needs."""
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
        found, tags = self.with_attached(image.repository, root)
        self.pinned_tags |= {(image.repository, tag) for tag in tags}
        self.pinned[image.repository] = self.pinned.get(image.repository, frozenset()) | found
        # What is linked was there; what was never pulled, as other platforms, is not.
        linked = repository.revisions | (frozenset() if image.digest else {root})
        wanted = {root}.union(*(_children(self.manifests[one]) for one in found))
        if wanted & linked - found and not self.refusal:
            self.refusal = (
                f"{self.host}: a manifest of the pinned {image} is missing, so nobody knows which "
                "layers are its: warm or import it, or take it out of the list"
            )

    def _attached(self, repository: Repository) -> dict[str, list[tuple[str, str]]]:
        """Digest of a manifest -> (tag, or none, and digest) of what belongs to it; all there."""
        found: dict[str, list[tuple[str, str]]] = {}
        for tag, root in sorted(repository.tags.items()):
            subject = storage.subject_of(tag)
            if subject != root and self._has(repository, subject) and self._has(repository, root):
                found.setdefault(subject, []).append((tag, root))
        for digest in sorted(repository.revisions & self.manifests.keys()):
            subject = self.manifests[digest].subject
            if self._has(repository, subject):
                found.setdefault(subject, []).append(("", digest))
        return found

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
            # Those first that are no part of another; whatever is part of each other comes last.
            for root in sorted(loose, key=lambda one: (one in others, one)):
                if root not in covered:
                    image = ImageReference(host=self.host, repository=name, digest=root)
                    unit = self._unit(image, root, revision_link(name, root), days)
                    covered |= unit.manifests
                    yield unit

    def _unit(self, image: ImageReference, root: str, link: str, days: Days) -> Unit:
        found, tags = self.with_attached(image.repository, root)
        # A tag's link is written anew whenever its upstream confirms it: a use as well.
        written = self.volume.files[link].day if link in self.volume.files else ""
        names = [name_of(image.repository, one) for one in (image.tag, *found) if one]
        return Unit(
            image=image,
            root=root,
            last_used=max(written, *(days.get(name, "") for name in names)),
            manifests=found,
            attached=tags,
            blobs=self.blobs_of(found),
            pinned=root in self.pinned.get(image.repository, ()),
        )


def _going(caches: Sequence[_Cache], size: int, budget: int) -> list[tuple[str, Unit, int]]:
    """(host, image, bytes that it frees), least recently used first, until the rest fits."""
    free = [(cache, unit) for cache in caches if not cache.refusal for unit in cache.units]
    free = [(cache, unit) for cache, unit in free if not unit.pinned]
    free.sort(key=lambda one: (one[1].last_used, one[1].image))
    needed = _needed(caches)
    chosen = []
    for cache, unit in free:
        if size <= budget:
            break
        size -= _taken(needed, cache, unit)
        chosen.append((cache, unit))
    # What shares all that it has with an image that stays would go for nothing.
    kept = _needed(caches)
    for cache, unit in chosen:
        _taken(kept, cache, unit)
    going = []
    for cache, unit in reversed(chosen):
        if all(kept[cache.host, blob] for blob in unit.blobs):
            kept.update((cache.host, blob) for blob in unit.blobs)
        else:
            going.append((cache, unit))
    needed = _needed(caches)
    return [(cache.host, unit, _taken(needed, cache, unit)) for cache, unit in reversed(going)]


def _needed(caches: Sequence[_Cache]) -> Counter[tuple[str, str]]:
    """(host, digest) -> how many images need it, and one more where a pinned one does."""
    needed: Counter[tuple[str, str]] = Counter()
    for cache in caches:
        for unit in cache.units:
            needed.update((cache.host, blob) for blob in unit.blobs)
        pinned = {blob for below in cache.pinned.values() for blob in cache.blobs_of(below)}
        needed.update((cache.host, blob) for blob in pinned)
    return needed


def _taken(needed: Counter[tuple[str, str]], cache: _Cache, unit: Unit) -> int:
    """Take an image away; the bytes that nobody needs any more then."""
    freed = 0
    for blob in unit.blobs:
        needed[cache.host, blob] -= 1
        if not needed[cache.host, blob]:
            freed += cache.store.blobs[blob]
    return freed


def _is_loose(
    path: str,
    *,
    tags: Collection[tuple[str, str]],
    manifests_kept: Mapping[str, Collection[str]],
    blobs_kept: Mapping[str, Collection[str]],
) -> bool:
    """Whether a file is a link that nothing needs which stays."""
    if match := _TAG.fullmatch(path):
        name, tag, old = match.groups()
        if (name, tag) not in tags:
            return True
        return old is not None and f"sha256:{old}" not in manifests_kept[name]
    if match := _REVISION.fullmatch(path):
        return f"sha256:{match[2]}" not in manifests_kept.get(match[1], ())
    if match := _LAYER.fullmatch(path):
        return f"sha256:{match[2]}" not in blobs_kept.get(match[1], ())
    return False


def _left_over(files: Mapping[str, File]) -> dict[str, int]:
    """Path to remove -> bytes: an upload is a folder, anything else a file."""
    found = {}
    for path, file in files.items():
        if match := _UPLOAD.fullmatch(path):
            found[match[1]] = file.size
        elif _UNFINISHED.fullmatch(path):
            found[path] = file.size
    return found


def _damage(host: str, damaged: Sequence[str]) -> str:
    if not damaged:
        return ""
    return (
        f"{host}: {len(damaged)} of its manifests can't be read, the first is {min(damaged)}, so "
        "nobody knows what they need: repair mends that"
    )


def _children(manifest: Manifest) -> list[str]:
    return [entry.digest for entry in manifest.refers_to if manifest.is_index]


def _all(sets: Mapping[str, Sequence[ImageReference]]) -> tuple[ImageReference, ...]:
    return tuple(dict.fromkeys(image for images in sets.values() for image in images))


def _pinned_set(
    name: str, images: Sequence[ImageReference], caches: Sequence[_Cache], platform: Platform
) -> PinnedSet:
    stores = {cache.host: cache.store for cache in caches}
    return PinnedSet(
        name=name,
        size=_bytes_of(images, caches),
        images=len(images),
        complete=sum(
            not storage.faults(stores.get(image.host, storage.EMPTY), image, platform)
            for image in images
        ),
    )


def _bytes_of(images: Iterable[ImageReference], caches: Sequence[_Cache]) -> int:
    by_host = {cache.host: cache for cache in caches}
    found: set[tuple[str, str]] = set()
    for image in images:
        cache = by_host.get(image.host)
        if cache and (root := cache.pinned_root(image)):
            below = cache.below(cache.store.repositories[image.repository], root)
            found |= {(image.host, blob) for blob in cache.blobs_of(below)}
    return sum(by_host[host].store.blobs[blob] for host, blob in found)
