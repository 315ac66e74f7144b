"""Debian packages, installed only as root and only where something is missing.

Another apt-get may be at work: a new cloud machine runs one in its first minutes. apt itself waits
for dpkg's lock only (`DPkg::Lock::Timeout`), and on old releases for none, so the wait is ours.
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

# All that `apt-get update` and `apt-get install` lock, as fcntl has it.
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
# What apt says to a lock that somebody took between our look and its own. That it "Could not open
# lock file" is another thing, which no wait ends: the file system may be read-only.
REFUSED = re.compile(r"Could not get lock .*")
# struct flock: type, whence, start, length, process.
FLOCK = "hhqqi"


def install(packages: tuple[str, ...], why: str) -> None:
    """Install packages with apt-get, when nobody else is at it.

    Raises:
        SetupError: not root, or no apt-get; says what to install by hand. Or another holds one of
            apt's locks for too long; says who.
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
    told = False
    while True:
        _wait_for_locks(deadline)
        try:
            return run(doing, ["apt-get", "-y", "-q", *arguments], env=env)
        except StepFailedError as failure:
            refused = REFUSED.search(str(failure))
            if not refused or time.monotonic() > deadline:
                raise
            if not told:
                say(f"{refused[0]}: trying again until that ends")
            told = True
            time.sleep(POLL_SECONDS)


def _wait_for_locks(deadline: float) -> None:
    """Wait until nobody holds any of apt's locks.

    Raises:
        SetupError: somebody does until the deadline.
    """
    told = ""
    with progress("waiting for another program to install packages"):
        while held := _held():
            if time.monotonic() > deadline:
                raise SetupError(
                    f"{held}, and has for {LOCK_SECONDS / 60:.0f} minutes. Let it end, or end it, "
                    "then run this again"
                )
            if held != told:
                say(f"{held}: waiting for it to end")
                told = held
            time.sleep(POLL_SECONDS)


def _held() -> str | None:
    """Who holds which of apt's locks, None if nobody holds any."""
    for lock in LOCKS:
        if (process := _holder(lock)) is not None:
            return f"{_described(process)} holds {lock}"
    return None


def _holder(lock: Path) -> int | None:
    """The process that holds a lock; 0 for one that can't be seen from here."""
    try:
        descriptor = os.open(lock, os.O_RDONLY | os.O_CLOEXEC)  # also where nothing can be written
    except FileNotFoundError:
        return None
    try:
        asked = struct.pack(FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        kind, _, _, _, process = struct.unpack(FLOCK, fcntl.fcntl(descriptor, fcntl.F_GETLK, asked))
    finally:
        os.close(descriptor)
    return None if kind == fcntl.F_UNLCK else max(int(process), 0)


def _described(process: int) -> str:
    if not process:
        return "another program"
    try:
        words = Path(f"/proc/{process}/cmdline").read_text(errors="replace").replace("\0", " ")
    except OSError:
        return f"process {process}"
    return f"process {process} ({' '.join(words.split())[:80]})"
