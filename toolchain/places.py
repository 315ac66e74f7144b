"""Whether everything that a set-up writes to can be written to: asked before any work."""

import os
import pwd
import tempfile
from collections.abc import Iterator
from pathlib import Path

from host.console import say
from host.errors import SetupError
from host.paths import ROOT, WORK, pulumi_home, user_cache, user_state


def check() -> dict[str, str]:
    """Have a home folder, and places that can be written to; returns what had to be set for that.

    Raises:
        SetupError: with every place that can't, why, and what to do.
    """
    found = _home()
    os.environ.update(found)
    if problems := list(_problems()):
        raise SetupError("\n".join(["nothing was done:", *problems]))
    return found


def _home() -> dict[str, str]:
    """Where HOME is not set, as for a job without a login, what the system says it is."""
    given = os.environ.get("HOME", "")
    if given:
        if not Path(given).is_absolute():
            raise SetupError(f"HOME is '{given}': it has to be the full path of your home folder")
        return {}
    try:
        home = pwd.getpwuid(os.geteuid()).pw_dir
    except KeyError:
        home = ""
    if not Path(home).is_absolute() or not Path(home).is_dir():
        raise SetupError(
            "HOME is not set, and the system knows no home folder for user "
            f"{os.geteuid()}: set HOME to a folder that this user can write to"
        )
    say(f"HOME is not set: using {home}, as the system has it")
    return {"HOME": home}


def _problems() -> Iterator[str]:
    places = {
        "this checkout": (WORK, f"clone it where you can write, or give yourself {ROOT}"),
        "the cache of tools": (user_cache(), "set XDG_CACHE_HOME or HOME to a folder of yours"),
        "the private folder": (user_state(), "set XDG_STATE_HOME or HOME to a folder of yours"),
        "Pulumi's folder": (pulumi_home(), "set PULUMI_HOME or HOME to a folder of yours"),
    }
    for name, (path, fix) in places.items():
        if not path.is_absolute():
            yield f"  {name} is '{path}', which is no full path: {fix}"
        elif why := _why_not(path):
            yield f"  {name} can't be written: {why}: {fix}"


def _why_not(path: Path) -> str | None:
    """Why nothing can be written below a path, as far as it exists; None if it can."""
    there = next(folder for folder in (path, *path.parents) if os.path.lexists(folder))
    try:
        with tempfile.TemporaryFile(dir=there) as file:
            file.write(b"x" * 4096)  # an empty file fits on a full disk
            file.flush()
    except OSError as error:
        return f"{there}: {error.strerror}"
    return None
