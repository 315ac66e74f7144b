"""Requests to caches as lines for people and as JSON; and which of them a user wants to see."""

import json
import re
from dataclasses import dataclass
from datetime import datetime, timezone, tzinfo

from plan import sizes
from plan.traffic.hits import MISS, Served
from plan.traffic.request_log import BLOBS

# Enough to tell blobs apart.
_SHORT = len("sha256:") + 12
_AGO = re.compile(r"(\d{1,9})([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
SINCE = "10m, 2h, 1d, or a time such as 2026-11-28T09:30"
# The first column of a registry's line, and of Docker's in front of it.
_DOCKER_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d{1,9})?Z ")
_REQUEST = re.compile(r' http\.request\.id=|"[A-Z]+ /\S* HTTP/[0-9.]+" \d{3} ')
# The first start of a container follows its creation, even on a busy machine.
_FIRST_LINE_SECONDS = 600


@dataclass(frozen=True, kw_only=True)
class Filter:
    """What to show.

    Attributes:
        client: requests from this address only; empty for all.
        only_misses: leave out what came from the caches.
    """

    client: str = ""
    only_misses: bool = False

    def shows(self, one: Served) -> bool:
        """Whether this request is wanted."""
        if self.only_misses and one.result != MISS:
            return False
        return self.client in ("", one.request.client)


@dataclass(frozen=True, kw_only=True)
class Line:
    """A request to a cache, ready to be printed.

    Attributes:
        host: upstream of the cache.
        repository: by the name that nodes use.
        node: name of the node that asked; empty if it is not known.
        served: the request and its result.
    """

    host: str
    repository: str
    node: str
    served: Served

    def as_text(self, zone: tzinfo | None = None) -> str:
        """For people.

        Args:
            zone: for the time; None for that of this machine.
        """
        request = self.served.request
        time = datetime.fromtimestamp(request.ended, timezone.utc).astimezone(zone)
        size = sizes.amount(request.size) if request.is_well else f"HTTP {request.status}"
        return (
            f"{time:%Y-%m-%d %H:%M:%S}.{time.microsecond // 1000:03}  {self.served.result:<7}  "
            f"{size:>8}  {request.seconds * 1000:>7.0f} ms  {self.node or request.client:<15}  "
            f"{self._image()}"
        )

    def as_json(self) -> str:
        """One JSON object, in one line."""
        request = self.served.request
        time = datetime.fromtimestamp(request.ended, timezone.utc)
        return json.dumps(
            {
                "time": time.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
                "upstream": self.host,
                "repository": self.repository,
                "kind": request.kind.removesuffix("s"),
                "tag": request.reference if request.by_tag else None,
                "digest": self.served.digest or None,
                "method": "HEAD" if request.is_head else "GET",
                "result": self.served.result,
                "status": request.status,
                "bytes": request.size,
                "fetchedBytes": self.served.fetched if request.kind == BLOBS else None,
                "ms": round(request.seconds * 1000, 3),
                "client": request.client,
                "node": self.node or None,
            }
        )

    def _image(self) -> str:
        request, digest = self.served.request, self.served.digest[:_SHORT]
        name = f"{self.host}/{self.repository}"
        if request.by_tag:
            named = f"{name}:{request.reference}{f' {digest}' if digest else ''}"
        else:
            named = f"{name}@{request.reference[:_SHORT]}"
        part = " blob" if request.kind == BLOBS else ""
        return f"{named}{part}{' (HEAD)' if request.is_head else ''}"


def since(text: str, now: float) -> float:
    """The time that a user means, in seconds since 1970.

    Args:
        text: as SINCE says; a time without a zone is in that of this machine.
        now: in seconds since 1970.

    Raises:
        ValueError: it is neither.
    """
    if match := _AGO.fullmatch(text):
        return max(0.0, now - int(match[1]) * _SECONDS[match[2]])
    try:
        return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()
    except (ValueError, OverflowError) as error:
        raise ValueError(f"write {SINCE}") from error


def rotated_away(first_line: str, created: float) -> str | None:
    """Until when a container's log is missing, because Docker has removed its oldest part.

    A registry says something when it starts, before it answers requests.

    Args:
        first_line: that is left, with Docker's timestamp in front.
        created: when the container was created, in seconds since 1970.

    Returns:
        The time of the first line that is left, UTC; None if nothing is missing.
    """
    if not (match := _DOCKER_TIME.match(first_line)):
        return None
    time = datetime.fromisoformat(f"{match[1]}+00:00")
    if _REQUEST.search(first_line) or time.timestamp() > created + _FIRST_LINE_SECONDS:
        return match[1]
    return None
