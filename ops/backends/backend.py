"""One interface for whatever holds a stack's images: the config key `backend` chooses it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from plan.images.completeness import Result
from plan.images.reference import ImageReference, Platform

GO_ON = "to go on, run warm again: what is complete stays, and is not fetched again"


@dataclass(frozen=True, kw_only=True)
class Status:
    """What a backend holds.

    Attributes:
        results: of each image.
        strays: (host, digest) of damaged blobs that belong to none of them.
    """

    results: tuple[Result, ...]
    strays: tuple[tuple[str, str], ...] = ()


class FillReport(Protocol):
    """What filling a backend did."""

    @property
    def is_complete(self) -> bool:
        """Whether it holds every image now."""

    def as_text(self) -> str:
        """For people: what is not complete, why, and what to do."""

    def as_json(self) -> dict[str, object]:
        """The same as one JSON object."""


class Backend(Protocol):
    """The caches of this machine, or the projects of a Harbor."""

    @property
    def name(self) -> str | None:
        """The member that its report is in `warm`'s JSON; None: its own members are."""

    def status(self, images: Sequence[ImageReference], platform: Platform, *, deep: bool) -> Status:
        """What it holds of these images, without asking any upstream.

        Args:
            images: that are looked for; none: all that it knows to have.
            platform: which entry of an index is wanted.
            deep: hash the content of every blob, if that can be read.
        """

    def fill(
        self, images: Sequence[ImageReference], platform: Platform, parallel: int
    ) -> FillReport:
        """Have it fetch what it lacks of these images.

        Args:
            images: that are wanted.
            platform: which entry of an index is wanted.
            parallel: how much to fetch at once.

        Raises:
            OpsError: it can't be asked.
        """


def not_complete(failures: Iterable[tuple[ImageReference, Sequence[str]]]) -> list[str]:
    """Lines on images that are not complete, and why."""
    return [
        line
        for image, why in failures
        for line in (f"not complete: {image}", *(f"    {each}" for each in why))
    ]


def listed(failures: Iterable[tuple[ImageReference, Sequence[str]]]) -> list[dict[str, object]]:
    """The same for JSON."""
    return [{"image": str(image), "why": list(why)} for image, why in failures]
