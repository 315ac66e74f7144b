"""What a run of `warm` did, for people and as JSON."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ops.errors import OpsError
from ops.registry.upstreams_asked import Found
from plan.images.reference import ImageReference

if TYPE_CHECKING:
    from ops.harbor.images import Filled

_GO_ON = "to go on, run warm again: what is complete stays, and is not fetched again"
_WELL = Found()


@dataclass(frozen=True, kw_only=True)
class Failure:
    """An image that is not complete, and why, in the registry's own words where it said any."""

    image: ImageReference
    why: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a run did.

    Attributes:
        images: how many there are in the list.
        complete_before: of these, how many needed nothing.
        upstream_bytes: what the caches got from their upstreams meanwhile, as they count it; None
            where one was started anew, and its count with it.
        unique_bytes: what was missing, each blob once in a cache, each manifest in a repository.
        seconds: that it took.
        failures: images that are not complete.
    """

    images: int
    complete_before: int
    upstream_bytes: int | None
    unique_bytes: int
    seconds: float
    failures: tuple[Failure, ...]

    @property
    def fetched(self) -> int:
        """Images that this run completed."""
        return self.images - self.complete_before - len(self.failures)

    @property
    def ratio(self) -> float | None:
        """Upstream bytes for each unique byte; None where nothing was missing, or nobody knows."""
        if self.upstream_bytes is None or not self.unique_bytes:
            return None
        return self.upstream_bytes / self.unique_bytes


def as_text(report: Report | None, filled: "Filled | None", found: Found = _WELL) -> str:
    """For people: what is not complete, why, and what to do."""
    parts = [_of_caches(report)] if report else []
    parts += dict.fromkeys(found.lines.values())
    # Of a cache that is cut off nothing comes another time either.
    if report and {failed.image.host for failed in report.failures} - found.cut_off.keys():
        parts.append(_GO_ON)
    if filled:
        parts.append(_of_harbor(filled))
    return "\n".join(parts)


def _of_caches(report: Report) -> str:
    lines = _not_complete((failed.image, failed.why) for failed in report.failures)
    lines.append(
        f"{report.images} images: {report.complete_before} complete before, {report.fetched} "
        f"fetched, {len(report.failures)} failed; {report.seconds:.1f} s"
    )
    unique = f"unique: {report.unique_bytes / 1e6:.1f} MB"
    parts = [f"from upstream: {(report.upstream_bytes or 0) / 1e6:.1f} MB", unique]
    if report.ratio is not None:
        parts.append(f"ratio {report.ratio:.2f}")
    elif not report.failures and not report.fetched:
        parts.append("nothing was missing")
    if report.upstream_bytes is None:
        lines.append(f"from upstream: not known, a cache was started anew meanwhile; {unique}")
    else:
        lines.append(", ".join(parts))
    return "\n".join(lines)


def _of_harbor(filled: "Filled") -> str:
    lines = _not_complete(filled.failures)
    lines.append(
        f"behind Harbor, {len(filled.results)} images: {filled.complete_before} complete before, "
        f"{len(filled.failures)} failed; {filled.seconds:.1f} s, "
        f"{filled.transferred / 1e6:.1f} MB fetched by it"
    )
    if filled.said:
        lines.append(_GO_ON)
    return "\n".join(lines)


def _not_complete(failures: Iterable[tuple[ImageReference, Sequence[str]]]) -> list[str]:
    return [
        line
        for image, why in failures
        for line in (f"not complete: {image}", *(f"    {each}" for each in why))
    ]


def as_json(
    report: Report | None,
    filled: "Filled | None",
    sick: Mapping[str, str] | None = None,
    trouble: OpsError | None = None,
) -> str:
    """The same as one JSON object."""
    shown: dict[str, object] = {}
    if report:
        shown |= {
            "complete": not report.failures,
            "images": report.images,
            "completeBefore": report.complete_before,
            "fetched": report.fetched,
            "upstreamBytes": report.upstream_bytes,
            "uniqueBytes": report.unique_bytes,
            "ratio": report.ratio,
            "seconds": round(report.seconds, 3),
            "notComplete": _listed((failed.image, failed.why) for failed in report.failures),
            "upstreams": sick or {},
        }
    if filled:
        shown["harbor"] = {
            "complete": not filled.failures,
            "images": len(filled.results),
            "completeBefore": filled.complete_before,
            "transferredBytes": filled.transferred,
            "seconds": round(filled.seconds, 3),
            "notComplete": _listed(filled.failures),
        }
    if trouble:
        shown["harbor"] = {"complete": False, "error": str(trouble)}
    return json.dumps(shown, indent=2)


def _listed(failures: Iterable[tuple[ImageReference, Sequence[str]]]) -> list[dict[str, object]]:
    return [{"image": str(image), "why": list(why)} for image, why in failures]
