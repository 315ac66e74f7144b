"""Root's rights, which networks and machines on QEMU need."""

import getpass
import os
import subprocess
from collections.abc import Sequence

from host.paths import ROOT
from ops.errors import OpsError
from plan.talos.talosctl import KEPT_BY_SUDO

SWEEP_SECONDS = 300


def privileged(argv: Sequence[str]) -> list[str]:
    """The line with root's rights, which networks and machines need; it never asks for a password.

    talosctl up to 1.11 finds its folder by HOME.
    """
    if os.geteuid() == 0:
        return list(argv)
    return ["sudo", "-n", f"--preserve-env={KEPT_BY_SUDO}", *argv]


def run_as_root(argv: Sequence[str]) -> None:
    """Run something with root's rights, its output in the error.

    In a session of its own, as talosctl runs: sudo then remembers no password of this terminal.

    Raises:
        OpsError: it fails, or there are no such rights; with what to do.
    """
    try:
        done = subprocess.run(
            privileged(argv),
            cwd=ROOT,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "LC_ALL": "C"},  # sudo's words are compared
            start_new_session=True,
            timeout=SWEEP_SECONDS,
        )
    except FileNotFoundError as error:
        raise OpsError(f"there is no command {error.filename}. {_how_to_be_root()}") from error
    except subprocess.TimeoutExpired as error:
        raise OpsError(f"{argv[0]} is not done within {SWEEP_SECONDS} s.") from error
    said = (done.stderr or done.stdout).strip()
    if done.returncode != 0 and said.startswith(("sudo: ", "Sorry, user")):
        raise OpsError(f"root's rights are refused ({said}). {_how_to_be_root()}")
    if done.returncode != 0:
        raise OpsError(said or f"{argv[0]} ended with {done.returncode}")


def _how_to_be_root() -> str:
    return (
        "Machines on QEMU need root's rights for their network. Run this as root, or let sudo work "
        f"without a password: echo '{getpass.getuser()} ALL=(root) NOPASSWD: ALL' | sudo tee "
        "/etc/sudoers.d/talos-cache (sudo -v beforehand is not enough: it is good for one terminal "
        "and some minutes)."
    )
