"""Runs commands as root, which networks and machines on QEMU need."""

import getpass
import os
import subprocess
from collections.abc import Sequence

from host.paths import ROOT
from ops.errors import OpsError
from plan.talos.talosctl import KEPT_BY_SUDO

SWEEP_SECONDS = 300


def privileged(argv: Sequence[str]) -> list[str]:
    """The command line, run as root; sudo never prompts for a password.

    It keeps HOME, by which talosctl up to 1.11 finds its folder.
    """
    if os.geteuid() == 0:
        return list(argv)
    return ["sudo", "-n", f"--preserve-env={KEPT_BY_SUDO}", *argv]


def run_as_root(argv: Sequence[str]) -> None:
    """Run a command as root.

    In a session of its own, as talosctl runs: there sudo does not know this terminal's password.

    Raises:
        OpsError: it fails, with its output; or root privileges are refused, with what to do.
    """
    try:
        done = subprocess.run(
            privileged(argv),
            cwd=ROOT,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "LC_ALL": "C"},  # sudo's messages are matched below
            start_new_session=True,
            timeout=SWEEP_SECONDS,
        )
    except FileNotFoundError as error:
        raise OpsError(f"there is no command {error.filename}. {_how_to_be_root()}") from error
    except subprocess.TimeoutExpired as error:
        raise OpsError(f"{argv[0]} is not done within {SWEEP_SECONDS} s.") from error
    message = (done.stderr or done.stdout).strip()
    if done.returncode != 0 and message.startswith(("sudo: ", "Sorry, user")):
        raise OpsError(f"root privileges were refused ({message}). {_how_to_be_root()}")
    if done.returncode != 0:
        raise OpsError(message or f"{argv[0]} ended with {done.returncode}")


def _how_to_be_root() -> str:
    return (
        "Machines on QEMU need root privileges for their network. Run this as root, or let sudo "
        f"work without a password: echo '{getpass.getuser()} ALL=(root) NOPASSWD: ALL' | sudo tee "
        "/etc/sudoers.d/talos-cache (sudo -v beforehand is not enough: it lasts for one terminal "
        "and a few minutes)."
    )
