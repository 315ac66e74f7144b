"""Finds the installed talosctl, and the environment that keeps it inside a private folder."""

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from host import shims
from host.interfaces import architecture
from ops.cluster.folder import Folder, all_folders, talos_home
from ops.docker import api
from ops.errors import OpsError
from plan.talos.talosctl import Place
from plan.talos.versions import (
    NEWEST,
    OLDEST,
    Version,
    version_in,
)

ANSWER_SECONDS = 30


@dataclass(frozen=True, kw_only=True)
class Talosctl:
    """An installed talosctl; `program` is its absolute path."""

    program: str
    version: Version


def find() -> Talosctl:
    """The talosctl on PATH; or the program behind it, if it is a version manager's shim.

    It is tried as clusters run it: with another HOME, in another folder. There a shim does not find
    the user's files that tell it which version to run.

    Raises:
        OpsError: there is none, it does not say its version, or it is a shim and the program behind
            it can't be found.
    """
    program = shutil.which("talosctl")
    if program is None:
        oldest, newest = (".".join(map(str, release)) for release in (OLDEST, NEWEST))
        raise OpsError(
            f"talosctl is not on PATH, and the stack has a cluster. Install talosctl {oldest} to "
            f"{newest} (make up builds one if it can), or remove 'cluster' from the stack file."
        )
    try:
        return _as_clusters_run_it(program)
    except OpsError as error:
        _probed(program)  # as the user runs it; if that fails too, its error is the better one
        if real := shims.behind(program):
            return _as_clusters_run_it(real)
        raise OpsError(
            f"{program} works here, but not in another folder with another HOME, where clusters "
            f"are created: it seems to be a version manager's shim ({error}). Put the folder of "
            "the real talosctl before it on PATH, for instance: "
            'PATH="$(dirname "$(mise which talosctl)"):$PATH"'
        ) from error


def _as_clusters_run_it(program: str) -> Talosctl:
    folder = Folder(all_folders())
    # The folder may not exist yet; a shim that looks upwards finds the same files from its parent.
    parent = next(path for path in folder.work.parents if path.is_dir())
    return _probed(program, env=environment(folder), cwd=parent)


def _probed(
    program: str, *, env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> Talosctl:
    """Run a talosctl for its version.

    Raises:
        OpsError: it does not say its version.
    """
    try:
        done = subprocess.run(
            [program, "version", "--client", "--short"],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=ANSWER_SECONDS,
            env=env,
            cwd=cwd,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise OpsError(f"{program} does not say its version: {error}") from error
    version = version_in(done.stdout)
    if done.returncode != 0 or version is None:
        message = (done.stderr or done.stdout).strip()
        raise OpsError(f"{program} does not say its version: {message}")
    return Talosctl(program=program, version=version)


def environment(folder: Folder) -> dict[str, str]:
    """The environment for talosctl: nothing from Pulumi, and none of the user's files."""
    kept = {
        key: value
        for key, value in os.environ.items()
        if not re.match("PULUMI_|TALOS_CACHE_|TALOS", key)
    }
    # talosctl does not know docker contexts.
    which_docker = api.endpoint().environment
    return {
        **{key: value for key, value in (kept | which_docker).items() if value},
        # talosctl up to 1.11 ignores TALOS_HOME: its folder is $HOME/.talos.
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
