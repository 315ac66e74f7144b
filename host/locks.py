"""Lock files, and files and folders that the first process to come makes, once."""

import contextlib
import fcntl
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from host.console import say


@contextlib.contextmanager
def only_one(lock: Path) -> Iterator[None]:
    """Hold a lock file so that two runs don't do the same work at once; the second waits."""
    while True:
        lock.parent.mkdir(parents=True, exist_ok=True)
        try:
            file = lock.open("w")
        except FileNotFoundError:  # the run that held it has just removed the folder too
            continue
        with file as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                say(f"waiting for another run to finish: it holds {lock}")
                fcntl.flock(handle, fcntl.LOCK_EX)
            if _is_at(lock, handle):
                yield
                return


def _is_at(path: Path, file: IO[str]) -> bool:
    """Whether an open file is still at this path; the run that held it may have removed it."""
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


def made_once(target: Path, make: Callable[[Path], None]) -> Path:
    """Make a file or folder unless it exists: atomically, by one process at a time.

    Args:
        target: in a folder of its own.
        make: called with the path to make it at, which then becomes `target`.
    """
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with only_one(target.parent / "lock"):
        if not target.exists():
            with tempfile.TemporaryDirectory(dir=target.parent) as folder:
                made = Path(folder) / target.name
                make(made)
                made.rename(target)
    return target
