"""`adopt`: takes over caches that another state made, on purpose.

Their containers are removed and their volumes stay, so that the next `up` makes them again, with
everything that they hold. It refuses where the other state is found and still knows them: they are
in use there, and its next `up` would miss them.
"""

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path

from ops import caches, docker_api, pulumi_cli, stack_files, state_folder, whose
from ops.docker_api import Container
from ops.errors import OpsError
from plan import ownership
from plan.ownership import Owner


def add_arguments(command: argparse.ArgumentParser) -> None:
    """The options of the command."""
    command.add_argument(
        "--yes", action="store_true", help="also where another state still knows the caches"
    )


def run(arguments: argparse.Namespace) -> int:
    """Take over the caches that another state made: containers go, volumes stay."""
    stack = arguments.stack
    names = [cache.name for cache in caches.of_settings(stack_files.check(stack))]
    pulumi_cli.select(stack)
    state = whose.in_state(pulumi_cli.deployment(stack))
    us = whose.we_are(stack, state)
    client = docker_api.connect()
    foreign = whose.others(docker_api.containers(client), names, state)
    ours = [one for one in foreign if ownership.owner(dict(one.labels)) is not None]
    if strangers := [one.name for one in foreign if one not in ours]:
        raise OpsError(
            f"{', '.join(strangers)}: this project made no such container, so it may hold images "
            "that are in no volume. Remove it yourself: docker rm -f NAME"
        )
    if not ours:
        print(f"there is nothing to take over: make up STACK={stack}")
        return 0
    if (where := _alive(ours, us)) and not arguments.yes:
        raise OpsError(
            f"{where}. Take the caches down there (make down), or take them over in spite of that: "
            f"make adopt STACK={stack} ARGS=--yes"
        )
    for container in ours:
        print(f"removing the container {container.name}; its volume stays", file=sys.stderr)
        client.api.remove_container(container.id, force=True)
    print(f"{len(ours)} taken over; to have them back: make up STACK={stack}")
    return 0


def _alive(containers: Iterable[Container], us: Owner) -> str:
    """Which other state still knows one of these; empty where none is found that does."""
    for container in containers:
        owner = ownership.owner(dict(container.labels))
        for kept in _places(owner, us):
            for stack, state in whose.known_by(kept).items():
                if container.id in state.containers:
                    return f"the stack '{stack}', whose state is in {kept}, knows {container.name}"
    return ""


def _places(owner: Owner | None, us: Owner) -> list[Path]:
    """Where the state may be that made a container: this one's place, and its own checkout."""
    found = [state_folder.path()]
    host, _, path = (owner.checkout if owner else "").partition(":")
    if path and host == us.checkout.partition(":")[0]:
        found.append(Path(path) / ".work" / "state" / ".pulumi")
    return [one for one in dict.fromkeys(found) if one is not None]
