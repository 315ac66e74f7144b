"""The folder that state is kept in, if it is kept in files on this machine."""

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
# Only in the folders of state: in PULUMI_HOME, plugins are in the same folder.
ATTRIBUTES = (
    "*.attrs",
    *(f"{kept}/**/*.attrs" for kept in ("stacks", "locks", "history", "backups")),
)
# Suffix of a state file -> what returns its text; the engine can be told to compress them.
UNPACKED: dict[str, Callable[[bytes], bytes]] = {
    ".json": bytes,
    ".json.gz": gzip.decompress,
    ".json.zst": lambda packed: zstandard.ZstdDecompressor().decompressobj().decompress(packed),
}
DAMAGED = (ValueError, EOFError, RecursionError, zlib.error, gzip.BadGzipFile, zstandard.ZstdError)
NOT_THERE = (FileNotFoundError, NotADirectoryError)
# This file says that the folder was made by an engine since 3.61, or that `pulumi state upgrade`
# was run. In other folders the stacks of all projects may be together.
LAYOUT = "meta.yaml"
OLD_LAYOUT = b"version: 0"


def path() -> Path | None:
    """The engine's own folder in the chosen backend; None if that is not a folder."""
    url = state_url()
    if not url.startswith(FILE_BACKEND):
        return None
    folder = url.removeprefix(FILE_BACKEND).split("?")[0]
    return text_files.path(unquote(folder)) / ".pulumi"


def repair() -> list[Path]:
    """Remove empty attribute files; returns them.

    State itself is replaced in one step, its attributes are not (gocloud.dev, blob/fileblob): a
    killed engine can leave them empty, and then refuses the stack with "failed to load checkpoint:
    EOF". It does not need the file, not even one that is just being written.
    """
    folder = path()
    if folder is None:
        return []
    empty = [file for pattern in ATTRIBUTES for file in folder.glob(pattern) if _is_empty(file)]
    for file in empty:
        file.unlink(missing_ok=True)
    return empty


def refuse_damaged(stack: str) -> None:
    """Stop if the stack's state can't be read: the engine says only that its JSON ends early.

    Raises:
        OpsError: says how to restore it.
    """
    own(stack)


def own(stack: str) -> dict[str, Any] | None:
    """The deployment of one of our stacks, see `deployment`; None if state is not in a folder.

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
    """The deployment in a stack's file; empty if there is no file, or nothing is in it.

    Args:
        kept: the engine's own folder, see `path`.
        stack: its name.

    Raises:
        OpsError: the file is damaged; says how to restore it.
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
        OSError: the folder can't be read.
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
    """Where the files of this project's stacks may be, the likelier folder first.

    Raises:
        OSError: the folder can't be read.
    """
    by_project = kept / "stacks" / PROJECT
    return (by_project, by_project.parent) if is_old(kept) else (by_project,)


def is_old(kept: Path) -> bool:
    """Whether the engine may keep stacks there as it did before it had projects.

    Raises:
        OSError: the folder can't be read.
    """
    try:
        return (kept / LAYOUT).read_bytes().strip() == OLD_LAYOUT
    except NOT_THERE:
        return True


def _deployment(file: Path, packed: bytes) -> dict[str, Any]:
    unpacked = next(UNPACKED[end] for end in UNPACKED if file.name.endswith(end))
    try:
        whole = json.loads(unpacked(packed))
        if whole is None:  # for the engine, an empty stack
            return {}
        return dict((whole.get("checkpoint") or {}).get("latest") or {})
    except (*DAMAGED, AttributeError, TypeError) as error:
        raise OpsError(
            f"the stack's state is damaged: {file} is empty or truncated. Restore the engine's "
            f"backup: cp {shlex.quote(f'{file}.bak')} {shlex.quote(str(file))}"
        ) from error


def _is_empty(file: Path) -> bool:
    try:
        return file.stat().st_size == 0
    except FileNotFoundError:  # another stack's engine has just removed it
        return False
