"""The metrics of a cache, read inside its container: its debug address is not published."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import docker
from docker.errors import APIError

from ops.docker.api import execute
from ops.errors import OpsError
from plan.caches.cache import Cache
from plan.caches.upstream_watchdog import DEBUG_ADDRESS

_STARTED = re.compile(r"^process_start_time_seconds (\S+)$", re.MULTILINE)
_PULLED = re.compile(r'^registry_proxy_pulled_bytes_total\{type="\w+"\} (\S+)$', re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Pulled:
    """What a cache has fetched from its upstream.

    Attributes:
        since: when the registry process started, and began to count, as it reports that itself. The
            container may be older: the watchdog in it restarts the process alone.
        size: bytes of manifests and blobs since then.
    """

    since: str
    size: int


def difference(before: Sequence[Pulled], after: Sequence[Pulled]) -> int | None:
    """Bytes that the same caches fetched between two looks; None if one was restarted."""
    pairs = list(zip(before, after, strict=True))
    if any(first.since != second.since for first, second in pairs):
        return None
    return sum(second.size - first.size for first, second in pairs)


def pulled(client: docker.DockerClient, cache: Cache) -> Pulled:
    """What this cache has fetched from its upstream since it was started.

    Raises:
        OpsError: it does not report that.
    """
    url = f"http://{DEBUG_ADDRESS}/metrics"
    try:
        _, printed = execute(client, cache.name, ["wget", "-q", "-O", "-", url])
        text = b"".join(some for _, some in printed).decode(errors="replace")
    except APIError as error:
        raise OpsError(f"the metrics of {cache.name} can't be read: {error.explanation}") from error
    return of_text(cache.name, text)


def of_text(name: str, text: str) -> Pulled:
    """What the metrics of the cache with this name say.

    Raises:
        OpsError: a value is missing in them.
    """
    started, values = _STARTED.search(text), _PULLED.findall(text)
    if not (started and values):
        raise OpsError(f"{name} does not report what it has pulled: {text[:200].strip()}")
    return Pulled(since=started[1], size=int(sum(map(float, values))))
