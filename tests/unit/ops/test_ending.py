"""How the program ends: in a process of its own, as a language host starts it."""

import signal
import subprocess
import sys

import pytest

from ops.ending import TOLD

# Waits as the program does while the engine works: in its event loop, with threads that answer.
WAITING = """
import asyncio, threading
from concurrent.futures import ThreadPoolExecutor
from ops.ending import in_words

with in_words():
    ThreadPoolExecutor().submit(threading.Event().wait)
    print("waiting", flush=True)
    {after}asyncio.new_event_loop().run_forever()
"""


def interrupted(program):
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout.readline() == "waiting\n"
        process.send_signal(signal.SIGINT)
        said, errors = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    return process.returncode, said + errors


@pytest.mark.parametrize(
    "after", ["", "pass\nif True:\n    "], ids=["declaring", "after everything was declared"]
)
def test_an_interrupt_ends_it_at_once_and_silently(after):
    assert interrupted(WAITING.format(after=after)) == (TOLD, "")
