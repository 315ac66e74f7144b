"""Sees through the shims of version managers, which look around to know which version is meant.

They go by the current folder and by HOME. What is run elsewhere, or has its parts beside itself,
has to be the real program.
"""

import shutil
from pathlib import Path

from host.programs import output_of

# These tell by `which` what one of their shims stands for. A shim is a link to the manager (mise,
# aqua), or a script that names it (asdf).
MANAGERS = ("mise", "asdf", "aqua")
SHIM_BYTES = 4096


def which(name: str, path: str | None = None) -> str | None:
    """The program of this name on PATH, or on another path; the real one where it is a shim."""
    found = shutil.which(name, path=path)
    return (behind(found) or found) if found else None


def behind(shim: str) -> str | None:
    """The program that a shim would run here; None if it is not a shim, or if that is not known."""
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
