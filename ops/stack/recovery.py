"""Cleans up what a killed `pulumi up` leaves in the way of the next one.

Three things can be left: a lock whose process is gone, operations that the state calls pending, and
containers that were created but never recorded. A container is removed only if all evidence agrees:
it has the labels that this state gives, the state does not know it, and the state says that an
operation on a container of that name was under way.
"""

import json
import shlex
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ops import whose
from ops.cluster import folder
from ops.docker import api
from ops.docker.api import Container
from ops.engine import cli, state_folder
from ops.errors import OpsError
from ops.stack.stack_files import PROJECT
from plan import ownership
from plan.ownership import COMMAND_TYPE, CONTAINER_TYPE


def clear(stack: str) -> list[str]:
    """Make the stack usable again; returns a line for each thing done."""
    done = [
        f"removed the lock of a pulumi process that is gone ({lock})" for lock in _unlock(stack)
    ]
    state = cli.deployment(stack)
    whose.we_are(stack, whose.in_state(state))
    if not state.get("pending_operations"):
        return done
    client = api.connect()
    for container in strays(state, api.containers(client)):
        client.api.remove_container(container.id, force=True, v=True)
        done.append(
            f"removed the container {container.name}: the interrupted run never recorded it"
        )
    for cluster in unrecorded_clusters(state):
        folder.folder_of(stack, cluster).give_up(folder.owner_of(stack))
    # Otherwise the engine would keep warning of operations that no one waits for any more.
    arguments = ("--yes", "--skip-preview", "--clear-pending-creates")
    cli.output(stack, "refresh", *arguments)
    return [*done, "cleared the operations that the interrupted run left pending"]


def strays(state: Mapping[str, Any], containers: Sequence[Container]) -> list[Container]:
    """Containers that an interrupted operation of this state created but did not record.

    They have the labels that it was to give them, which say whose they are.
    """
    recorded = {resource.get("id") for resource in state.get("resources") or []}
    interrupted = {
        inputs.get("name"): {one["label"]: one["value"] for one in inputs.get("labels") or ()}
        for operation in state.get("pending_operations") or []
        if operation["resource"].get("type") == CONTAINER_TYPE
        and (inputs := operation["resource"].get("inputs") or {})
    }
    return [
        container
        for container in containers
        if container.id not in recorded
        and (labels := interrupted.get(container.name))
        and container.has_labels(labels)
    ]


def unrecorded_clusters(state: Mapping[str, Any]) -> list[str]:
    """Names of clusters whose creation was interrupted, even if they were already complete."""
    known = whose.in_state(state).clusters
    names = {
        ownership.cluster_of(operation["resource"].get("inputs", {}).get("environment") or {})
        for operation in state.get("pending_operations") or []
        if operation["resource"].get("type") == COMMAND_TYPE
    }
    return sorted(name for name in names if name and name not in known)


def dead_locks(folder: Path) -> list[Path]:
    """Lock files of processes on this machine that no longer run.

    Raises:
        OpsError: one can't be read, so its owner is unknown; the engine can't go on either.
    """
    return [path for path in sorted(folder.glob("*.json")) if _is_dead(path)]


def _unlock(stack: str) -> list[str]:
    folder = state_folder.path()
    if folder is None:
        return []
    dead = [path for kept in _locks(folder, stack) for path in dead_locks(kept)]
    for path in dead:
        path.unlink()
    return [path.stem for path in dead]


def _locks(folder: Path, stack: str) -> tuple[Path, ...]:
    """Where the engine keeps a stack's locks; see `state_folder.folders`."""
    by_project = folder / "locks" / "organization" / PROJECT / stack
    old = folder / "locks" / stack
    return (by_project, old) if state_folder.is_old(folder) else (by_project,)


def _is_dead(path: Path) -> bool:
    try:
        lock = json.loads(path.read_text())
        host, pid = lock["hostname"], int(lock["pid"])
    except FileNotFoundError:  # its process has just ended
        return False
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        raise OpsError(
            f"the engine's lock {path} can't be read: it was only partly written. If no pulumi is "
            f"running on this stack, remove it: rm {shlex.quote(str(path))}"
        ) from error
    if host != socket.gethostname():
        return False
    try:
        command = Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return True
    return command != "pulumi"  # another program has the number now
