"""Finds the installed talosctl, and the environment that keeps it inside a private folder."""

import os
import re
import shutil
import subprocess
from dataclasses import dataclass

from ops import docker_api
from ops.cluster.folder import Folder, talos_home
from ops.errors import OpsError
from ops.host import architecture
from plan.talosctl import NEWEST, OLDEST, Place, Version, version_in

ANSWER_SECONDS = 30


@dataclass(frozen=True, kw_only=True)
class Talosctl:
    """The talosctl that was found; `program` is its absolute path."""

    program: str
    version: Version


def find() -> Talosctl:
    """The talosctl on PATH.

    Raises:
        OpsError: there is none, or it does not say its version.
    """
    program = shutil.which("talosctl")
    if program is None:
        oldest, newest = (".".join(map(str, release)) for release in (OLDEST, NEWEST))
        raise OpsError(
            f"talosctl is not on PATH, and the stack has a cluster. Install talosctl {oldest} to "
            f"{newest} (make up builds one where it can), or take 'cluster' out of the stack file."
        )
    argv = [program, "version", "--client", "--short"]
    try:
        done = subprocess.run(
            argv, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=ANSWER_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise OpsError(f"{program} does not say its version: {error}") from error
    version = version_in(done.stdout)
    if done.returncode != 0 or version is None:
        said = (done.stderr or done.stdout).strip()
        raise OpsError(f"{program} does not say its version: {said}")
    return Talosctl(program=program, version=version)


def environment(folder: Folder) -> dict[str, str]:
    """What talosctl sees: nothing of Pulumi's, and no file of the user's to write into."""
    kept = {
        key: value
        for key, value in os.environ.items()
        if not re.match("PULUMI_|TALOS_CACHE_|TALOS", key)
    }
    # talosctl knows no docker contexts.
    which_docker = docker_api.endpoint().environment
    return {
        **{key: value for key, value in (kept | which_docker).items() if value},
        # talosctl up to 1.11 knows no TALOS_HOME: its folder is $HOME/.talos.
        "HOME": str(talos_home()),
        "TALOS_HOME": str(talos_home() / ".talos"),
        "TALOSCONFIG": str(folder.talosconfig),
        "KUBECONFIG": str(folder.kubeconfig),
    }


def place(talosctl: Talosctl, folder: Folder, patches: tuple[tuple[str, str], ...] = ()) -> Place:
    """The files of a run."""
    return Place(
        program=talosctl.program,
        state=str(folder.state),
        talosconfig=str(folder.talosconfig),
        patches=patches,
        architecture=architecture(),
    )
