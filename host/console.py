"""Messages to the user that must not mix with a command's output."""

import sys


def say(text: str) -> None:
    """Print a line on standard error; a shell may evaluate standard output."""
    print(text, file=sys.stderr, flush=True)
