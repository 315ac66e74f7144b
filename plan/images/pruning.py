"""Chooses the images to remove so that the rest of the caches fits a size; pinned images stay.

The unit of removal is an image: a tag, or a manifest that no tag points to, with what belongs to it
(such as signatures) and everything that nothing else needs. Each cache has a volume of its own, and
volumes share nothing. Sizes count blobs and leftovers; links, of 71 bytes each, are not counted.

Nothing is decided by guesswork: if a manifest can't be read, what it needs is unknown, and its
cache is left alone.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from host.errors import TalosCacheError
from plan.images import storage
from plan.images.last_used import Days
from plan.images.reference import ImageReference, Platform
from plan.images.volume_images import Removal, Unit, Volume, VolumeImages


@dataclass(frozen=True, kw_only=True)
class Going:
    """An image to be removed.

    Attributes:
        frees: bytes that this frees once those before it in the list are removed.
    """

    image: ImageReference
    root: str
    last_used: str
    frees: int


@dataclass(frozen=True, kw_only=True)
class PinnedSet:
    """A list of images that stay.

    Attributes:
        size: bytes of those of its blobs that the caches have.
        images: how many it names.
        complete: how many of them could be served without their upstreams.
    """

    name: str
    size: int
    images: int
    complete: int


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What to remove.

    Attributes:
        budget: bytes that all caches may have together.
        going: images to be removed, least recently used first; none if the budget can't be met.
        before: host -> bytes.
        after: host -> bytes, after the removal.
        strays: host -> bytes that belong to no image, and are removed too.
        sets: the pinned ones.
        pinned: bytes of all pinned sets, every blob once.
        refused: host -> why this cache is left alone.
        floor: bytes that must stay.
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
        """Whether what must stay is within the budget."""
        return self.floor <= self.budget


def decide(
    volumes: Sequence[Volume],
    sets: Mapping[str, Sequence[ImageReference]],
    days: Mapping[str, Days],
    budget: int,
    platform: Platform,
) -> Decision:
    """Choose what to remove.

    Args:
        volumes: of all caches.
        sets: name -> images that stay.
        days: host -> when its images were last used, from its ledger.
        budget: bytes that all caches may have together.
        platform: whose entry an image must have to count as complete.
    """
    pins = _all(sets)
    caches = [VolumeImages(volume, pins, days.get(volume.host, {})) for volume in volumes]
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
    """What to remove from a volume, while its registry is stopped, so that these images are gone.

    The volume may have changed since the decision: what was added since stays, and so does a tag
    that has moved.

    Raises:
        TalosCacheError: this cache must be left alone.
    """
    cache = VolumeImages(volume, _all(sets), {})
    if cache.refusal:
        raise TalosCacheError(cache.refusal)
    chosen = {(one.image, one.root) for one in going}
    return cache.removal(
        [unit for unit in cache.units if (unit.image, unit.root) in chosen and not unit.pinned]
    )


def _going(caches: Sequence[VolumeImages], size: int, budget: int) -> list[tuple[str, Unit, int]]:
    """(Host, image, bytes that it frees), least recently used first, until the rest fits."""
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
    # Removing an image whose blobs all belong to others that stay would free nothing.
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


def _needed(caches: Sequence[VolumeImages]) -> Counter[tuple[str, str]]:
    """(Host, digest) -> how many images need it, plus one if a pinned image does."""
    needed: Counter[tuple[str, str]] = Counter()
    for cache in caches:
        for unit in cache.units:
            needed.update((cache.host, blob) for blob in unit.blobs)
        pinned = {blob for below in cache.pinned.values() for blob in cache.blobs_of(below)}
        needed.update((cache.host, blob) for blob in pinned)
    return needed


def _taken(needed: Counter[tuple[str, str]], cache: VolumeImages, unit: Unit) -> int:
    """Remove an image from the counts; returns the bytes that nothing needs any more."""
    freed = 0
    for blob in unit.blobs:
        needed[cache.host, blob] -= 1
        if not needed[cache.host, blob]:
            freed += cache.store.blobs[blob]
    return freed


def _all(sets: Mapping[str, Sequence[ImageReference]]) -> tuple[ImageReference, ...]:
    return tuple(dict.fromkeys(image for images in sets.values() for image in images))


def _pinned_set(
    name: str, images: Sequence[ImageReference], caches: Sequence[VolumeImages], platform: Platform
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


def _bytes_of(images: Iterable[ImageReference], caches: Sequence[VolumeImages]) -> int:
    by_host = {cache.host: cache for cache in caches}
    blobs: set[tuple[str, str]] = set()
    for image in images:
        cache = by_host.get(image.host)
        if cache and (root := cache.pinned_root(image)):
            below = cache.below(cache.store.repositories[image.repository], root)
            blobs |= {(image.host, blob) for blob in cache.blobs_of(below)}
    return sum(by_host[host].store.blobs[blob] for host, blob in blobs)
