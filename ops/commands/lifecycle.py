"""`up`, `preview`, `down` and what else the engine does with a stack; `outputs`; `new-stack`."""

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from docker.errors import DockerException
from requests import RequestException

from host.errors import TalosCacheError
from host.installed import set_up_line
from host.paths import ROOT
from ops import port_moves, whose
from ops.cluster import folder
from ops.commands import ledger
from ops.docker import api, temporary_container
from ops.engine import cli
from ops.errors import OpsError
from ops.stack import recovery, secret_files, stack_files
from plan import ownership
from plan.caches.cache import of_settings
from plan.ownership import COMMAND_TYPE
from plan.settings.stack import Settings
from plan.talos.cluster_transport import IDENTITY_VARIABLE
from toolchain import talosctl

# What the engine shows instead of a secret.
SECRET = "[secret]"  # noqa: S105 - no secret
DESTROY = ("destroy", "--yes", "--skip-preview")
CLUSTER_TYPE = "talos-cache:index:TalosCluster"


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """The arguments of the command line.

    Attributes:
        command: as the user called it, such as "cluster-up"; named if the engine fails.
    """

    command: str
    stack: str


@dataclass(frozen=True, kw_only=True)
class ClusterDownArguments(Arguments):
    """The same, with the name of the one cluster to take down; empty for all of them."""

    cluster: str


@dataclass(frozen=True, kw_only=True)
class OutputsArguments:
    """The arguments of the command line.

    Attributes:
        name: of the one output to print; empty for all of them.
    """

    stack: str
    name: str
    as_json: bool


@dataclass(frozen=True, kw_only=True)
class NewStackArguments:
    """The name of the new stack, and of the stack whose file is copied."""

    name: str
    source: str


def up(arguments: Arguments) -> int:
    """Start the caches and clusters of a stack: check its file, clean up, then `pulumi up`."""
    settings = _prepare(arguments.stack)
    _clear_interrupted(arguments.stack)
    ledger.note(arguments.stack)
    _free_volumes(arguments.stack)
    for line in port_moves.make_room(arguments.stack, settings):
        print(line, file=sys.stderr)
    return cli.run(arguments.command, arguments.stack, "up", "--yes", "--skip-preview")


def preview(arguments: Arguments) -> int:
    """Show what `up` would change: check the stack file, then `pulumi preview`."""
    _prepare(arguments.stack)
    return cli.run(arguments.command, arguments.stack, "preview")


def down(arguments: Arguments) -> int:
    """Remove clusters and containers (`pulumi destroy`); volumes stay, see `cache.onDestroy`."""
    stack_files.path_of(arguments.stack)
    cli.select(arguments.stack)
    _clear_interrupted(arguments.stack)
    ledger.note(arguments.stack)
    _free_volumes(arguments.stack)
    status = cli.run(arguments.command, arguments.stack, *DESTROY)
    if status == 0:
        secret_files.remove(arguments.stack)
        _tell_of_others(arguments.stack)
    return status


def cluster_up(arguments: Arguments) -> int:
    """Like `up`, but only for a stack with a cluster; what is up already stays."""
    if not stack_files.check(arguments.stack).clusters:
        raise OpsError(
            f"the stack '{arguments.stack}' has no cluster: add 'cluster' to its file, or use a "
            "stack that has one (docker-cluster, qemu-cluster)"
        )
    return up(arguments)


def cluster_down(arguments: ClusterDownArguments) -> int:
    """Remove only the clusters, or one of them (`pulumi destroy`); the caches stay."""
    stack_files.path_of(arguments.stack)
    cli.select(arguments.stack)
    _clear_interrupted(arguments.stack)
    urns = cluster_urns(cli.deployment(arguments.stack), arguments.cluster)
    if not urns:
        print(f"the stack '{arguments.stack}' has no such cluster running: nothing to do")
        return 0
    targets = [part for urn in urns for part in ("--target", urn)]
    variables = {"CLUSTER": arguments.cluster} if arguments.cluster else {}
    return cli.run(arguments.command, arguments.stack, *DESTROY, *targets, **variables)


def outputs(arguments: OutputsArguments) -> int:
    """Print the outputs of a stack, or only one of them, as text or JSON."""
    stack_files.path_of(arguments.stack)
    cli.select(arguments.stack)
    exported = cli.stack_outputs(arguments.stack)
    if not exported:
        raise OpsError(f"the stack '{arguments.stack}' is not up: make up STACK={arguments.stack}")
    if arguments.name:
        exported = {arguments.name: _one_output(exported, arguments.name, arguments.stack)}
        if not arguments.as_json:
            print(_text(exported[arguments.name]).rstrip())
            return 0
    print(json.dumps(exported, indent=2) if arguments.as_json else _readable(exported))
    return 0


def new_stack(arguments: NewStackArguments) -> int:
    """Create a stack: copy another stack's file under a new name."""
    path = stack_files.copy(arguments.name, arguments.source)
    cli.select(arguments.name)
    file = path.relative_to(ROOT)
    print(f"{file} is yours to edit, then: make up STACK={arguments.name}")
    return 0


def cluster_urns(state: Mapping[str, Any], name: str = "") -> list[str]:
    """URNs of the clusters in a stack's state, their commands first.

    Args:
        state: the stack's deployment.
        name: of one cluster; empty for all of them.
    """
    resources = state.get("resources") or []
    commands = [
        resource
        for resource in resources
        if resource["type"] == COMMAND_TYPE
        and (cluster := _cluster(resource))
        and name in ("", cluster)
    ]
    parents = {resource["parent"] for resource in commands}
    components = [
        resource["urn"]
        for resource in resources
        if resource["type"] == CLUSTER_TYPE and resource["urn"] in parents
    ]
    return [*(resource["urn"] for resource in commands), *components]


def _prepare(stack: str) -> Settings:
    settings = stack_files.check(stack)
    if settings.clusters:
        talosctl.offer()
    cli.select(stack)
    return settings


def _tell_of_others(stack: str) -> None:
    """Report what looks like this stack's and still exists: it is not in the state.

    The stack is down already, so an error here is not a failure of `down`.
    """
    try:
        names = [cache.name for cache in of_settings(stack_files.check(stack))]
        lines = whose.left_alone(stack, names)
    except (TalosCacheError, DockerException, RequestException) as error:
        lines = [f"note: could not look for caches that are not in the state: {error}"]
    for line in lines:
        print(line, file=sys.stderr)


def _clear_interrupted(stack: str) -> None:
    for line in recovery.clear(stack):
        print(line, file=sys.stderr)
    if folder.is_moved(stack):
        # For commands that the state recorded before it was moved.
        os.environ[IDENTITY_VARIABLE] = folder.identity_of(stack)


def _free_volumes(stack: str) -> None:
    """Remove containers that killed commands left on volumes, which the engine may have to remove.

    An error is reported, and does not stop the command.
    """
    try:
        if volumes := whose.recorded(stack).volumes:
            temporary_container.remove_from(api.connect(), volumes)
    except (TalosCacheError, DockerException, RequestException) as error:
        print(f"could not look for containers that a killed command left: {error}", file=sys.stderr)


def _one_output(exported: dict[str, object], name: str, stack: str) -> object:
    """The value of one output; not a mask, which would go unseen in a file."""
    if name not in exported:
        raise OpsError(f"there is no output {name}; the outputs are {', '.join(exported)}")
    if exported[name] == SECRET:
        raise OpsError(
            f"the output {name} contains a secret. In a shell that has run {set_up_line(stack)}: "
            f"pulumi stack output {name} --show-secrets --stack {stack}"
        )
    return exported[name]


def _readable(exported: dict[str, object]) -> str:
    """Every output under its name."""
    return "\n\n".join(f"# {name}\n{_text(value)}".rstrip() for name, value in exported.items())


def _text(value: object) -> str:
    """Text as it is, ready to paste; everything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, indent=2)


def _cluster(command: Mapping[str, Any]) -> str | None:
    """The cluster that a command is for; None for others, such as that of Harbor's projects."""
    return ownership.cluster_for((command.get("inputs") or {}).get("environment") or {})
