"""The images that a cache holds, one row for each: what `list` shows, and what `purge` removes."""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from host.errors import TalosCacheError
from plan.images import storage
from plan.images.pruning import Going
from plan.images.reference import ImageReference, Platform
from plan.images.storage import LOOKED_AT, Fault, revision_link
from plan.images.volume_images import Removal, Unit, Volume, VolumeImages

# An entry of an index that is no image: what a builder attests about the others.
_NO_PLATFORM = "unknown"


@dataclass(frozen=True, kw_only=True)
class Held:
    """An image in a cache's volume.

    Attributes:
        image: with a tag; or with a digest if no tag points to it.
        digest: of its manifest or index.
        platforms: those of its index that are complete; none if it is not an index.
        size: bytes of all that the cache has of it.
        shared: bytes of it that other images of this cache have, too.
        fetched: when its manifest was fetched, in seconds since 1970; 0 if unknown.
        last_used: day (UTC), as in 2026-11-24; empty if unknown.
        faults: what a node of the platform in question would lack.
        only_manifest: whether nobody ever pulled more of it than the manifest.
    """

    image: ImageReference
    digest: str
    platforms: tuple[str, ...]
    size: int
    shared: int
    fetched: int
    last_used: str
    faults: tuple[Fault, ...]
    only_manifest: bool

    @property
    def is_complete(self) -> bool:
        """Whether a node could pull it without the upstream."""
        return not self.faults

    @property
    def state(self) -> str:
        """Whether it is complete, in a word or two."""
        if self.is_complete:
            return "complete"
        return "manifest only" if self.only_manifest else "incomplete"


def held(cache: VolumeImages, platform: Platform) -> tuple[Held, ...]:
    """The images of a cache, by name.

    Args:
        cache: its volume.
        platform: which entry of an index has to be there for an image to be complete.
    """
    needed = Counter(blob for unit in cache.units for blob in unit.blobs)
    rows = (_held(cache, unit, platform, needed) for unit in cache.units)
    return tuple(sorted(rows, key=lambda row: row.image))


def going(cache: VolumeImages, images: Sequence[ImageReference]) -> tuple[Going, ...]:
    """These images as `pruning.removal` takes them, each with the bytes that it frees.

    Args:
        cache: its volume.
        images: of this cache, by the names that repositories have in it; a digest means every
            image with that manifest, whatever its tag.
    """
    chosen = [unit for unit in cache.units if any(_is_meant(unit, image) for image in images)]
    needed = Counter(blob for unit in cache.units for blob in unit.blobs)
    rows = []
    for unit in chosen:
        needed.subtract(unit.blobs)
        frees = sum(cache.store.blobs[blob] for blob in unit.blobs if not needed[blob])
        rows.append(Going(image=unit.image, root=unit.root, last_used=unit.last_used, frees=frees))
    return tuple(rows)


def removal(volume: Volume, going: Collection[Going]) -> Removal:
    """What to remove from a volume so that these images are gone, and nothing else.

    The volume may have changed since they were chosen: a tag that has moved stays.

    Raises:
        TalosCacheError: this cache must be left alone.
    """
    cache = VolumeImages(volume, (), {})
    if cache.refusal:
        raise TalosCacheError(cache.refusal)
    chosen = {(one.image, one.root) for one in going}
    units = [unit for unit in cache.units if (unit.image, unit.root) in chosen]
    return cache.removal(units).without(cache.removal(()))


def not_there(cache: VolumeImages, images: Sequence[ImageReference]) -> tuple[ImageReference, ...]:
    """Those of these images that the cache does not have."""
    return tuple(
        image for image in images if not any(_is_meant(unit, image) for unit in cache.units)
    )


def _is_meant(unit: Unit, image: ImageReference) -> bool:
    return (
        unit.image.repository == image.repository
        and image.tag in ("", unit.image.tag)
        and image.digest in ("", unit.root)
    )


def _held(cache: VolumeImages, unit: Unit, platform: Platform, needed: Counter[str]) -> Held:
    sizes = cache.store.blobs
    faults = storage.faults(cache.store, unit.image, platform)
    link = cache.volume.files.get(revision_link(unit.image.repository, unit.root))
    return Held(
        image=unit.image,
        digest=unit.root,
        platforms=tuple(_complete_platforms(cache, unit)),
        size=sum(sizes[blob] for blob in unit.blobs),
        shared=sum(sizes[blob] for blob in unit.blobs if needed[blob] > 1),
        fetched=link.written if link else 0,
        last_used=unit.last_used,
        faults=faults,
        only_manifest=storage.kind(cache.store, unit.image, faults) == LOOKED_AT,
    )


def _complete_platforms(cache: VolumeImages, unit: Unit) -> Iterator[str]:
    root = cache.manifests[unit.root]
    for entry in root.refers_to if root.is_index else ():
        if entry.platform is None or entry.platform.os == _NO_PLATFORM:
            continue
        image = ImageReference(
            host=cache.host, repository=unit.image.repository, digest=entry.digest
        )
        if not storage.faults(cache.store, image, entry.platform):
            yield str(entry.platform)
