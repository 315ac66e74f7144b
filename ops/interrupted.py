"""Clears what a killed `pulumi up` leaves in the way of the next one.

Three things can be left: a lock whose process is gone, operations that the state calls pending, and
containers that were made but never recorded. A container is removed only where all evidence agrees:
it carries this stack's labels, the state does not know it, and the state says that an operation on
a container of that name was under way.
"""

import json
import shlex
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ops import docker_api, pulumi_cli, state_folder
from ops.docker_api import Container
from ops.errors import OpsError
from ops.stack_files import PROJECT

CONTAINER_TYPE = "docker:index/container:Container"


def clear(stack: str) -> list[str]:
    """Make the stack usable again; returns a line for each thing done."""
    done = [
        f"removed the lock of a pulumi process that is gone ({lock})" for lock in _unlock(stack)
    ]
    state = pulumi_cli.deployment(stack)
    if not state.get("pending_operations"):
        return done
    client = docker_api.connect()
    labels = docker_api.labels_of(stack)
    for container in strays(state, docker_api.containers(client), labels):
        client.api.remove_container(container.id, force=True, v=True)
        done.append(
            f"removed the container {container.name}: the interrupted run never recorded it"
        )
    # Without this the engine would go on to warn of operations that nobody waits for any more.
    arguments = ("--yes", "--skip-preview", "--clear-pending-creates", "--stack", stack)
    pulumi_cli.output("refresh", *arguments)
    return [*done, "cleared the operations that the interrupted run left pending"]


def strays(
    state: Mapping[str, Any], containers: Sequence[Container], labels: dict[str, str]
) -> list[Container]:
    """Containers that an interrupted operation of this very state made and did not record."""
    recorded = {resource.get("id") for resource in state.get("resources") or []}
    interrupted = {
        operation["resource"].get("inputs", {}).get("name")
        for operation in state.get("pending_operations") or []
        if operation["resource"].get("type") == CONTAINER_TYPE
    }
    return [
        container
        for container in containers
        if container.has_labels(labels)
        and container.id not in recorded
        and container.name in interrupted
    ]


def dead_locks(folder: Path) -> list[Path]:
    """Lock files of processes on this machine that no longer run.

    Raises:
        OpsError: one can't be read, so that nobody knows whose it is; the engine can't go on then.
    """
    return [path for path in sorted(folder.glob("*.json")) if _is_dead(path)]


def _unlock(stack: str) -> list[str]:
    folder = state_folder.path()
    if folder is None:
        return []
    dead = dead_locks(folder / "locks" / "organization" / PROJECT / stack)
    for path in dead:
        path.unlink()
    return [path.stem for path in dead]


def _is_dead(path: Path) -> bool:
    try:
        lock = json.loads(path.read_text())
        host, pid = lock["hostname"], int(lock["pid"])
    except FileNotFoundError:  # its process has just ended
        return False
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        raise OpsError(
            f"the engine's lock {path} can't be read: its writer was cut off. If no pulumi is at "
            f"work on this stack, remove it: rm {shlex.quote(str(path))}"
        ) from error
    if host != socket.gethostname():
        return False
    try:
        command = Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return True
    return command != "pulumi"  # the number went to another program since
