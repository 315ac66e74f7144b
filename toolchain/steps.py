"""Runs a step of the set-up and keeps the user informed on standard error."""

import contextlib
import fcntl
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

from host.paths import LOGS

# Silence for longer than the first looks like a hang; the second keeps long builds readable.
FIRST_PROGRESS_SECONDS = 2.0
PROGRESS_EVERY_SECONDS = 10.0
SHOWN_LINES = 25


class _Steps(threading.local):
    """The steps within steps that a thread is at."""

    def __init__(self) -> None:
        self.running: list[object] = []


_steps = _Steps()


class SetupError(Exception):
    """The set-up can't go on; the text says what is missing and what to do."""


class StepFailedError(SetupError):
    """A command failed; `last_line` is the last that it said."""

    def __init__(self, text: str, last_line: str) -> None:
        super().__init__(text)
        self.last_line = last_line


def say(text: str) -> None:
    """One line for the user; standard output is kept for the lines to export."""
    print(text, file=sys.stderr, flush=True)


@contextlib.contextmanager
def progress(doing: str) -> Iterator[None]:
    """Say what takes so long, after two seconds and then every ten; only the innermost says it."""
    running, mine = _steps.running, object()
    running.append(mine)
    started = time.monotonic()
    done = threading.Event()

    def tell() -> None:
        pause = FIRST_PROGRESS_SECONDS
        while not done.wait(pause):
            if running[-1] is mine:
                say(f"  ... {doing} ({time.monotonic() - started:.0f} s)")
            pause = PROGRESS_EVERY_SECONDS

    thread = threading.Thread(target=tell, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        running.remove(mine)


def run(
    doing: str,
    argv: Sequence[str | Path],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    timeout: float | None = None,
) -> None:
    """Run a command with its output in a log file, shown only when it fails.

    Raises:
        StepFailedError: it can't be started, fails, or takes longer than `timeout` seconds.
    """
    LOGS.mkdir(parents=True, exist_ok=True)
    log = LOGS / f"{''.join(c if c.isalnum() else '-' for c in doing)}.log"
    command = " ".join(str(part) for part in argv)
    try:
        with progress(doing), log.open("w") as output:
            subprocess.run(
                [str(part) for part in argv],
                check=True,
                env=env,
                cwd=cwd,
                timeout=timeout,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
    except (OSError, subprocess.SubprocessError) as error:
        lines = log.read_text(errors="replace").splitlines()[-SHOWN_LINES:]
        text = "\n".join([f"{doing} failed: {error}", f"  {command}", *lines, f"(log: {log})"])
        raise StepFailedError(text, lines[-1] if lines else str(error)) from error


def output_of(argv: Sequence[str | Path], timeout: float = 30) -> str | None:
    """What a command prints, or None where it is missing or fails."""
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
