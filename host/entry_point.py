"""The entry point of every command: an error that gets this far is one line, not a traceback.

An error that the commands expect is printed as it is. Any other is a bug in this project: its
traceback goes to a file that only the user can read, and the line says where.
"""

import contextlib
import os
import platform
import select
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TextIO

from host.errors import TalosCacheError
from host.paths import ROOT, WORK
from host.private_files import private_folder

FAILED = 1
# EX_SOFTWARE of sysexits.h: an internal error.
SOFTWARE_ERROR = 70
# As in a shell: 128 plus the number of the signal.
INTERRUPTED = 130
READER_GONE = 141
ERRORS = WORK / "errors"


def run(name: str, work: Callable[[], int], known: tuple[type[Exception], ...] = ()) -> int:
    """Run a command; returns its exit status.

    Args:
        name: prefix of its messages.
        work: the command.
        known: errors, besides TalosCacheError, whose text is for the user.
    """
    try:
        status = _status(name, work, known)
        _flush()
        return status
    except BrokenPipeError:  # the reader of its output has read enough: `| head`
        _let_go_of_output()
        return READER_GONE


def _status(name: str, work: Callable[[], int], known: tuple[type[Exception], ...]) -> int:
    for_the_user: tuple[type[Exception], ...] = (TalosCacheError, *known)
    try:
        with _flushed_at_an_exit():
            return work()
    except for_the_user as error:
        _tell(f"{name}: {error}")
        return FAILED
    except KeyboardInterrupt:
        _tell(f"{name}: interrupted")
        return INTERRUPTED
    except BrokenPipeError as error:
        if any(map(_has_no_reader, (sys.stdout, sys.stderr))):
            raise
        _tell(f"{name}: {told(error)}")
        return FAILED
    except Exception as error:
        _tell(f"{name}: {told(error)}")
        return FAILED if isinstance(error, OSError) else SOFTWARE_ERROR


def told(error: BaseException) -> str:
    """The message for an unexpected error; the traceback is saved to a file.

    The error's own text is left out: only what the system says about files and connections is known
    to contain no secrets.
    """
    log = _saved_traceback(error)
    if isinstance(error, OSError):
        file = f": {error.filename}" if error.filename else ""
        return f"{error.strerror or type(error).__name__}{file} ({log})"
    return (
        f"this is a bug in talos-cache, not a mistake of yours: {type(error).__name__} at "
        f"{_place(error)}. Please report it, and look through {log} before you attach it"
    )


def _saved_traceback(error: BaseException) -> str:
    """Save the traceback; returns the path."""
    lines = [
        f"{time.strftime('%Y-%m-%d %H:%M:%S')} {' '.join(sys.argv)}\n",
        f"Python {platform.python_version()}, {platform.platform()}\n",
        *traceback.format_exception(error),
    ]
    for folder in (_own_folder, _temporary_folder):
        with contextlib.suppress(OSError):
            prefix = time.strftime("%Y%m%d-%H%M%S-")
            handle, path = tempfile.mkstemp(suffix=".log", prefix=prefix, dir=folder())
            with os.fdopen(handle, "w", errors="backslashreplace") as file:
                file.writelines(lines)
            return path
    return "its traceback, which could not be written anywhere,"


def _own_folder() -> Path:
    # A command that runs as root must not leave files in a user's checkout that only root removes.
    if WORK.exists() and WORK.stat().st_uid != os.geteuid():
        raise PermissionError
    return private_folder(ERRORS)


def _temporary_folder() -> Path:
    return Path(tempfile.gettempdir())


def _place(error: BaseException) -> str:
    """The innermost line of this project that the error passed through."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if Path(frame.filename).is_relative_to(ROOT)]
    own = [frame for frame in own if not Path(frame.filename).is_relative_to(WORK)]
    if not own:
        return "no line of its code"
    return f"{Path(own[-1].filename).relative_to(ROOT)}:{own[-1].lineno}"


@contextlib.contextmanager
def _flushed_at_an_exit() -> Iterator[None]:
    """Flush what is printed before an exit, such as a help text, before the interpreter ends."""
    try:
        yield
    except SystemExit:
        _flush()
        raise


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:  # closed before this started: `>&-`
            stream.flush()


def _tell(text: str) -> None:
    if sys.stderr is not None:  # None: closed; a shell may evaluate standard output
        print(text, file=sys.stderr, flush=True)


def _has_no_reader(stream: TextIO | None) -> bool:
    """Whether it is a pipe whose other end is closed."""
    try:
        number = stream.fileno() if stream is not None else None
    except (OSError, ValueError):  # its replacement is not a file
        return False
    if number is None:
        return False
    poll = select.poll()
    poll.register(number, 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))


def _let_go_of_output() -> None:
    """Discard what is left to print, so that Python does not complain about it when it ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        if _has_no_reader(stream):
            os.dup2(nowhere, stream.fileno())
