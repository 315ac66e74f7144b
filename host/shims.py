"""Finds the programs behind the shims of version managers.

A shim chooses a version by the current folder and HOME. A program that is run elsewhere, or that
needs the files next to it, must be the real one.
"""

import shutil
from pathlib import Path

from host.programs import output_of

# Their subcommand `which` prints the program behind a shim. A shim is a link to the manager (mise,
# aqua), or a script that names it (asdf).
MANAGERS = ("mise", "asdf", "aqua")
SHIM_BYTES = 4096


def which(name: str, path: str | None = None) -> str | None:
    """The program of this name on PATH, or on another path; the real one if that is a shim."""
    program = shutil.which(name, path=path)
    return (behind(program) or program) if program else None


def behind(shim: str) -> str | None:
    """The program that a shim would run here; None if it is not a shim, or can't tell."""
    target = Path(shim).resolve()
    for manager in MANAGERS:
        command = shutil.which(manager)
        if command and (target.name.startswith(manager) or manager in _script(target)):
            real = output_of([command, "which", Path(shim).name])
            return real if real and Path(real).is_file() else None
    return None


def _script(program: Path) -> str:
    try:
        with program.open("rb") as file:
            start = file.read(SHIM_BYTES)
    except OSError:
        return ""
    return start.decode(errors="replace") if start.startswith(b"#!") else ""
