"""Where the Pulumi engine keeps state: what the user has chosen, or this checkout."""

import json
import os
from pathlib import Path

from host.paths import STATE, pulumi_home
from host.private_files import private_folder


def file_url(folder: Path) -> str:
    """A folder for state, as the engine reads it: only what means something in a URL is escaped."""
    path = str(folder)
    for character in "%#?":  # the percent sign first
        path = path.replace(character, f"%{ord(character):02X}")
    return f"file://{path}"


def backend() -> str | None:
    """URL of the place for state that the user has chosen, None if there is none."""
    if chosen := os.environ.get("PULUMI_BACKEND_URL"):
        return chosen
    try:
        credentials = json.loads((pulumi_home() / "credentials.json").read_text())
        return str(credentials.get("current") or "") or None
    except (OSError, ValueError, AttributeError):
        return None


def state_url() -> str:
    """URL of the place where state is kept: the user's choice, else in this checkout."""
    return backend() or file_url(STATE)


def make_own_folder() -> None:
    """Have the folder in this checkout, if that is where state is kept."""
    if state_url() == file_url(STATE):
        private_folder(STATE)
