"""Runs a step of the set-up and keeps the user informed on standard error."""

import contextlib
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from host.console import say
from host.errors import SetupError
from host.paths import LOGS

# Silence for longer than the first looks like a hang; the second keeps long builds readable.
FIRST_PROGRESS_SECONDS = 2.0
PROGRESS_EVERY_SECONDS = 10.0
SHOWN_LINES = 25


class _Steps(threading.local):
    """The nested steps that a thread is running."""

    def __init__(self) -> None:
        self.running: list[object] = []


_steps = _Steps()


class StepFailedError(SetupError):
    """A command failed; `last_line` is the last line of its output."""

    def __init__(self, text: str, last_line: str) -> None:
        super().__init__(text)
        self.last_line = last_line


@contextlib.contextmanager
def progress(doing: str) -> Iterator[None]:
    """Report what takes so long, after two seconds and then every ten; only the innermost does."""
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
