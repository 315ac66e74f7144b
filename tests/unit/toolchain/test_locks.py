"""Only one run at a time holds a lock, whoever removes it meanwhile."""

import fcntl
import os
import subprocess
import sys
import threading
import time

import pytest

from host import locks


def test_two_checkouts_do_not_build_the_same_thing_at_once(tmp_path):
    script = (
        "import sys, time\nfrom pathlib import Path\nfrom host.locks import only_one\n"
        "with only_one(Path(sys.argv[1])):\n    print('in', flush=True)\n    time.sleep(30)\n"
    )
    lock = str(tmp_path / "lock")
    first = subprocess.Popen([sys.executable, "-c", script, lock], stdout=subprocess.PIPE)
    assert first.stdout.readline() == b"in\n"
    second = subprocess.Popen(
        [sys.executable, "-c", script, lock], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert lock in second.stderr.readline().decode()
    time.sleep(0.5)
    os.set_blocking(second.stdout.fileno(), False)
    assert not second.stdout.read(), "the second waits for the first"
    first.kill()
    os.set_blocking(second.stdout.fileno(), True)
    assert second.stdout.readline() == b"in\n"
    for process in (first, second):
        process.kill()
        process.communicate()


def test_a_run_that_waited_for_a_removed_lock_takes_the_new_one(tmp_path, monkeypatch):
    """Such as a set-up that waits for the end of a `make clean`."""
    lock = tmp_path / "work" / "lock"
    waits = threading.Event()
    monkeypatch.setattr(locks, "say", lambda _: waits.set())
    entered, leave = threading.Event(), threading.Event()

    def second():
        with locks.only_one(lock):
            entered.set()
            leave.wait(60)

    waiting = threading.Thread(target=second)
    with locks.only_one(lock):
        waiting.start()
        assert waits.wait(60)
        lock.unlink()
        lock.parent.rmdir()
    assert entered.wait(60)
    try:
        with lock.open("w") as third, pytest.raises(BlockingIOError):
            fcntl.flock(third, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        leave.set()
        waiting.join()
