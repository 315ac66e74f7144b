"""The requests to a cache, as its registry logs them.

distribution writes one line for each request when it has answered it (`response completed`, or
`response completed with error`), in logfmt with its keys in alphabetical order. It has the time in
nanoseconds, the client's address, what was requested, the answer's status, how many bytes of it
were written, and how long that took. The line in Apache's format that follows says less.
Source: `registry/handlers/app.go` and `internal/dcontext/http.go` of distribution v3.1.2.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import lru_cache
from urllib.parse import unquote

MANIFESTS, BLOBS = "manifests", "blobs"
# A client chooses its user agent and host, which may contain what looks like other fields: values
# in quotation marks are skipped as a whole.
_VALUE = r'(?:"(?:[^"\\]|\\.)*"|[^" ]*)'
_FIELDS = rf"(?: [a-z.]+={_VALUE})*?"
_ANSWERED = re.compile(
    r'(?:\S+ )?time="(?P<second>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?P<fraction>\.\d+)?Z" level=[a-z]+ '
    rf'msg="response completed(?: with error)?"{_FIELDS}'
    r" http\.request\.method=(?P<method>GET|HEAD)"
    rf"(?: http\.request\.referer={_VALUE})?"
    r' http\.request\.remoteaddr="?(?P<client>[^" ]+)"?'
    # A proxy is sent the address as well.
    r' http\.request\.uri="?(?:https?://[^" /]*)?/v2/(?P<repository>[^" ?]+)/'
    r'(?P<kind>manifests|blobs)/(?P<reference>[^"/ ?]+)(?:\?(?:[^"\\ ]|\\.)*)?"?'
    rf"(?: http\.request\.useragent=(?P<agent>{_VALUE}))?"
    rf"{_FIELDS}"
    r' http\.response\.duration="?(?P<duration>[^" ]+)"? http\.response\.status=(?P<status>\d+)'
    r" http\.response\.written=(?P<written>\d+)"
)
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(h|ms|m|s|µs|ns)")
_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "µs": 1e-6, "ns": 1e-9}


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """A request for a manifest or a blob that a cache has answered.

    Attributes:
        ended: when the answer was complete, in seconds since 1970.
        seconds: from the request to the end of the answer.
        client: address that it came from; if there is a proxy in front, as that says.
        agent: what the client calls itself, such as containerd/v2.2.2.
        is_head: whether it was only asked for the header of an answer.
        repository: by its name in the cache.
        kind: MANIFESTS or BLOBS.
        reference: a tag or a digest.
        status: of the answer, by HTTP.
        written: bytes of the answer's body; of a blob's HEAD those that a GET would have had.
    """

    ended: float
    seconds: float
    client: str
    agent: str
    is_head: bool
    repository: str
    kind: str
    reference: str
    status: int
    written: int

    @property
    def started(self) -> float:
        """When it arrived, in seconds since 1970."""
        return self.ended - self.seconds

    @property
    def day(self) -> str:
        """When it ended, as a day (UTC), as in 2026-11-24."""
        return datetime.fromtimestamp(self.ended, timezone.utc).date().isoformat()

    @property
    def size(self) -> int:
        """Bytes of content that the client got."""
        return 0 if self.is_head or not self.is_well else self.written

    @property
    def is_well(self) -> bool:
        """Whether the client got what it had asked for, or has that already."""
        return self.status < 400

    @property
    def is_from_node(self) -> bool:
        """Whether a containerd asked, as those of nodes do."""
        return self.agent.startswith("containerd")

    @property
    def by_tag(self) -> bool:
        """Whether it was for a tag."""
        return self.kind == MANIFESTS and ":" not in self.reference


def requests(lines: Iterable[str]) -> Iterator[Request]:
    """The requests in a log, in the order in which they were answered."""
    return filter(None, map(request_in, lines))


def request_in(line: str) -> Request | None:
    """The request for a manifest or a blob that a line of the log is about; None if it is not.

    Args:
        line: with or without a timestamp of Docker's in front.
    """
    if ' msg="response completed' not in line or not (match := _ANSWERED.match(line)):
        return None
    return Request(
        ended=_unix(match["second"]) + float(match["fraction"] or 0),
        seconds=duration(match["duration"]),
        client=_address(match["client"]),
        agent=(match["agent"] or "").strip('"'),
        is_head=match["method"] == "HEAD",
        repository=unquote(match["repository"]),
        kind=match["kind"],
        reference=unquote(match["reference"]),
        status=int(match["status"]),
        written=int(match["written"]),
    )


def _address(text: str) -> str:
    """The address, of one with a port, or without: as a proxy in front says it in a header."""
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0] if text.count(":") == 1 else text


@lru_cache(maxsize=16)  # many requests a second, in order
def _unix(second: str) -> float:
    return datetime.fromisoformat(f"{second}+00:00").timestamp()


def duration(text: str) -> float:
    """Seconds, from a duration as Go writes it, such as 1m2.5s or 18.5µs; 0 if it is none."""
    return sum(float(number) * _SECONDS[unit] for number, unit in _DURATION.findall(text))
