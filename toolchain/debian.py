"""Debian packages, installed only as root and only if something is missing.

Another apt-get may be running: a new cloud machine runs one in its first minutes. apt itself waits
for dpkg's lock only (`DPkg::Lock::Timeout`), and on old releases for none, so we wait.
"""

import fcntl
import os
import re
import shutil
import struct
import time
from pathlib import Path

from host.console import say
from host.errors import SetupError
from toolchain.steps import (
    StepFailedError,
    progress,
    run,
)

# Every file that `apt-get update` and `apt-get install` lock, with fcntl.
LOCKS = tuple(
    map(
        Path,
        (
            "/var/lib/apt/lists/lock",
            "/var/cache/apt/archives/lock",
            "/var/lib/dpkg/lock-frontend",
            "/var/lib/dpkg/lock",
        ),
    )
)
LOCK_SECONDS = 600
POLL_SECONDS = 0.5
# apt's error if a lock was taken between our check and its own. "Could not open lock file" is
# another one, for which waiting does not help: the file system may be read-only.
LOCK_TAKEN = re.compile(r"Could not get lock .*")
# struct flock: type, whence, start, length, process.
FLOCK = "hhqqi"


def install(packages: tuple[str, ...], why: str) -> None:
    """Install packages with apt-get, once no other program holds apt's locks.

    Raises:
        SetupError: not root, or no apt-get: says what to install by hand. Or another program
            holds one of apt's locks for too long: says which.
    """
    names = " ".join(packages)
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise SetupError(
            f"{why}. Install it (Debian and Ubuntu: sudo apt-get install {names}), "
            "or run this as root on Debian or Ubuntu, where it is installed for you."
        )
    say(f"{why}: installing {names}")
    deadline = time.monotonic() + LOCK_SECONDS
    _apt("refreshing Debian's package lists", ["update"], deadline)
    _apt(f"installing {names}", ["install", "--no-install-recommends", *packages], deadline)


def _apt(doing: str, arguments: list[str], deadline: float) -> None:
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"}
    reported = False
    while True:
        _wait_for_locks(deadline)
        try:
            return run(doing, ["apt-get", "-y", "-q", *arguments], env=env)
        except StepFailedError as failure:
            taken = LOCK_TAKEN.search(str(failure))
            if not taken or time.monotonic() > deadline:
                raise
            if not reported:
                say(f"{taken[0]}: trying again until it is free")
            reported = True
            time.sleep(POLL_SECONDS)


def _wait_for_locks(deadline: float) -> None:
    """Wait until all of apt's locks are free.

    Raises:
        SetupError: one of them is still held at the deadline.
    """
    reported = ""
    with progress("waiting for another program to install packages"):
        while conflict := _held_lock():
            if time.monotonic() > deadline:
                raise SetupError(
                    f"{conflict}, and has for {LOCK_SECONDS / 60:.0f} minutes. Wait for it to end, "
                    "or stop it, then run this again"
                )
            if conflict != reported:
                say(f"{conflict}: waiting for it to end")
                reported = conflict
            time.sleep(POLL_SECONDS)


def _held_lock() -> str | None:
    """Which process holds which of apt's locks; None if all are free."""
    for lock in LOCKS:
        if (process := _holder(lock)) is not None:
            return f"{_described(process)} holds {lock}"
    return None


def _holder(lock: Path) -> int | None:
    """The process that holds a lock; 0 for one that can't be seen from here."""
    try:
        descriptor = os.open(lock, os.O_RDONLY | os.O_CLOEXEC)  # also on a read-only file system
    except FileNotFoundError:
        return None
    try:
        query = struct.pack(FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        kind, _, _, _, process = struct.unpack(FLOCK, fcntl.fcntl(descriptor, fcntl.F_GETLK, query))
    finally:
        os.close(descriptor)
    return None if kind == fcntl.F_UNLCK else max(int(process), 0)


def _described(process: int) -> str:
    if not process:
        return "another program"
    try:
        command = Path(f"/proc/{process}/cmdline").read_text(errors="replace").replace("\0", " ")
    except OSError:
        return f"process {process}"
    return f"process {process} ({' '.join(command.split())[:80]})"
