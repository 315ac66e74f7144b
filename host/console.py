"""Messages to the user that must not mix with a command's output, and how wide that may be."""

import shutil
import sys

# Of a line in a file, or in a pipe.
UNLIMITED = 1000


def say(text: str) -> None:
    """Print a line on standard error; a shell may evaluate standard output."""
    print(text, file=sys.stderr, flush=True)


def is_terminal() -> bool:
    """Whether somebody looks at the output."""
    return bool(sys.stdout and sys.stdout.isatty())  # it is None if it is closed


def width() -> int:
    """How wide a line of output may be, in characters."""
    return shutil.get_terminal_size().columns if is_terminal() else UNLIMITED
