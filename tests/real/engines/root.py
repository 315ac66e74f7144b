"""The root folder that holds another Docker than the machine's: Debian 13's."""

import os
import shutil
from pathlib import Path

from host.console import say
from host.errors import SetupError
from host.locks import made_once
from host.paths import tool_folder
from tests.debian_root import bootstrap

SUITE = "trixie"
# What `docker version` has to begin with there.
VERSION = "26.1."
TOOLS = ("unshare", "mount", "pivot_root", "ip")


def ensure() -> Path:
    """The folder, made unless it was before.

    Raises:
        SetupError: this machine can't make or use it; says what is missing.
    """
    if os.geteuid() != 0:
        raise SetupError("only root can run a second Docker beside the machine's: run this as root")
    if missing := [tool for tool in TOOLS if shutil.which(tool) is None]:
        raise SetupError(
            f"a second Docker needs the commands {', '.join(missing)}, which are missing. "
            "Install them (Debian and Ubuntu: sudo apt-get install util-linux mount iproute2)."
        )
    return made_once(tool_folder("docker-root", SUITE) / "root", _make)


def _make(root: Path) -> None:
    say(f"making a root folder with the Docker of Debian {SUITE}, once")
    bootstrap(root, SUITE, ("docker.io",), f"a Debian {SUITE} with Docker")
