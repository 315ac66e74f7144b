"""`python -m ops.cluster create | update | delete`: starts the real work out of the engine's reach.

The engine ends a cancelled command with SIGKILL, which leaves no time to clean up. So a second
process in its own session does the work, at the other end of a pipe: when this process dies, the
pipe closes, and the other one stops what it is doing and removes what it has made.

If the engine itself is killed, its command plugin kills this process too, or dies before it can
(seen with the official one, 1.2.1). Then no one reads what this process prints, and it ends too.
"""

import select
import subprocess
import sys
from collections.abc import Sequence

from host import entry_point
from ops.cluster.command import COMMANDS, main

WORK = "--work"
POLL_MILLISECONDS = 200
# What poll reports for a pipe whose reader is gone.
GONE = select.POLLERR | select.POLLHUP


def start(argv: Sequence[str]) -> int:
    """Run the work in its own session and wait for it; returns its exit status.

    Args:
        argv: of the process that does the work. It reads one line, which is what this process was
            given, and then end of file once no one waits for it any more.
    """
    secrets = sys.stdin.buffer.read().strip()
    worker = subprocess.Popen(argv, stdin=subprocess.PIPE, start_new_session=True)
    assert worker.stdin is not None  # noqa: S101 - it is a pipe
    worker.stdin.write(secrets + b"\n")
    worker.stdin.flush()  # and left open: it closes when this process ends, however it ends
    reader = select.poll()
    reader.register(sys.stdout, 0)  # no events wanted: GONE is always reported
    while (status := worker.poll()) is None:
        if any(events & GONE for _, events in reader.poll(POLL_MILLISECONDS)):
            return entry_point.INTERRUPTED
    return status


if __name__ == "__main__":
    match sys.argv[1:]:
        case [command] if command in COMMANDS:
            work = (sys.executable, "-m", "ops.cluster", WORK, command)
            sys.exit(entry_point.run(command, lambda: start(work)))
        case [flag, command] if flag == WORK and command in COMMANDS:
            sys.exit(entry_point.run(command, lambda: main(command)))
        case _:
            sys.exit(f"usage: python -m ops.cluster {' | '.join(COMMANDS)}")
