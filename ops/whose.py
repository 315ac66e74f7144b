"""Whose caches these are: what is in the stack's state, and what other states have made.

Containers are compared by the ids in the state. Everything else that a stack owns is compared by
the identity of its state, which is recorded with everything that it makes (docs/adr/0023).
"""

import socket
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from host.paths import ROOT
from ops.cluster import folder
from ops.docker import api
from ops.docker.api import Container
from ops.engine import cli, state_folder
from ops.errors import OpsError
from plan import ownership
from plan.ownership import Owner, Recorded, Taken

UNKNOWN_STACK = "no stack named"


def we_are(stack: str, recorded: Recorded) -> Owner:
    """The owner that this stack is, by its state; this process uses that identity from here on."""
    identity = recorded.identity or folder.usual_identity(recorded.born or stack)
    folder.know(stack, identity)
    return Owner(stack=stack, identity=identity, checkout=checkout())


def checkout() -> str:
    """This project's folder, as the labels of its containers name it."""
    return f"{socket.gethostname()}:{ROOT}"


def in_state(deployment: Mapping[str, Any]) -> Recorded:
    """What a stack's deployment has recorded."""
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
    """What is in a stack's state; nothing if there is no such stack yet.

    State that is kept in files is read directly, without the engine.

    Raises:
        OpsError: it can't be read.
    """
    kept = state_folder.own(stack)
    if kept is not None:
        return in_state(kept)
    try:
        return in_state(cli.deployment(stack))
    except OpsError as error:
        if UNKNOWN_STACK in str(error):
            return Recorded()
        raise


def known_by(kept: Path) -> dict[str, Recorded]:
    """Stack -> what is in its state, for every stack in a folder but damaged ones.

    Raises:
        OSError: the folder, or a file in it, can't be opened.
    """
    states = {}
    for name in state_folder.stacks(kept):
        with suppress(OpsError):
            states[name] = in_state(state_folder.deployment(kept, name))
    return states


def alive(containers: Iterable[Container], us: Owner) -> str | None:
    """Which other state still has one of these, or may have it; None if none is found."""
    unreadable = []
    for container in containers:
        for kept in _places(container, us):
            try:
                states = known_by(kept)
            except OSError as error:
                unreadable.append(
                    f"the state in {kept}, which may have {container.name}, can't be read "
                    f"({error.strerror})"
                )
                continue
            for stack, state in states.items():
                if container.id in state.containers:
                    return f"the stack '{stack}', whose state is in {kept}, has {container.name}"
    return next(iter(unreadable), None)


def others(
    containers: Sequence[Container], names: Sequence[str], state: Recorded
) -> list[Container]:
    """Containers of these names that are not in the state."""
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
        OpsError: some of them belong to another state; says to which.
        DockerUnavailableError: Docker does not answer.
    """
    there = api.containers(api.connect())
    if not any(container.name in names for container in there):
        return  # a volume belongs to whichever stack uses it first
    state = recorded(stack)
    us = we_are(stack, state)
    if texts := ownership.refusals(taken(others(there, names, state)), us):
        raise OpsError("\n".join(["nothing was done:", *texts]))


def left_alone(stack: str, names: Sequence[str]) -> list[str]:
    """After a `down`: caches that are still there because they are not in the stack's state.

    Another checkout may have a stack of this name, with caches of other names: these are left out.

    Args:
        stack: its name.
        names: of its caches.
    """
    us = Owner(stack=stack, identity=folder.identity_of(stack), checkout=checkout())
    labels = api.labels_of(stack)
    found: dict[tuple[Owner, bool], list[Container]] = {}
    for container in api.containers(api.connect()):
        owner, is_wanted = ownership.owner(dict(container.labels)), container.name in names
        if owner and container.has_labels(labels) and (is_wanted or owner.identity == us.identity):
            found.setdefault((owner, is_wanted), []).append(container)
    return [
        _left(containers, ownership.described(owner, us), _way_on(containers, us, is_wanted))
        for (owner, is_wanted), containers in found.items()
    ]


def _left(containers: Sequence[Container], whose: str, way_on: str) -> str:
    they_are = "it is" if len(containers) == 1 else "they are"
    names = ", ".join(sorted(container.name for container in containers))
    return f"left alone, because {they_are} not in the stack's state: {names}, of {whose}. {way_on}"


def _way_on(containers: Sequence[Container], us: Owner, is_wanted: bool) -> str:
    """How to remove containers; `is_wanted`: whether the stack file has caches of these names."""
    if not is_wanted:
        names = " ".join(sorted(container.name for container in containers))
        return f"The stack file has no such cache. To remove only containers: docker rm -f {names}"
    if elsewhere := alive(containers, us):
        return f"Continue there: {elsewhere}"
    return f"To remove the containers, but not the volumes: make adopt STACK={us.stack}"


def _places(container: Container, us: Owner) -> list[Path]:
    """Where the state that made a container may be: with this stack's, or in its own checkout."""
    places = [state_folder.path()]
    owner = ownership.owner(dict(container.labels))
    host, _, path = (owner.checkout if owner else "").partition(":")
    if path and host == us.checkout.partition(":")[0]:
        places.append(Path(path) / ".work" / "state" / ".pulumi")
    return [place for place in dict.fromkeys(places) if place is not None]


def taken(containers: Sequence[Container]) -> list[Taken]:
    """Those that another state of this project made, as `ownership.refusals` wants them."""
    return [
        Taken(name=container.name, owner=owner, by_name=True)
        for container in containers
        if (owner := ownership.owner(dict(container.labels))) is not None
    ]
