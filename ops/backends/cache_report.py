"""The report on filling the caches."""

from dataclasses import dataclass, field

from ops.backends.backend import GO_ON, listed, not_complete
from ops.registry.upstreams_asked import Found
from plan.images.reference import ImageReference


@dataclass(frozen=True, kw_only=True)
class Failure:
    """An image that is not complete, and why: what the registry answered, if it did."""

    image: ImageReference
    why: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a run did.

    Attributes:
        images: how many there are in the list.
        complete_before: of these, how many needed nothing.
        upstream_bytes: what the caches fetched from their upstreams meanwhile, as they count it;
            None if one was restarted, which resets its count.
        unique_bytes: what was missing, each blob once per cache, each manifest once per repository.
        seconds: that it took.
        failures: images that are not complete.
        found: what is wrong with the upstreams of these.
    """

    images: int
    complete_before: int
    upstream_bytes: int | None
    unique_bytes: int
    seconds: float
    failures: tuple[Failure, ...]
    found: Found = field(default_factory=Found)

    @property
    def fetched(self) -> int:
        """Images that this run completed."""
        return self.images - self.complete_before - len(self.failures)

    @property
    def ratio(self) -> float | None:
        """Upstream bytes per unique byte; None if nothing was missing, or if it is not known."""
        if self.upstream_bytes is None or not self.unique_bytes:
            return None
        return self.upstream_bytes / self.unique_bytes

    @property
    def is_complete(self) -> bool:
        """Whether the caches have every image now."""
        return not self.failures

    def as_text(self) -> str:
        """For people: what is not complete, why, and what to do."""
        lines = not_complete((failed.image, failed.why) for failed in self.failures)
        lines.append(
            f"{self.images} images: {self.complete_before} complete before, {self.fetched} "
            f"fetched, {len(self.failures)} failed; {self.seconds:.1f} s"
        )
        lines.append(self._of_bytes())
        lines += dict.fromkeys(self.found.lines.values())
        # A cache that is cut off would fetch nothing in another run either.
        if {failed.image.host for failed in self.failures} - self.found.cut_off.keys():
            lines.append(GO_ON)
        return "\n".join(lines)

    def as_json(self) -> dict[str, object]:
        """The same as one JSON object."""
        return {
            "complete": not self.failures,
            "images": self.images,
            "completeBefore": self.complete_before,
            "fetched": self.fetched,
            "upstreamBytes": self.upstream_bytes,
            "uniqueBytes": self.unique_bytes,
            "ratio": self.ratio,
            "seconds": round(self.seconds, 3),
            "notComplete": listed((failed.image, failed.why) for failed in self.failures),
            "upstreams": self.found.lines,
        }

    def _of_bytes(self) -> str:
        unique = f"unique: {self.unique_bytes / 1e6:.1f} MB"
        if self.upstream_bytes is None:
            return f"from upstream: not known, a cache was restarted meanwhile; {unique}"
        parts = [f"from upstream: {self.upstream_bytes / 1e6:.1f} MB", unique]
        if self.ratio is not None:
            parts.append(f"ratio {self.ratio:.2f}")
        elif not self.failures and not self.fetched:
            parts.append("nothing was missing")
        return ", ".join(parts)
