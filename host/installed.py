"""Refuses a Python that lacks the project's packages, and says which one to use."""

import importlib.util
import shlex
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from host.paths import ROOT

USUAL_STACK = "docker"  # as in the Makefile
# One package for each line of requirements.txt.
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
    """The line that sets up a shell, in its current folder, for a stack.

    Each kind of stack has a passphrase of its own.
    """
    there = "" if Path.cwd() == ROOT else f"-C {shlex.quote(str(ROOT))} "
    return f'eval "$(make -s {there}setup STACK={stack})"'


def require() -> None:
    """Exit unless all packages are installed."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        sys.exit(
            f"{sys.executable} does not have {', '.join(missing)}. The project's own Python does: "
            f"{set_up_line(_stack(sys.argv))}, then talos-cache, or .work/venv/bin/python instead "
            "of this one"
        )


def _stack(argv: Sequence[str]) -> str:
    """The stack that a command is for; it decides how the shell is set up."""
    named = [value for option, value in pairwise(argv) if option == "--stack"]
    return next(iter(named), USUAL_STACK)
