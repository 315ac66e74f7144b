"""Writes files whole or not at all, even if two runs write the same file at once."""

import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from host.private_files import written


def write_if_different(path: Path, text: str, mode: int = 0o644) -> None:
    """Write a file, unless it has this content and mode already: others may be reading it."""
    with suppress(FileNotFoundError, UnicodeDecodeError):
        if path.read_text() == text and path.stat().st_mode & 0o777 == mode:
            return
    _put(path, lambda temporary: written(temporary, text, mode))


def link_if_different(link: Path, target: Path) -> None:
    """Make a symbolic link, unless it has this target already."""
    if link.is_symlink() and link.readlink() == target:
        return
    _put(link, lambda temporary: temporary.symlink_to(target))


def _put(path: Path, make: Callable[[Path], object]) -> None:
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        temporary = Path(folder) / path.name
        make(temporary)
        temporary.replace(path)
