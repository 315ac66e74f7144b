"""Debian packages, installed only as root and only where something is missing."""

import os
import shutil

from toolchain.steps import SetupError, run, say


def install(packages: tuple[str, ...], why: str) -> None:
    """Install packages with apt-get.

    Raises:
        SetupError: not root, or no apt-get; says what to install by hand.
    """
    names = " ".join(packages)
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise SetupError(
            f"{why}. Install it (Debian and Ubuntu: sudo apt-get install {names}), "
            "or run this as root on Debian or Ubuntu, where it is installed for you."
        )
    say(f"{why}: installing {names}")
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    apt = ["apt-get", "-y", "-q"]
    run("refreshing Debian's package lists", [*apt, "update"], env=env)
    run(f"installing {names}", [*apt, "install", "--no-install-recommends", *packages], env=env)
