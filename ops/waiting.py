"""Waiting for what others do meanwhile."""

import time
from collections.abc import Callable
from typing import TypeVar

Found = TypeVar("Found")


def until(
    is_done: Callable[[Found], bool],
    look: Callable[[], Found],
    *,
    seconds: float,
    pause: float,
) -> Found:
    """What a look finds that is done; or the last look, when the time is up.

    Args:
        is_done: whether nothing more is waited for.
        look: taken at least once, and then after each pause.
        seconds: how long to wait.
        pause: in seconds.
    """
    deadline = time.monotonic() + seconds
    while not is_done(found := look()) and time.monotonic() < deadline:
        time.sleep(pause)
    return found
