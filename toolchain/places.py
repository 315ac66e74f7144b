"""Checks, before any work, that every place a set-up writes to is writable."""

import os
import pwd
import tempfile
from collections.abc import Iterator
from pathlib import Path

from host.console import say
from host.errors import SetupError
from host.paths import ROOT, WORK, pulumi_home, user_cache, user_state


def check() -> dict[str, str]:
    """Make sure of a home folder and writable places; returns variables that had to be set.

    Raises:
        SetupError: with every place that is not writable, why, and what to do.
    """
    variables = _home()
    os.environ.update(variables)
    if problems := list(_problems()):
        raise SetupError("\n".join(["nothing was done:", *problems]))
    return variables


def _home() -> dict[str, str]:
    """If HOME is not set, as in a job without a login, the home folder of the user's account."""
    home = os.environ.get("HOME", "")
    if home:
        if not Path(home).is_absolute():
            raise SetupError(f"HOME is '{home}': it must be the absolute path of your home folder")
        return {}
    try:
        home = pwd.getpwuid(os.geteuid()).pw_dir
    except KeyError:
        home = ""
    if not Path(home).is_absolute() or not Path(home).is_dir():
        raise SetupError(
            "HOME is not set, and the system has no home folder for user "
            f"{os.geteuid()}: set HOME to a folder that this user can write to"
        )
    say(f"HOME is not set: using {home}, the home folder of your account")
    return {"HOME": home}


def _problems() -> Iterator[str]:
    places = {
        "this checkout": (WORK, f"clone it where you can write, or make yourself owner of {ROOT}"),
        "the tool cache": (user_cache(), "set XDG_CACHE_HOME or HOME to a writable folder"),
        "the private folder": (user_state(), "set XDG_STATE_HOME or HOME to a writable folder"),
        "Pulumi's folder": (pulumi_home(), "set PULUMI_HOME or HOME to a writable folder"),
    }
    for name, (path, fix) in places.items():
        if not path.is_absolute():
            yield f"  {name} is '{path}', which is not an absolute path: {fix}"
        elif why := _why_not(path):
            yield f"  {name} is not writable: {why}: {fix}"


def _why_not(path: Path) -> str | None:
    """Why a folder, or its nearest existing parent, is not writable; None if it is."""
    existing = next(folder for folder in (path, *path.parents) if os.path.lexists(folder))
    try:
        with tempfile.TemporaryFile(dir=existing) as file:
            file.write(b"x" * 4096)  # an empty file fits on a full disk
            file.flush()
    except OSError as error:
        return f"{existing}: {error.strerror}"
    return None
