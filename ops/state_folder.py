"""The folder that state is kept in, where it is kept in files on this machine."""

from pathlib import Path

from toolchain.environment import backend

FILE_BACKEND = "file://"
# Beside each file the engine's storage library keeps its content type and MD5 in one of these.
ATTRIBUTES = "*.attrs"


def path() -> Path | None:
    """The engine's own folder in the chosen backend; None where that is no folder."""
    chosen = backend()
    if not chosen.startswith(FILE_BACKEND):
        return None
    folder = chosen.removeprefix(FILE_BACKEND).split("?")[0]
    return Path(folder).expanduser() / ".pulumi"


def mend() -> list[Path]:
    """Remove empty attribute files; returns them.

    State itself is replaced in one step, its attributes are not (gocloud.dev, blob/fileblob): a
    killed engine can leave them empty, and then refuses the stack with "failed to load checkpoint:
    EOF". It does well without the file, also where one is being written this very moment.
    """
    folder = path()
    torn = [] if folder is None else [p for p in folder.rglob(ATTRIBUTES) if _is_empty(p)]
    for file in torn:
        file.unlink(missing_ok=True)
    return torn


def _is_empty(file: Path) -> bool:
    try:
        return file.stat().st_size == 0
    except FileNotFoundError:  # the engine of another stack was quicker
        return False
