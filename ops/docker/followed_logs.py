"""The requests to caches as they come, also after a cache was stopped and started again."""

import queue
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import TypeAlias

import docker

from ops.docker.cache_logs import CacheLog, log_of
from plan.caches.cache import Cache
from plan.traffic import request_log
from plan.traffic.request_log import Request

AT_ONCE = 1000
LOOK_SECONDS = 0.5
STOPPED, AGAIN = "its cache has stopped", "its cache is up again"
# A request to a cache, or what has happened to the cache.
Came: TypeAlias = tuple[Cache, Request | str]


def followed(
    client: docker.DockerClient, logs: Sequence[CacheLog], after: Mapping[str, float]
) -> Iterator[list[Came]]:
    """What comes, at once and together: at least one each time; without end.

    Args:
        client: of Docker.
        logs: of the caches.
        after: host -> requests that ended until then, in seconds since 1970, are known.

    Raises:
        OpsError: Docker can't read a log any more.
    """
    coming: queue.Queue[Came | Exception] = queue.Queue(AT_ONCE)
    for log in logs:
        reading = (client, log, after[log.cache.host], coming)
        threading.Thread(target=_read, args=reading, daemon=True).start()
    while True:
        batch = []
        for came in _at_least_one(coming):
            if isinstance(came, Exception):
                raise came
            batch.append(came)
        yield batch


def _read(
    client: docker.DockerClient,
    log: CacheLog,
    after: float,
    coming: "queue.Queue[Came | Exception]",
) -> None:
    """Put all that comes of one cache."""
    latest = after
    try:
        while True:
            for request in request_log.requests(log.lines(after, follow=True)):
                if request.ended > after:
                    coming.put((log.cache, request))
                    latest = max(latest, request.ended)
            coming.put((log.cache, STOPPED))
            log, after = _running(client, log.cache), latest
            coming.put((log.cache, AGAIN))
    except Exception as error:  # raised again in the thread that waits for it
        coming.put(error)


def _running(client: docker.DockerClient, cache: Cache) -> CacheLog:
    """The log of a cache, as soon as it runs."""
    while True:
        log = log_of(client, cache)
        if log and log.is_running:
            return log
        time.sleep(LOOK_SECONDS)


def _at_least_one(coming: "queue.Queue[Came | Exception]") -> Iterator[Came | Exception]:
    yield coming.get()
    with suppress(queue.Empty):
        for _ in range(AT_ONCE):
            yield coming.get_nowait()
