"""What is said to the user while something else may be printed."""

import sys


def say(text: str) -> None:
    """One line for the user; standard output is kept for the lines to export."""
    print(text, file=sys.stderr, flush=True)
