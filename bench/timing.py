"""What every measurement needs: to run a command, to time it, and to compare two."""

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from host.paths import ROOT

RUNS = 5


@dataclass(frozen=True)
class Ratio:
    """One row of the table; times in seconds."""

    name: str
    ours: list[float]
    theirs: list[float]

    @property
    def ratios(self) -> list[float]:
        """Ours to theirs, pair by pair."""
        return [a / b for a, b in zip(self.ours, self.theirs, strict=True)]


def timed(action: Callable[[], object]) -> float:
    """Seconds that this takes."""
    started = time.monotonic()
    action()
    return time.monotonic() - started


def ops(command: str, stack: str, *arguments: str) -> None:
    """Run a command of this project."""
    run_program([sys.executable, "-m", "ops", command, "--stack", stack, *arguments])


def timed_ops(command: str, stack: str, *arguments: str) -> float:
    """Seconds that a command of this project takes."""
    return timed(lambda: ops(command, stack, *arguments))


def run_program(argv: Sequence[str], cwd: Path = ROOT) -> None:
    """Run a program; end the bench if it fails."""
    done = subprocess.run(argv, cwd=cwd, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        raise SystemExit(f"bench: {' '.join(argv)}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
