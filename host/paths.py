"""Where files are kept: one Git-ignored folder per checkout, one cache folder per user."""

import os
import platform
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WORK = ROOT / ".work"
VENV = WORK / "venv"
BIN = WORK / "bin"
LOGS = WORK / "logs"
STATE = WORK / "state"
DEMO = WORK / "demo"
DEMO_STATE = DEMO / "state"
PRIVATE = WORK / "private"


def user_cache() -> Path:
    """Tools by version, shared by all checkouts of this user."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "talos-cache"


def user_state() -> Path:
    """Private files of stacks on this machine."""
    base = os.environ.get("XDG_STATE_HOME")
    return (Path(base) if base else Path.home() / ".local" / "state") / "talos-cache"


def pulumi_home() -> Path:
    """Where the engine keeps its plugins and the credentials of its backends."""
    return Path(os.environ.get("PULUMI_HOME") or Path.home() / ".pulumi")


def tool_folder(name: str, version: str) -> Path:
    """Folder of one version of a tool for this operating system and architecture."""
    return user_cache() / f"{name}-{version}-{platform.system().lower()}-{platform.machine()}"
