"""What a cache says of itself on its debug address, which is not published: read inside."""

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
    """What a cache has got from its upstream.

    Attributes:
        since: when the registry was started, and began to count, in its own words. Its container
            says another time, because the watch in it starts the program alone.
        size: bytes of manifests and blobs since then.
    """

    since: str
    size: int


def difference(before: Sequence[Pulled], after: Sequence[Pulled]) -> int | None:
    """Bytes that the same caches got between two looks; None where one began to count anew."""
    pairs = list(zip(before, after, strict=True))
    if any(first.since != second.since for first, second in pairs):
        return None
    return sum(second.size - first.size for first, second in pairs)


def pulled(client: docker.DockerClient, cache: Cache) -> Pulled:
    """What this cache has got from its upstream since it was started.

    Raises:
        OpsError: it does not say.
    """
    url = f"http://{DEBUG_ADDRESS}/metrics"
    try:
        _, printed = execute(client, cache.name, ["wget", "-q", "-O", "-", url])
        said = b"".join(some for _, some in printed).decode(errors="replace")
    except APIError as error:
        raise OpsError(f"{cache.name} can't be asked: {error.explanation}") from error
    return of_text(cache.name, said)


def of_text(name: str, said: str) -> Pulled:
    """What a cache of this name says.

    Raises:
        OpsError: it does not.
    """
    started, values = _STARTED.search(said), _PULLED.findall(said)
    if not (started and values):
        raise OpsError(f"{name} does not say what it has pulled: {said[:200].strip()}")
    return Pulled(since=started[1], size=int(sum(map(float, values))))
