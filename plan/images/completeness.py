"""Whether images are complete in what their registries hold."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from plan.images import storage
from plan.images.reference import ImageReference, Platform
from plan.images.storage import MISSING, Fault, Store


@dataclass(frozen=True, kw_only=True)
class Result:
    """One image, its size in bytes as far as it is known, and what it lacks.

    Attributes:
        kind: see `store.kind`.
        advice: why, and what to do, where that is not what the faults say by themselves.
    """

    image: ImageReference
    size: int
    faults: tuple[Fault, ...]
    kind: str = storage.IMAGE
    advice: str = ""

    @property
    def is_aside(self) -> bool:
        """Whether it lacks something and no node misses that: nobody has pulled it."""
        missing = all(fault.problem == MISSING for fault in self.faults)
        return self.kind != storage.IMAGE and bool(self.faults) and missing


def everything(stores: Mapping[str, Store]) -> tuple[ImageReference, ...]:
    """Every tagged image of all caches."""
    return tuple(image for host, held in stores.items() for image in storage.images(held, host))


def verified(
    stores: Mapping[str, Store],
    images: Iterable[ImageReference],
    platform: Platform,
    damaged: Mapping[str, frozenset[str]],
) -> tuple[Result, ...]:
    """What each image lacks, in the order of the list."""
    results = []
    for image in images:
        broken = damaged.get(image.host, frozenset())
        parts, faults = storage.examined(stores[image.host], image, platform, broken)
        size = sum(part.size for part in parts)
        kind = storage.kind(stores[image.host], image, faults)
        results.append(Result(image=image, size=size, faults=faults, kind=kind))
    return tuple(results)
