"""`python -m ops.cluster create | update | delete`: starts the real work out of the engine's reach.

The engine ends a cancelled command with SIGKILL, which leaves no time to tidy up. So the work is
done by a second process in a session of its own, at the other end of a pipe: when this process
dies, the pipe closes, and the other one stops what it does and removes what it has made.
"""

import subprocess
import sys

from ops.cluster.work import COMMANDS, main
from toolchain import edge

WORK = "--work"


def start(command: str) -> int:
    """Run the work in its own session and wait for it; returns its exit status."""
    secrets = sys.stdin.buffer.read().strip()
    worker = subprocess.Popen(
        [sys.executable, "-m", "ops.cluster", WORK, command],
        stdin=subprocess.PIPE,
        start_new_session=True,
    )
    assert worker.stdin is not None  # noqa: S101 - asked for above
    worker.stdin.write(secrets + b"\n")
    worker.stdin.flush()  # and left open: it closes when this process ends, however it ends
    return worker.wait()


if __name__ == "__main__":
    match sys.argv[1:]:
        case [command] if command in COMMANDS:
            sys.exit(edge.run(command, lambda: start(command)))
        case [flag, command] if flag == WORK and command in COMMANDS:
            sys.exit(edge.run(command, lambda: main(command)))
        case _:
            sys.exit(f"usage: python -m ops.cluster {' | '.join(COMMANDS)}")
