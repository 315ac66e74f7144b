"""Stops a cache while blobs are removed from its volume: it would go on announcing them."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import docker
from docker.errors import NotFound

from ops.registry.ping import wait_for_answer
from plan.caches.cache import Cache

STOP_SECONDS = 10
START_SECONDS = 30


@contextmanager
def stopped(client: docker.DockerClient, cache: Cache, stack: str) -> Iterator[bool]:
    """Stop the cache for the block, and start it again if it was running.

    If this process is killed, the cache stays stopped and serves nothing that is gone; `make up`
    starts it.

    Returns:
        Whether it was running.
    """
    try:
        running = bool(client.api.inspect_container(cache.name)["State"]["Running"])
    except NotFound:
        running = False
    if not running:
        yield False
        return
    print(
        f"{cache.name} is stopped for a moment (if this is killed, make up STACK={stack} starts it "
        "again)",
        file=sys.stderr,
    )
    with _signals_raise():
        try:
            client.api.stop(cache.name, timeout=STOP_SECONDS)
            yield True
        finally:
            # Again, in case the first call was interrupted: Docker goes on with that, and would
            # stop the container after its start.
            client.api.stop(cache.name, timeout=STOP_SECONDS)
            client.api.start(cache.name)


def not_back(cache: Cache) -> str | None:
    """Wait until a restarted cache answers: None, or why it does not."""
    why = wait_for_answer(cache.local_endpoint, START_SECONDS)
    return f"{cache.name} does not answer after its restart: {why}" if why else None


@contextmanager
def _signals_raise() -> Iterator[None]:
    """Make SIGTERM and SIGHUP (a closed terminal) end the block as Ctrl-C does."""

    def interrupt(number: int, _: FrameType | None) -> None:
        sys.exit(128 + number)

    before = {one: signal.signal(one, interrupt) for one in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
