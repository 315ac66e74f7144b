"""Where the Pulumi engine keeps state: in the user's backend, or in this checkout."""

import json
import os
from pathlib import Path

from host.paths import STATE, pulumi_home
from host.private_files import private_folder


def file_url(folder: Path) -> str:
    """URL of a folder for state, with only those characters escaped that the engine unescapes."""
    path = str(folder)
    for character in "%#?":  # the percent sign first
        path = path.replace(character, f"%{ord(character):02X}")
    return f"file://{path}"


def backend() -> str | None:
    """URL of the backend that the user has chosen, None if there is none."""
    if chosen := os.environ.get("PULUMI_BACKEND_URL"):
        return chosen
    try:
        credentials = json.loads((pulumi_home() / "credentials.json").read_text())
        return str(credentials.get("current") or "") or None
    except (OSError, ValueError, AttributeError):
        return None


def state_url() -> str:
    """URL of the backend in use: the user's choice, or else a folder in this checkout."""
    return backend() or file_url(STATE)


def make_own_folder() -> None:
    """Make the folder in this checkout, if state is kept there."""
    if state_url() == file_url(STATE):
        private_folder(STATE)
