"""A fake apt-get: `update` and `install` need one lock, as the real ones do, and are recorded.

Its refusal is that of apt 2.6.
"""

import fcntl
import os
import sys
from pathlib import Path

REFUSAL = """\
E: Could not get lock {lock}. It is held by process 1 (apt-get)
E: Unable to lock directory {folder}/
"""


def main(lock: Path, refuse: Path, notes: Path, arguments: list[str]) -> int:
    """Take the lock and record the command; refuse if it is taken, or if the test says so."""
    command = next(word for word in arguments if not word.startswith("-"))
    if command not in ("update", "install"):
        sys.exit(f"the fake apt-get does not implement: {command}")
    refusal = REFUSAL.format(lock=lock, folder=lock.parent)
    if left := int(refuse.read_text()) if refuse.exists() else 0:
        refuse.write_text(str(left - 1))
        print(refusal)
        return 100
    with lock.open("w") as handle:
        try:
            fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            print(refusal)
            return 100
        with notes.open("a") as noted:
            print(command, os.environ["DEBIAN_FRONTEND"], file=noted)
    return 0


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:4]), sys.argv[4:]))
