"""Programs in `.work/bin` that run this checkout's code with its own Python, from any folder."""

import shlex
from pathlib import Path

from host.paths import BIN, ROOT, VENV
from toolchain.files import write_if_different

COMMAND = "talos-cache"


def ensure_command(folder: Path = BIN) -> None:
    """Put the program `talos-cache` into the folder that `make setup` adds to PATH."""
    folder.mkdir(parents=True, exist_ok=True)
    program = "import sys; from ops.__main__ import program; sys.exit(program())"
    write(folder / COMMAND, text(program, "Runs talos-cache; made by make setup."))


def write(launcher: Path, content: str) -> None:
    """Have an executable file with this content."""
    write_if_different(launcher, content, 0o755)


def text(
    program: str, comment: str, root: Path = ROOT, python: Path = VENV / "bin" / "python"
) -> str:
    """A shell script that runs a Python program with the checkout first on its module path.

    The kernel reads no more than a line of 255 bytes without blanks from a script (on some systems
    127), and a folder's name may be longer, or have blanks: so it is the shell that starts Python.

    Python is isolated (`-I`): modules in the folder that the script is run in are not imported, and
    PYTHONPATH does not count.

    Args:
        program: Python code, in one line; `sys.argv` holds what follows the script's name.
        comment: what the script is, in one line.
        root: folder of the checkout.
        python: interpreter to run it with.
    """
    code = f"import sys; sys.path.insert(0, sys.argv.pop(1)); {program}"
    words = [str(python), "-I", "-c", code, str(root)]
    return f'#!/bin/sh\n# {comment}\nexec {shlex.join(words)} "$@"\n'
