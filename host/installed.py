"""Stops with what to do where a command is run by a Python that has not what it needs."""

import importlib.util
import shlex
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from host.paths import ROOT

USUAL_STACK = "docker"  # as in the Makefile
# One name of what each line of requirements.txt installs.
NEEDED = (
    "pulumi",
    "pulumi_command",
    "pulumi_docker",
    "bcrypt",
    "cryptography",
    "docker",
    "httpx",
    "msgspec",
    "publicsuffixlist",
    "yaml",
    "tqdm",
    "zstandard",
)


def set_up_line(stack: str) -> str:
    """What sets a shell up for a stack, from the folder that it is in.

    Each kind of stack has a passphrase of its own.
    """
    there = "" if Path.cwd() == ROOT else f"-C {shlex.quote(str(ROOT))} "
    return f'eval "$(make -s {there}setup STACK={stack})"'


def require() -> None:
    """Stop the program unless everything is there."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        sys.exit(
            f"{sys.executable} lacks {', '.join(missing)}. The project's own Python has them: "
            f"{set_up_line(_stack(sys.argv))}, then talos-cache, or .work/venv/bin/python in place "
            "of this one"
        )


def _stack(argv: Sequence[str]) -> str:
    """The stack that a command is for: what a shell is set up with depends on it."""
    named = [value for option, value in pairwise(argv) if option == "--stack"]
    return next(iter(named), USUAL_STACK)
