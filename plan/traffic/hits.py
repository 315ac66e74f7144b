"""Which requests a cache answered from its volume, and for which it asked its upstream.

No line of the registry's log says so. Its volume does: when the registry has fetched a manifest or
a blob, it writes a link for it into the repository, right before that request ends, and not again
while the link is there. It stores what the first request fetches; what is asked for meanwhile comes
from the upstream, too, and is not stored. Files have whole seconds here. See docs/adr/0040.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from plan.traffic.request_log import BLOBS, Request

HIT = "hit"
MISS = "miss"
# It was removed from the cache since, or fetched again: what the volume says is about later.
UNKNOWN = "unknown"
FAILED = "failed"
# The granularity of a link's time, and how long after it the request that wrote it may end.
TICK_SECONDS = 1
LAG_SECONDS = 2
# For what is fetched for longer, misses that end meanwhile are unknown.
LONGEST_SECONDS = 600
# Requests that may wait until it is clear what they were.
WAITING = 10_000

# (kind, repository, digest) of a manifest or a blob.
_Key = tuple[str, str, str]


@dataclass(frozen=True, kw_only=True)
class Stored:
    """When a cache fetched what it holds, by its links.

    Attributes:
        manifests: (repository, digest) -> when its link was written, in seconds since 1970.
        blobs: the same of configs and layers.
        tags: (repository, tag) -> digests that it has pointed to, the current one first.
    """

    manifests: Mapping[tuple[str, str], int] = field(default_factory=dict)
    blobs: Mapping[tuple[str, str], int] = field(default_factory=dict)
    tags: Mapping[tuple[str, str], tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Served:
    """A request, and what became of it.

    Attributes:
        request: as the registry logged it.
        digest: of the manifest or blob; empty if it can't be told from the tag any more.
        result: HIT, MISS, UNKNOWN, or FAILED.
    """

    request: Request
    digest: str
    result: str

    @property
    def fetched(self) -> int:
        """Bytes of a blob that the cache had to fetch; a request for its header fetches all."""
        is_fetched = self.request.kind == BLOBS and self.result == MISS
        return self.request.written if is_fetched else 0


class Judge:
    """Tells hits from misses, of one cache. Requests are noted in the order of their ends.

    Args:
        stored: what the cache's volume says.
    """

    def __init__(self, stored: Stored) -> None:
        self._stored = stored
        # Of the requests that were under way when a link was written, the one that began first.
        self._fetches: dict[_Key, Request] = {}

    def learn(self, more: Stored) -> None:
        """Take what the volume says of later requests as well."""
        known = self._stored
        self._stored = Stored(
            manifests={**known.manifests, **more.manifests},
            blobs={**known.blobs, **more.blobs},
            tags={**known.tags, **more.tags},
        )

    def note(self, request: Request) -> None:
        """Take into account that there was this request, for those that are judged from now on."""
        for digest in self._digests(request) if request.is_well else ():
            written = self._written(request, digest)
            if written is not None and request.started < written + TICK_SECONDS:
                key = (request.kind, request.repository, digest)
                known = self._fetches.get(key)
                if request.ended >= written and not (known and known.started <= request.started):
                    self._fetches[key] = request

    def is_settled(self, request: Request, now: float) -> bool:
        """Whether no request that ends after `now` changes what this one was."""
        links = (self._written(request, digest) for digest in self._digests(request))
        return not request.is_well or all(
            written is None
            or request.started >= written + TICK_SECONDS
            or now >= written + TICK_SECONDS + LAG_SECONDS
            or written > request.ended + LONGEST_SECONDS
            for written in links
        )

    def served(self, request: Request, *, is_fresh: bool = False) -> Served:
        """What became of a request.

        Args:
            request: noted before.
            is_fresh: whether the volume was read right after the request: what it had no link for
                then was not removed, but has not been stored yet.
        """
        if not request.is_well:
            return Served(request=request, digest="", result=FAILED)
        digests = self._digests(request)
        results = [self._result(request, digest, is_fresh=is_fresh) for digest in digests]
        for result in (MISS, HIT):
            if chosen := [one for one, is_ in zip(digests, results, strict=True) if is_ == result]:
                # A miss is of the tag's manifest at that time; a hit may be of any that was there.
                digest = chosen[0] if result == MISS or len(chosen) == 1 else ""
                return Served(request=request, digest=digest, result=result)
        digest = digests[0] if len(digests) == 1 else ""
        return Served(request=request, digest=digest, result=UNKNOWN)

    def _digests(self, request: Request) -> tuple[str, ...]:
        if not request.by_tag:
            return (request.reference,)
        return self._stored.tags.get((request.repository, request.reference), ())

    def _written(self, request: Request, digest: str) -> int | None:
        known = self._stored.blobs if request.kind == BLOBS else self._stored.manifests
        return known.get((request.repository, digest))

    def _result(self, request: Request, digest: str, *, is_fresh: bool) -> str:
        written = self._written(request, digest)
        if written is not None and request.started >= written + TICK_SECONDS:
            return HIT
        if is_fresh and (written is None or request.ended < written):
            return MISS
        fetch = self._fetches.get((request.kind, request.repository, digest))
        if written is None or fetch is None or request.ended <= fetch.started:
            return UNKNOWN
        return MISS if request.started < fetch.ended else HIT


def served(requests: Iterable[Request], judge: Judge) -> Iterator[Served]:
    """Each of these requests with its result, as soon as that is clear.

    Args:
        requests: in the order of their ends.
        judge: that knows the volume, as it was after the last of these requests.
    """
    waiting: deque[Request] = deque()
    for request in requests:
        judge.note(request)
        waiting.append(request)
        while waiting and (judge.is_settled(waiting[0], request.ended) or len(waiting) > WAITING):
            yield judge.served(waiting.popleft())
    yield from map(judge.served, waiting)
