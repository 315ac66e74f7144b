"""Whose caches these are: what the stack's state knows, and what others have made.

Containers go by their ids, as the state knows them. Everything that a stack keeps to itself goes by
the identity of its state, which is recorded with what was made (docs/adr/0023).
"""

import gzip
import json
import socket
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import zstandard

from ops import docker_api, pulumi_cli, stack_files, state_folder
from ops.cluster import folder
from ops.docker_api import Container
from ops.errors import OpsError
from plan import ownership
from plan.ownership import PROJECT, Owner, Recorded, Taken

UNKNOWN_STACK = "no stack named"
# End of a state file's name -> what gives its text; the engine can be told to compress them.
UNPACKED: dict[str, Callable[[bytes], bytes]] = {
    ".json": bytes,
    ".json.gz": gzip.decompress,
    ".json.zst": lambda packed: zstandard.ZstdDecompressor().decompressobj().decompress(packed),
}
UNREADABLE = (OSError, ValueError, EOFError, zstandard.ZstdError)


def we_are(stack: str, recorded: Recorded) -> Owner:
    """Who this stack says it is; from here on this process knows it by what its state says."""
    identity = recorded.identity or folder.usual_identity(recorded.born or stack)
    folder.know(stack, identity)
    return Owner(stack=stack, identity=identity, checkout=checkout())


def checkout() -> str:
    """Where this project's folder is, as its containers say it."""
    return f"{socket.gethostname()}:{stack_files.ROOT}"


def in_state(deployment: Mapping[str, Any]) -> Recorded:
    """What a stack's deployment knows of its own."""
    return ownership.recorded(
        (
            resource["type"],
            {
                **(resource.get("outputs") or {}),
                "id": resource.get("id"),
                "urn": resource.get("urn", ""),
            },
        )
        for resource in deployment.get("resources") or []
    )


def recorded(stack: str) -> Recorded:
    """What a stack's state knows of its own; nothing where there is no such stack yet.

    State that is kept in files is read there: that needs no engine.

    Raises:
        OpsError: it can't be read.
    """
    kept = state_folder.path()
    if kept is not None:
        return in_state(_read(kept, stack))
    try:
        return in_state(pulumi_cli.deployment(stack))
    except OpsError as error:
        if UNKNOWN_STACK in str(error):
            return Recorded()
        raise


def known_by(kept: Path) -> dict[str, Recorded]:
    """Stack -> what its state knows, for all that are kept in a folder; damaged ones left out."""
    found = {}
    for file in sorted((kept / "stacks" / PROJECT).glob("*.json*")):
        if not file.name.endswith(tuple(UNPACKED)):
            continue  # what the engine keeps beside it
        name = file.name[: file.name.rindex(".json")]
        try:
            found[name] = in_state(_read(kept, name))
        except OpsError:
            continue
    return found


def others(
    containers: Sequence[Container], names: Sequence[str], state: Recorded
) -> list[Container]:
    """Containers of these names that the state does not know."""
    return [
        container
        for container in containers
        if container.name in names and not container.is_known(state)
    ]


def refuse_others(stack: str, names: Sequence[str]) -> None:
    """Stop before a command works on the caches of another state.

    Args:
        stack: that the command is for.
        names: of its caches.

    Raises:
        OpsError: some of them are another state's; says whose.
        DockerUnavailableError: Docker does not answer.
    """
    there = docker_api.containers(docker_api.connect())
    if not any(container.name in names for container in there):
        return  # volumes belong to whoever comes first
    state = recorded(stack)
    us = we_are(stack, state)
    if texts := ownership.refusals(taken(others(there, names, state)), us):
        raise OpsError("\n".join(["nothing was done:", *texts]))


def left_alone(stack: str) -> list[str]:
    """After a `down`: containers that carry this stack's name, and that its state did not know."""
    labels = docker_api.labels_of(stack)
    there = docker_api.containers(docker_api.connect())
    us = we_are(stack, Recorded())
    found: dict[str, list[str]] = {}
    for container in (one for one in there if one.has_labels(labels)):
        owner = ownership.owner(dict(container.labels))
        if owner is not None:
            found.setdefault(ownership.described(owner, us), []).append(container.name)
    return [
        f"left alone, because the state did not know {'it' if len(names) == 1 else 'them'}: "
        f"{', '.join(sorted(names))}, of {whose}. To remove them: make adopt STACK={stack}"
        for whose, names in found.items()
    ]


def taken(containers: Sequence[Container]) -> list[Taken]:
    """Those that another state of this project made, as `ownership.refusals` wants them."""
    return [
        Taken(name=container.name, owner=owner, by_name=True)
        for container in containers
        if (owner := ownership.owner(dict(container.labels))) is not None
    ]


def _read(kept: Path, stack: str) -> dict[str, Any]:
    """The deployment in a state file; empty where there is none."""
    for suffix, unpacked in UNPACKED.items():
        file = kept / "stacks" / PROJECT / f"{stack}{suffix}"
        try:
            latest = json.loads(unpacked(file.read_bytes()))["checkpoint"].get("latest")
        except FileNotFoundError:
            continue
        except (*UNREADABLE, LookupError, TypeError, AttributeError) as error:
            raise OpsError(f"the state in {file} can't be read: {error!r}") from error
        return dict(latest or {})
    return {}
