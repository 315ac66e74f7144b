"""`python -m ops.cluster create | update | delete`: starts the real work out of the engine's reach.

The engine ends a cancelled command with SIGKILL, which leaves no time to tidy up. So the work is
done by a second process in a session of its own, at the other end of a pipe: when this process
dies, the pipe closes, and the other one stops what it does and removes what it has made.

Where the engine itself is killed, its command plugin kills this process too, or dies before it can
(seen of the official one, 1.2.1). Then nobody reads what this process prints, and it ends too.
"""

import select
import subprocess
import sys
from collections.abc import Sequence

from host import entry_point
from ops.cluster.command import COMMANDS, main

WORK = "--work"
LOOK_MILLISECONDS = 200
# What a system tells of a pipe that nobody reads.
GONE = select.POLLERR | select.POLLHUP


def start(argv: Sequence[str]) -> int:
    """Run the work in its own session and wait for it; returns its exit status.

    Args:
        argv: of the process that does the work; the first line that it reads is what this one got,
            and the end of that is the end of all waiting.
    """
    secrets = sys.stdin.buffer.read().strip()
    worker = subprocess.Popen(argv, stdin=subprocess.PIPE, start_new_session=True)
    assert worker.stdin is not None  # noqa: S101 - asked for above
    worker.stdin.write(secrets + b"\n")
    worker.stdin.flush()  # and left open: it closes when this process ends, however it ends
    reader = select.poll()
    reader.register(sys.stdout, 0)  # what is told without being asked for: that it is gone
    while (status := worker.poll()) is None:
        if any(told & GONE for _, told in reader.poll(LOOK_MILLISECONDS)):
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
