"""The folder that state is kept in, where it is kept in files on this machine."""

import gzip
import json
import shlex
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import zstandard

from host.pulumi_backend import state_url
from ops import text_files
from ops.errors import OpsError
from ops.stack.stack_files import PROJECT

FILE_BACKEND = "file://"
# Beside each file the engine's storage library keeps its content type and MD5 in an attribute file.
# Only where the engine keeps state: in a home, its plugins lie in the same folder.
ATTRIBUTES = (
    "*.attrs",
    *(f"{kept}/**/*.attrs" for kept in ("stacks", "locks", "history", "backups")),
)
# End of a state file's name -> what gives its text; the engine can be told to compress them.
UNPACKED: dict[str, Callable[[bytes], bytes]] = {
    ".json": bytes,
    ".json.gz": gzip.decompress,
    ".json.zst": lambda packed: zstandard.ZstdDecompressor().decompressobj().decompress(packed),
}
DAMAGED = (ValueError, EOFError, RecursionError, zlib.error, gzip.BadGzipFile, zstandard.ZstdError)
NOT_THERE = (FileNotFoundError, NotADirectoryError)
# Where an engine since 3.61 has made the folder, or `pulumi state upgrade` has been run, this file
# says so. Anywhere else the stacks of all projects may lie together.
LAYOUT = "meta.yaml"
OLD_LAYOUT = b"version: 0"


def path() -> Path | None:
    """The engine's own folder in the chosen backend; None where that is no folder."""
    chosen = state_url()
    if not chosen.startswith(FILE_BACKEND):
        return None
    folder = chosen.removeprefix(FILE_BACKEND).split("?")[0]
    return text_files.path(unquote(folder)) / ".pulumi"


def mend() -> list[Path]:
    """Remove empty attribute files; returns them.

    State itself is replaced in one step, its attributes are not (gocloud.dev, blob/fileblob): a
    killed engine can leave them empty, and then refuses the stack with "failed to load checkpoint:
    EOF". It does well without the file, also where one is being written this very moment.
    """
    folder = path()
    if folder is None:
        return []
    torn = [file for where in ATTRIBUTES for file in folder.glob(where) if _is_empty(file)]
    for file in torn:
        file.unlink(missing_ok=True)
    return torn


def refuse_damaged(stack: str) -> None:
    """Stop where the stack's state can't be read: the engine says only that its JSON ends early.

    Raises:
        OpsError: says what can be put in its place.
    """
    own(stack)


def own(stack: str) -> dict[str, Any] | None:
    """The deployment of a stack of ours, as `deployment` gives it; None where there is no folder.

    Raises:
        OpsError: it can't be read; says what to do.
    """
    folder = path()
    try:
        return None if folder is None else deployment(folder, stack)
    except OSError as error:
        where = error.filename or folder
        raise OpsError(f"the stack's state in {where} can't be read: {error.strerror}") from error


def deployment(kept: Path, stack: str) -> dict[str, Any]:
    """The deployment in a stack's file; empty where there is no file, or nothing is in it.

    Args:
        kept: the engine's own folder, see `path`.
        stack: its name.

    Raises:
        OpsError: the file is damaged; says what can be put in its place.
        OSError: it can't be opened.
    """
    files = (folder / f"{stack}{end}" for folder in folders(kept) for end in UNPACKED)
    for file in files:
        try:
            packed = file.read_bytes()
        except NOT_THERE:
            continue
        return _deployment(file, packed)
    return {}


def stacks(kept: Path) -> list[str]:
    """Names of the stacks that have a file there.

    Raises:
        OSError: that can't be seen.
    """
    names = set()
    for folder in folders(kept):
        try:
            files = [file.name for file in folder.iterdir()]
        except NOT_THERE:
            continue
        names |= {
            name.removesuffix(end) for name in files for end in UNPACKED if name.endswith(end)
        }
    return sorted(names)


def folders(kept: Path) -> tuple[Path, ...]:
    """Where the files of this project's stacks may lie, the likelier folder first.

    Raises:
        OSError: that can't be seen.
    """
    by_project = kept / "stacks" / PROJECT
    return (by_project, by_project.parent) if is_old(kept) else (by_project,)


def is_old(kept: Path) -> bool:
    """Whether the engine may keep stacks there as it did before it knew of projects.

    Raises:
        OSError: that can't be seen.
    """
    try:
        return (kept / LAYOUT).read_bytes().strip() == OLD_LAYOUT
    except NOT_THERE:
        return True


def _deployment(file: Path, packed: bytes) -> dict[str, Any]:
    unpacked = next(UNPACKED[end] for end in UNPACKED if file.name.endswith(end))
    try:
        whole = json.loads(unpacked(packed))
        if whole is None:  # the engine takes it for a stack without anything
            return {}
        return dict((whole.get("checkpoint") or {}).get("latest") or {})
    except (*DAMAGED, AttributeError, TypeError) as error:
        raise OpsError(
            f"the stack's state is damaged: {file} is empty or cut off. The engine keeps the one "
            f"before it: cp {shlex.quote(f'{file}.bak')} {shlex.quote(str(file))}"
        ) from error


def _is_empty(file: Path) -> bool:
    try:
        return file.stat().st_size == 0
    except FileNotFoundError:  # the engine of another stack was quicker
        return False
