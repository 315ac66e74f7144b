"""The folder that state is kept in, where it is kept in files on this machine."""

import json
import shlex
from pathlib import Path
from urllib.parse import unquote

from ops import text_files
from ops.errors import OpsError
from ops.stack_files import PROJECT
from toolchain.environment import state_url

FILE_BACKEND = "file://"
# Beside each file the engine's storage library keeps its content type and MD5 in an attribute file.
# Only where the engine keeps state: in a home, its plugins lie in the same folder.
ATTRIBUTES = (
    "*.attrs",
    *(f"{kept}/**/*.attrs" for kept in ("stacks", "locks", "history", "backups")),
)


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
    folder = path()
    file = folder / "stacks" / PROJECT / f"{stack}.json" if folder else None
    if file is None or not file.exists():
        return
    try:
        whole = isinstance(json.loads(file.read_bytes()), (dict, type(None)))
    except (ValueError, RecursionError):
        whole = False
    if not whole:
        raise OpsError(
            f"the stack's state is damaged: {file} is empty or cut off. The engine keeps the one "
            f"before it: cp {shlex.quote(f'{file}.bak')} {shlex.quote(str(file))}"
        )


def _is_empty(file: Path) -> bool:
    try:
        return file.stat().st_size == 0
    except FileNotFoundError:  # the engine of another stack was quicker
        return False
