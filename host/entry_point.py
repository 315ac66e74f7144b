"""The edge of every command: what gets this far is told in a line, never as a traceback.

An error that the commands know is told as it is. What they do not know is a mistake of this
project's own: its traceback goes into a file that only its user can read, and the line says where.
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
# As sysexits.h has it: an error of the program itself.
SOFTWARE_ERROR = 70
# As a shell has them: 128 and the number of the signal.
INTERRUPTED = 130
READER_GONE = 141
ERRORS = WORK / "errors"


def run(name: str, work: Callable[[], int], known: tuple[type[Exception], ...] = ()) -> int:
    """Run a command; returns its exit status.

    Args:
        name: what its messages begin with.
        work: the command.
        known: further errors whose text is for the user, beside TalosCacheError.
    """
    try:
        status = _status(name, work, known)
        _flush()
        return status
    except BrokenPipeError:  # what it prints goes to somebody who has read enough: `| head`
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
    """What a user reads of an error that nobody expected; the traceback is kept in a file.

    The error's own text is left out: only what the system says of a file or a connection is known
    to hold no secret.
    """
    kept = _kept(error)
    if isinstance(error, OSError):
        file = f": {error.filename}" if error.filename else ""
        return f"{error.strerror or type(error).__name__}{file} ({kept})"
    return (
        f"this is a mistake in talos-cache, not in what you did: {type(error).__name__} at "
        f"{_place(error)}. Please report it, and look through {kept} before you attach that"
    )


def _kept(error: BaseException) -> str:
    """Where the traceback is."""
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
    # A part that runs as root leaves nothing in a user's checkout that only root can remove.
    if WORK.exists() and WORK.stat().st_uid != os.geteuid():
        raise PermissionError
    return private_folder(ERRORS)


def _temporary_folder() -> Path:
    return Path(tempfile.gettempdir())


def _place(error: BaseException) -> str:
    """The innermost line of this project's own that the error went through."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if Path(frame.filename).is_relative_to(ROOT)]
    own = [frame for frame in own if not Path(frame.filename).is_relative_to(WORK)]
    if not own:
        return "no line of its own"
    return f"{Path(own[-1].filename).relative_to(ROOT)}:{own[-1].lineno}"


@contextlib.contextmanager
def _flushed_at_an_exit() -> Iterator[None]:
    """What is printed before an exit, such as a help text, is out before the interpreter ends."""
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
    if sys.stderr is not None:  # closed; standard output may be evaluated by a shell
        print(text, file=sys.stderr, flush=True)


def _has_no_reader(stream: TextIO | None) -> bool:
    """Whether it is a pipe whose other end is closed."""
    try:
        number = stream.fileno() if stream is not None else None
    except (OSError, ValueError):  # what has been put in its place is no file
        return False
    if number is None:
        return False
    poll = select.poll()
    poll.register(number, 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))


def _let_go_of_output() -> None:
    """What is left to print can't go anywhere, and must not be told of when Python ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        if _has_no_reader(stream):
            os.dup2(nowhere, stream.fileno())
