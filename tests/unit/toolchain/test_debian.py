"""apt's locks, held by a real process as apt holds them; apt-get itself is a fake."""

import errno
import os
import subprocess
import sys
import threading
import time

import pytest

from host.errors import SetupError
from tests.fakes import apt_get
from toolchain import debian, steps

HOLDER = """
import fcntl, sys
with open(sys.argv[1], "w") as lock:
    fcntl.lockf(lock, fcntl.LOCK_EX)
    print("held", flush=True)
    sys.stdin.read()
"""
PATIENCE_SECONDS = 60


class Apt:
    """A machine whose apt-get is the fake."""

    def __init__(self, folder):
        self.locks = tuple(folder / name for name in ("lists", "archives", "frontend", "dpkg"))
        self.refuse = folder / "refuse"
        self._notes = folder / "notes"
        command = folder / "apt-get"
        argv = (sys.executable, apt_get.__file__, self.locks[0], self.refuse, self._notes)
        command.write_text(f'#!/bin/sh\nexec {" ".join(map(str, argv))} "$@"\n')
        command.chmod(0o755)

    @property
    def ran(self):
        return self._notes.read_text().splitlines() if self._notes.exists() else []


ALL_OF_IT = ["update noninteractive", "install noninteractive"]


@pytest.fixture
def apt(tmp_path, monkeypatch):
    made = Apt(tmp_path)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(steps, "LOGS", tmp_path / "logs")
    monkeypatch.setattr(debian, "LOCKS", made.locks)
    monkeypatch.setattr(debian, "POLL_SECONDS", 0.02)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return made


@pytest.fixture
def hold():
    """Returns a function that has another process hold a lock; closing its input ends it."""
    started = []

    def start(lock):
        argv = [sys.executable, "-c", HOLDER, str(lock)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        started.append(subprocess.Popen(argv, text=True, **pipes))
        assert started[-1].stdout.readline() == "held\n"
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def install():
    debian.install(("skopeo",), "skopeo is missing")


def test_free_locks_are_not_waited_for(apt, capsys):
    install()
    assert apt.ran == ALL_OF_IT
    assert capsys.readouterr().err == "skopeo is missing: installing skopeo\n"
    for lock in apt.locks:
        lock.touch()
    install()
    assert apt.ran == 2 * ALL_OF_IT


@pytest.mark.parametrize("number", range(4))
def test_it_waits_for_the_holder_of_a_lock_and_names_it(apt, hold, capsys, number):
    holder = hold(apt.locks[number])
    failures = []

    def run():
        try:
            install()
        except SetupError as error:
            failures.append(error)

    installing = threading.Thread(target=run)
    installing.start()
    printed, deadline = "", time.monotonic() + PATIENCE_SECONDS
    while "waiting for it to end" not in printed:
        assert time.monotonic() < deadline, printed
        time.sleep(0.01)
        printed += capsys.readouterr().err
    assert f"process {holder.pid} ({sys.executable} -c " in printed
    assert f" holds {apt.locks[number]}: " in printed
    assert apt.ran == []
    holder.communicate("")
    installing.join(PATIENCE_SECONDS)
    assert (installing.is_alive(), failures, apt.ran) == (False, [], ALL_OF_IT)


def test_it_does_not_wait_for_ever(apt, hold, monkeypatch):
    monkeypatch.setattr(debian, "LOCK_SECONDS", 0)
    holder = hold(apt.locks[2])
    with pytest.raises(SetupError, match=rf"process {holder.pid} \(.*\) holds .*/frontend, "):
        install()
    assert apt.ran == []


def test_a_lock_that_is_taken_at_the_last_moment_is_waited_for_too(apt, capsys):
    apt.refuse.write_text("3")
    install()
    assert apt.ran == ALL_OF_IT
    _, line = capsys.readouterr().err.splitlines()  # once, however often it is refused
    assert f"Could not get lock {apt.locks[0]}. It is held by process 1 (apt-get)" in line


READ_ONLY = """\
E: Could not open lock file /var/lib/apt/lists/lock - open (30: Read-only file system)
E: Unable to lock directory /var/lib/apt/lists/
E: Unable to acquire the dpkg frontend lock (/var/lib/dpkg/lock-frontend), are you root?
"""


def test_a_read_only_file_system_is_not_waited_for(apt, monkeypatch):
    monkeypatch.setattr(debian.time, "sleep", pytest.fail)
    command = apt.locks[0].parent / "apt-get"
    command.write_text(f"#!/bin/sh\ncat <<'END'\n{READ_ONLY}END\nexit 100\n")
    with pytest.raises(steps.StepFailedError, match="Read-only file system"):
        install()


def test_locks_on_a_read_only_file_system_can_be_read(apt, monkeypatch):
    def read_only(path, flags):
        if flags & (os.O_WRONLY | os.O_RDWR):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), path)
        return plain(path, flags)

    plain = os.open
    apt.locks[0].touch()
    monkeypatch.setattr(debian.os, "open", read_only)
    assert debian._held_lock() is None


def test_any_other_failure_is_reported(apt):
    (apt.locks[0].parent / "apt-get").write_text("#!/bin/sh\necho E: no such package; exit 100\n")
    with pytest.raises(steps.StepFailedError, match="no such package"):
        install()
