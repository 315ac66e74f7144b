"""The project's own virtual environment, brought up to date when a requirement changes."""

import hashlib
import shutil
import sys
from pathlib import Path

from host.console import say
from host.paths import ROOT, VENV
from toolchain.steps import run

STAMP = ".talos-cache-stamp"


def ensure(*, dev: bool) -> Path:
    """Make sure that the packages are there; returns the environment's interpreter.

    Args:
        dev: whether to install the tools for working on the project too.
    """
    python = VENV / "bin" / "python"
    files = ["requirements.txt", "requirements-dev.txt"] if dev else ["requirements.txt"]
    if _satisfied(files):
        return python
    say(f"setting up the Python environment from {' and '.join(files)}")
    if not python.exists() or _stamp("python") != sys.version:
        shutil.rmtree(VENV, ignore_errors=True)
        run("making the virtual environment", [sys.executable, "-m", "venv", VENV])
    requirements = [part for name in files for part in ("-r", str(ROOT / name))]
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "--no-input", "install", "-q"]
    run("installing the Python packages", [*pip, *requirements])
    for name in files:
        _stamp_file(name).write_text(_digest(name))
    _stamp_file("python").write_text(sys.version)
    return python


def _satisfied(files: list[str]) -> bool:
    return _stamp("python") == sys.version and all(_stamp(name) == _digest(name) for name in files)


def _stamp_file(name: str) -> Path:
    return VENV / f"{STAMP}-{name}"


def _stamp(name: str) -> str:
    return _stamp_file(name).read_text() if _stamp_file(name).exists() else ""


def _digest(name: str) -> str:
    return hashlib.sha256((ROOT / name).read_bytes()).hexdigest()
