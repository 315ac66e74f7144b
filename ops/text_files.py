"""Text files that users write: lists of images, patches, certificates.

Most are UTF-8. Notepad adds a byte order mark, and PowerShell's `>` writes UTF-16 with one. Users
do not have to care.
"""

import codecs
import sys
from pathlib import Path

from ops.errors import OpsError

_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


def path(written: str) -> Path:
    """A path as the user wrote it, with `~` and `~name` expanded.

    Raises:
        OpsError: there is no such user.
    """
    try:
        return Path(written).expanduser()
    except RuntimeError as error:
        raise OpsError(f"there is no home folder for {written.split('/')[0]}") from error


def read(file: Path, *, errors: str = "strict") -> str:
    """The text of a file.

    Args:
        file: to read.
        errors: how to treat bytes that are not text; see `bytes.decode`.

    Raises:
        OpsError: it can't be read, or is not text; says why, but not which file.
    """
    try:
        content = file.read_bytes()
    except OSError as error:
        raise OpsError(error.strerror or str(error)) from error
    except ValueError as error:  # a NUL in its name
        raise OpsError(f"there is no such file ({error})") from error
    return decoded(content, errors)


def standard_input() -> str:
    """All of standard input.

    Raises:
        OpsError: it is closed, or is not text.
    """
    if sys.stdin is None:
        raise OpsError("it is closed")
    return decoded(sys.stdin.buffer.read())


def decoded(content: bytes, errors: str = "strict") -> str:
    """The text in these bytes.

    Raises:
        OpsError: they are not text.
    """
    encoding = next((_MARKS[mark] for mark in _MARKS if content.startswith(mark)), "utf-8")
    try:
        text = content.decode(encoding, errors)
    except UnicodeDecodeError as error:
        raise OpsError(f"it is not text ({error}); save it as UTF-8") from error
    if "\0" in text and errors == "strict":
        raise OpsError("it is not text (it contains NUL characters); save it as UTF-8")
    return text.replace("\r\n", "\n")
