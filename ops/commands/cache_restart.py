"""Stops a cache while something goes from its volume: its memory would go on serving that."""

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
    """The cache does not run inside the block; afterwards it does if it did before.

    Whoever kills this leaves it stopped, and not serving what is gone; `make up` starts it.

    Returns:
        Whether it ran.
    """
    try:
        running = bool(client.api.inspect_container(cache.name)["State"]["Running"])
    except NotFound:
        running = False
    if not running:
        yield False
        return
    print(
        f"{cache.name} is stopped for a moment (should this be killed: make up STACK={stack} "
        "starts it again)",
        file=sys.stderr,
    )
    with _signals_raise():
        try:
            client.api.stop(cache.name, timeout=STOP_SECONDS)
            yield True
        finally:
            # Once more, for where the first was interrupted: Docker goes on with it, and would
            # stop what was started meanwhile.
            client.api.stop(cache.name, timeout=STOP_SECONDS)
            client.api.start(cache.name)


def not_back(cache: Cache) -> str | None:
    """None once a cache that was started again answers; in the end, why it does not."""
    why = wait_for_answer(cache.local_endpoint, START_SECONDS)
    return f"{cache.name} does not answer after its restart: {why}" if why else None


@contextmanager
def _signals_raise() -> Iterator[None]:
    """A closed terminal and a polite kill end the block as Ctrl-C does."""

    def interrupt(number: int, _: FrameType | None) -> None:
        sys.exit(128 + number)

    before = {one: signal.signal(one, interrupt) for one in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
