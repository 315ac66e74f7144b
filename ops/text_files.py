"""Text that people have written and this program reads: lists of images, patches, certificates.

Most of it is UTF-8. Notepad puts a mark before it, and what PowerShell writes with `>` is UTF-16
with one. None of that is the user's concern.
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
    """The path that somebody has written; `~` and `~name` stand for home folders.

    Raises:
        OpsError: there is no such user.
    """
    try:
        return Path(written).expanduser()
    except RuntimeError as error:
        raise OpsError(f"there is no home folder for {written.split('/')[0]}") from error


def read(file: Path, *, errors: str = "strict") -> str:
    """What a file holds.

    Args:
        file: to read.
        errors: what becomes of bytes that are no text; see `bytes.decode`.

    Raises:
        OpsError: it can't be read, or is no text; says why, but not which file.
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
        OpsError: it is closed, or holds no text.
    """
    if sys.stdin is None:
        raise OpsError("it is closed")
    return decoded(sys.stdin.buffer.read())


def decoded(content: bytes, errors: str = "strict") -> str:
    """The text in these bytes.

    Raises:
        OpsError: they are none.
    """
    encoding = next((_MARKS[mark] for mark in _MARKS if content.startswith(mark)), "utf-8")
    try:
        text = content.decode(encoding, errors)
    except UnicodeDecodeError as error:
        raise OpsError(f"it is no text ({error}); save it as UTF-8") from error
    if "\0" in text and errors == "strict":
        raise OpsError("it holds NUL characters, as no text does; save it as UTF-8")
    return text.replace("\r\n", "\n")
