"""One interface to where a stack's images are: the config key `backend` chooses it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from plan.images.completeness import Result
from plan.images.reference import ImageReference, Platform

GO_ON = "to continue, run warm again: what is complete is not fetched again"


@dataclass(frozen=True, kw_only=True)
class Status:
    """What a backend contains.

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
        """Whether it has every image now."""

    def as_text(self) -> str:
        """For people: what is not complete, why, and what to do."""

    def as_json(self) -> dict[str, object]:
        """The same as one JSON object."""


class Backend(Protocol):
    """The caches of this machine, or the projects of a Harbor."""

    @property
    def name(self) -> str | None:
        """The key of its report in `warm`'s JSON; None if its report is not nested there."""

    def status(self, images: Sequence[ImageReference], platform: Platform, *, deep: bool) -> Status:
        """What it has of these images, without a request to any upstream.

        Args:
            images: to look for; if none are given, all that it has.
            platform: which entry of an index to look for.
            deep: hash the content of every blob, if that can be read.
        """

    def fill(
        self, images: Sequence[ImageReference], platform: Platform, parallel: int
    ) -> FillReport:
        """Make it fetch what is missing of these images.

        Args:
            images: to have complete.
            platform: which entry of an index to fetch.
            parallel: how many downloads at once.

        Raises:
            OpsError: it does not answer.
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
