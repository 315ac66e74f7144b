"""Waiting until something else is done."""

import time
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")


def until(
    is_done: Callable[[Result], bool],
    look: Callable[[], Result],
    *,
    seconds: float,
    pause: float,
) -> Result:
    """The first result of `look` that is done, or its last one when the time is up.

    Args:
        is_done: whether a result needs no further wait.
        look: called at least once, and again after each pause.
        seconds: how long to wait.
        pause: in seconds.
    """
    deadline = time.monotonic() + seconds
    while not is_done(result := look()) and time.monotonic() < deadline:
        time.sleep(pause)
    return result
