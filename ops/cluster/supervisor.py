"""Runs programs until they end, the time is up, or no one waits for the result any more."""

import contextlib
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path

from ops.errors import OpsError

POLL_SECONDS = 0.1
# Between SIGTERM and SIGKILL.
GRACE_SECONDS = 10
LAST_LINES = 12


class StoppedError(OpsError):
    """The work was stopped early; the text says why."""


class Supervisor:
    """Says when the work has to stop.

    Args:
        seconds: that it may take from now on; None for no limit.
        limit: the same, for the message.
        pipe: file descriptor whose other end is closed once no one waits any more, or None.
    """

    def __init__(
        self, seconds: float | None = None, limit: str = "", pipe: int | None = None
    ) -> None:
        self._deadline = None if seconds is None else time.monotonic() + seconds
        self._limit = limit
        self._pipe = pipe

    def check(self) -> None:
        """Raise if the work has to stop.

        Raises:
            StoppedError: interrupted, or out of time.
        """
        if self._pipe is not None and _closed(self._pipe):
            raise StoppedError("interrupted")
        if self._deadline is not None and time.monotonic() > self._deadline:
            raise StoppedError(f"not done within {self._limit}")


def run(
    argv: Sequence[str], environment: Mapping[str, str], folder: Path, supervisor: Supervisor
) -> None:
    """Run a program in its own process group, and show its output as it comes.

    Raises:
        OpsError: it fails; with its last line of output.
        StoppedError: it was stopped early; with its last line of output.
    """
    process = subprocess.Popen(
        argv,
        env=dict(environment),
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    last: deque[str] = deque(maxlen=LAST_LINES)
    reader = threading.Thread(target=_show, args=(process, last), daemon=True)
    reader.start()
    try:
        while process.poll() is None:
            supervisor.check()
            time.sleep(POLL_SECONDS)
    except StoppedError as stopped:
        line = _last_line(last)  # before it complains about being stopped
        _end(process)
        reader.join(GRACE_SECONDS)
        raise StoppedError(f"{stopped}; its last output: {line}") from None
    reader.join(GRACE_SECONDS)
    if process.returncode != 0:
        raise OpsError(f"{Path(argv[0]).name} ended with {process.returncode}: {_last_line(last)}")


def say(text: str) -> None:
    """Print a line for the user; no error if no one reads it any more."""
    with contextlib.suppress(BrokenPipeError):
        print(text, file=sys.stderr, flush=True)


def _show(process: subprocess.Popen[bytes], last: deque[str]) -> None:
    assert process.stdout is not None  # noqa: S101 - it is a pipe
    for raw in process.stdout:
        # Progress is redrawn in place on a terminal; here each state is a line.
        for line in raw.decode(errors="replace").replace("\r", "\n").splitlines():
            if line.strip():
                last.append(line.strip())
                say(f"  {line.rstrip()}")


def _last_line(last: Sequence[str]) -> str:
    return last[-1] if last else "(nothing)"


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the whole group: talosctl starts helpers."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            pass  # it has just ended
        except PermissionError:
            return  # it runs under sudo: removing the cluster, as root, ends it too
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(GRACE_SECONDS)
            return


def _closed(pipe: int) -> bool:
    readable, _, _ = select.select([pipe], [], [], 0)
    return bool(readable) and os.read(pipe, 1) == b""
