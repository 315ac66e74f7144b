"""The process that the engine's plugin starts, and the one that does the work for it."""

import os
import signal
import subprocess
import sys
import time

import pytest

from host import entry_point

# Prints what it got, ends as its arguments say, and leaves a file at the end of its standard input.
WORKER = """
import sys
print("got", sys.stdin.readline().strip(), flush=True)
if sys.argv[1:] == ["wait"]:
    sys.stdin.read()
    open("interrupted", "w").close()
sys.exit(7)
"""
STARTER = "import sys; from ops.cluster.__main__ import start; sys.exit(start(sys.argv[1:]))"
SECONDS = 60


@pytest.fixture
def started(tmp_path):
    """Starts it as a plugin does, with pipes; it works in `tmp_path`."""
    processes = []

    def begin(*arguments):
        process = subprocess.Popen(
            [sys.executable, "-c", STARTER, sys.executable, "-c", WORKER, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        processes.append(process)
        process.stdin.write(b"a secret")
        process.stdin.close()
        assert process.stdout.readline() == b"got a secret\n"
        return process

    yield begin
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.wait()


def wait_for_interrupt(folder):
    deadline = time.monotonic() + SECONDS
    while not (folder / "interrupted").exists():
        assert time.monotonic() < deadline, "the work was not interrupted"
        time.sleep(0.05)


def test_it_ends_as_the_work_does(started):
    assert started().wait(SECONDS) == 7


def test_killed_it_interrupts_the_work(started, tmp_path):
    started("wait").send_signal(signal.SIGKILL)
    wait_for_interrupt(tmp_path)


def test_it_interrupts_the_work_when_no_one_reads_what_it_prints(started, tmp_path):
    """As with a plugin that died with its engine before it could kill this."""
    process = started("wait")
    process.stdout.close()
    assert process.wait(SECONDS) == entry_point.INTERRUPTED
    wait_for_interrupt(tmp_path)
