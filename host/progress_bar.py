"""The progress bar of every long step: on stderr, and only where somebody looks.

What a step waits for is told there as well, whoever looks.
"""

import sys
from typing import Any

from tqdm import tqdm


def bar(what: str, total: int | None, *, unit: str = "B") -> "tqdm[Any]":
    """A bar to be used with `with`; `update(n)` moves it, `total` may be set later.

    Args:
        what: the step, as in "hashing".
        total: how much there is to do; None where nobody knows yet.
        unit: bytes, or what is counted.
    """
    return tqdm(
        desc=what,
        total=total,
        unit=unit,
        unit_scale=unit == "B",
        disable=None,  # where stderr is no terminal
        leave=False,
    )


def tell(line: str) -> None:
    """Print a line where the bars are, beside those that are there."""
    tqdm.write(line, file=sys.stderr)
