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
    """Write an executable file with this content."""
    write_if_different(launcher, content, 0o755)


def text(
    program: str, comment: str, root: Path = ROOT, python: Path = VENV / "bin" / "python"
) -> str:
    """A shell script that runs a Python program with the checkout first on its module path.

    The kernel reads at most 255 bytes of a script's first line (on some systems 127) and allows no
    blank in the interpreter's path. A folder's name may be longer, or have blanks: so the shell
    starts Python.

    Python is isolated (`-I`): modules in the folder that the script is run in are not imported, and
    PYTHONPATH is ignored.

    Args:
        program: Python code, in one line; `sys.argv` has what follows the script's name.
        comment: what the script is, in one line.
        root: folder of the checkout.
        python: interpreter to run it with.
    """
    code = f"import sys; sys.path.insert(0, sys.argv.pop(1)); {program}"
    argv = [str(python), "-I", "-c", code, str(root)]
    return f'#!/bin/sh\n# {comment}\nexec {shlex.join(argv)} "$@"\n'
