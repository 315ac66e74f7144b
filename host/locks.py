"""Lock files, and things that are made once by whoever comes first."""

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
    """Hold a lock file, so that two runs don't make the same thing at once; the second waits."""
    while True:
        lock.parent.mkdir(parents=True, exist_ok=True)
        try:
            file = lock.open("w")
        except FileNotFoundError:  # whoever held it has just removed the folder too
            continue
        with file as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                say(f"waiting for another run to end, which holds {lock}")
                fcntl.flock(handle, fcntl.LOCK_EX)
            if _is_at(lock, handle):
                yield
                return


def _is_at(path: Path, file: IO[str]) -> bool:
    """Whether an open file is still there; whoever was waited for may have removed it."""
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


def made_once(target: Path, make: Callable[[Path], None]) -> Path:
    """A file or folder, made unless it is there: whole or not at all, by one process at a time.

    Args:
        target: in a folder of its own.
        make: gets the path to make it at; what stands there afterwards becomes `target`.
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
