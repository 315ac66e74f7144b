"""Whether the caches have all of an image."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from plan.images import storage
from plan.images.reference import ImageReference, Platform
from plan.images.storage import MISSING, Fault, Store


@dataclass(frozen=True, kw_only=True)
class Result:
    """One image, its size in bytes as far as it is known, and what is missing or wrong.

    Attributes:
        kind: see `storage.kind`.
        advice: why, and what to do, if the faults don't say that themselves.
    """

    image: ImageReference
    size: int
    faults: tuple[Fault, ...]
    kind: str = storage.IMAGE
    advice: str = ""

    @property
    def is_aside(self) -> bool:
        """Whether parts are missing that no node needs, because the image was never pulled."""
        missing = all(fault.problem == MISSING for fault in self.faults)
        return self.kind != storage.IMAGE and bool(self.faults) and missing


def everything(stores: Mapping[str, Store]) -> tuple[ImageReference, ...]:
    """Every tagged image of all caches."""
    return tuple(image for host, store in stores.items() for image in storage.images(store, host))


def verified(
    stores: Mapping[str, Store],
    images: Iterable[ImageReference],
    platform: Platform,
    damaged: Mapping[str, frozenset[str]],
) -> tuple[Result, ...]:
    """What is missing or wrong in each image, in the order of the list."""
    results = []
    for image in images:
        broken = damaged.get(image.host, frozenset())
        parts, faults = storage.examined(stores[image.host], image, platform, broken)
        size = sum(part.size for part in parts)
        kind = storage.kind(stores[image.host], image, faults)
        results.append(Result(image=image, size=size, faults=faults, kind=kind))
    return tuple(results)
