"""The progress bar of every long step: on stderr, and only on a terminal.

What a step waits for is printed there too, terminal or not.
"""

import sys
from typing import Any

from tqdm import tqdm


def bar(what: str, total: int | None, *, unit: str = "B") -> "tqdm[Any]":
    """A progress bar for a `with` statement; `update(n)` moves it, `total` may be set later.

    Args:
        what: the step, as in "hashing".
        total: how much there is to do; None if that is not known yet.
        unit: B for bytes, or what is counted.
    """
    return tqdm(
        desc=what,
        total=total,
        unit=unit,
        unit_scale=unit == "B",
        disable=None,  # if stderr is not a terminal
        leave=False,
    )


def tell(line: str) -> None:
    """Print a line on stderr without disturbing the bars."""
    tqdm.write(line, file=sys.stderr)
