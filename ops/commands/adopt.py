"""`adopt`: takes over caches that another state has created, or this stack's state that was lost.

The caches' containers are removed and their volumes stay, so that the next `up` creates the
containers again on the same content. A cluster can't be taken over as it is: the next `up` creates
it again. Clusters, and caches that another state still has, are taken over with `--yes` only.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from ops import whose
from ops.cluster import folder
from ops.docker import api
from ops.engine import cli
from ops.errors import OpsError
from ops.stack import stack_files
from plan import ownership
from plan.caches.cache import of_settings
from plan.ownership import Recorded
from plan.settings.stack import Settings


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """The arguments of the command line."""

    stack: str
    yes: bool


def add_arguments(command: argparse.ArgumentParser) -> None:
    """The options of the command."""
    command.add_argument(
        "--yes",
        action="store_true",
        help="also take over caches that another state still has, and clusters, which the next up "
        "recreates empty",
    )


def run(arguments: Arguments) -> int:
    """Take over caches that another state has created: containers go, volumes stay."""
    stack = arguments.stack
    settings = stack_files.check(stack)
    names = [cache.name for cache in of_settings(settings)]
    cli.select(stack)
    state = whose.in_state(cli.deployment(stack))
    us = whose.we_are(stack, state)
    client = api.connect()
    foreign = whose.others(api.containers(client), names, state)
    ours = [container for container in foreign if ownership.owner(dict(container.labels))]
    if strangers := [container.name for container in foreign if container not in ours]:
        raise OpsError(
            f"{', '.join(strangers)}: not created by this project, so images may be in the "
            "container itself and not in a volume. Remove it yourself: docker rm -f NAME"
        )
    lost = _lost_clusters(stack, settings, state)
    if not ours and not lost:
        print(f"there is nothing to take over: make up STACK={stack}")
        return 0
    if not arguments.yes:
        _refuse(stack, whose.alive(ours, us), lost)
    for container in ours:
        print(f"removing the container {container.name}; its volume stays", file=sys.stderr)
        client.api.remove_container(container.id, force=True)
    for cluster in lost:
        print(f"the next up recreates the cluster {cluster}", file=sys.stderr)
        folder.folder_of(stack, cluster).give_up(folder.owner_of(stack))
    print(f"{len(ours) + len(lost)} taken over; to have them back: make up STACK={stack}")
    return 0


def _refuse(stack: str, alive: str | None, lost: Sequence[str]) -> None:
    again = f"make adopt STACK={stack} ARGS=--yes"
    if alive:
        raise OpsError(
            f"{alive}. Take the caches down there (make down), or take them over anyway: {again}"
        )
    if lost:
        raise OpsError(
            f"{', '.join(lost)}: a cluster can't be taken over as it is; the next make up removes "
            f"and recreates it. If that is what you want: {again}"
        )


def _lost_clusters(stack: str, settings: Settings, state: Recorded) -> list[str]:
    """Names of this stack's clusters that exist, but are not in its state."""
    owner = folder.owner_of(stack)
    return [
        cluster.name
        for cluster in settings.clusters
        if cluster.name not in state.clusters
        and folder.folder_of(stack, cluster.name).is_complete(owner)
    ]
