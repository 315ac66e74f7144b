"""Writes files whole or not at all, also where two runs write the same one at once."""

import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from host.private_files import written


def write_if_different(path: Path, text: str, mode: int = 0o644) -> None:
    """Have a file with this content and mode: one that others may be reading is not touched."""
    with suppress(FileNotFoundError, UnicodeDecodeError):
        if path.read_text() == text and path.stat().st_mode & 0o777 == mode:
            return
    _put(path, lambda temporary: written(temporary, text, mode))


def link_if_different(link: Path, target: Path) -> None:
    """Have a symbolic link to this target."""
    if link.is_symlink() and link.readlink() == target:
        return
    _put(link, lambda temporary: temporary.symlink_to(target))


def _put(path: Path, make: Callable[[Path], object]) -> None:
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        made = Path(folder) / path.name
        make(made)
        made.replace(path)
