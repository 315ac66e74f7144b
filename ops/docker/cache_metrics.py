"""The metrics of a cache, read inside its container: its debug address is not published."""

from collections.abc import Sequence

import docker
from docker.errors import APIError

from ops.docker.api import execute
from ops.errors import OpsError
from plan.caches.cache import Cache
from plan.caches.upstream_watchdog import DEBUG_ADDRESS
from plan.traffic import counters
from plan.traffic.counters import Counters

READ = ("wget", "-q", "-O", "-", f"http://{DEBUG_ADDRESS}/metrics")


def fetched_between(before: Sequence[Counters], after: Sequence[Counters]) -> int | None:
    """Bytes that the same caches fetched between two looks; None if one was restarted."""
    pairs = list(zip(before, after, strict=True))
    if any(first.since != second.since for first, second in pairs):
        return None
    return sum(second.fetched - first.fetched for first, second in pairs)


def counted(client: docker.DockerClient, cache: Cache) -> Counters:
    """What this cache has counted since it was started.

    Raises:
        OpsError: it does not report that.
    """
    try:
        _, printed = execute(client, cache.name, READ)
        text = b"".join(some for _, some in printed).decode(errors="replace")
    except APIError as error:
        raise OpsError(f"the metrics of {cache.name} can't be read: {error.explanation}") from error
    return of_text(cache.name, text)


def of_text(name: str, text: str) -> Counters:
    """What the metrics of the cache with this name say.

    Raises:
        OpsError: a value is missing in them.
    """
    try:
        return counters.parse(text)
    except ValueError as error:
        shown = text[:200].strip()
        raise OpsError(f"{name} does not report what it has pulled ({error}): {shown}") from error
