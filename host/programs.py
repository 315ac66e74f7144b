"""Programs that are run for their output."""

import subprocess
from collections.abc import Sequence
from pathlib import Path


def output_of(argv: Sequence[str | Path], timeout: float = 30) -> str | None:
    """The output of a command, or None if it is missing or fails."""
    try:
        done = subprocess.run(
            [str(part) for part in argv],
            capture_output=True,
            text=True,
            timeout=timeout,
            check=True,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
