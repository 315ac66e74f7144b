"""Fakes of programs: shell scripts in a folder that a test puts on PATH."""

from pathlib import Path


def program(folder: Path, name: str, script: str) -> Path:
    """Write one, which anybody may run; returns its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path
