"""Day-two commands: `python -m ops up | preview | down | cluster-up | cluster-down | ...`."""

import argparse
import json
import sys

from docker.errors import DockerException
from requests import RequestException

from ops import (
    clusters,
    docker_api,
    doctor,
    interrupted,
    ledger,
    private,
    prune,
    pulumi_cli,
    repair,
    stack_files,
    verify,
    warm,
)
from ops.archive import export, importing
from ops.docker_api import DockerUnavailableError
from ops.errors import OpsError
from plan import addressing
from plan.checks import SettingsError
from plan.images import ImageListError
from plan.settings import Settings
from toolchain import edge, talosctl
from toolchain.steps import SetupError

# Errors whose text is meant for the user.
KNOWN = (OpsError, SettingsError, ImageListError, SetupError, DockerUnavailableError)
# Commands with a module of their own: `add_arguments` and `run`, whose docstring is the help.
MODULES = {
    "doctor": doctor,
    "export": export,
    "import": importing,
    "ledger": ledger,
    "prune": prune,
    "repair": repair,
    "verify": verify,
    "warm": warm,
}


def main() -> int:
    """Run one command; returns the exit status."""
    arguments = _parser().parse_args()
    return edge.run(arguments.command, lambda: _run(arguments), KNOWN)


def _run(arguments: argparse.Namespace) -> int:
    try:
        status: int = arguments.run(arguments)
    except (DockerException, RequestException) as error:
        raise OpsError(f"Docker refused or went away: {error}") from error
    return status


def up(arguments: argparse.Namespace) -> int:
    """Check the stack file, clear what a killed run left, then `pulumi up`."""
    _renew_certificates(arguments.stack, _prepare(arguments.stack))
    _clear_interrupted(arguments.stack)
    ledger.note(arguments.stack)
    return pulumi_cli.run("up", "--yes", "--skip-preview", "--stack", arguments.stack)


def preview(arguments: argparse.Namespace) -> int:
    """Check the stack file, then `pulumi preview`."""
    _prepare(arguments.stack)
    return pulumi_cli.run("preview", "--stack", arguments.stack)


def down(arguments: argparse.Namespace) -> int:
    """`pulumi destroy`: the containers go, the volumes as `cache.onDestroy` says."""
    stack_files.path_of(arguments.stack)
    pulumi_cli.select(arguments.stack)
    _clear_interrupted(arguments.stack)
    ledger.note(arguments.stack)
    status = pulumi_cli.run("destroy", "--yes", "--skip-preview", "--stack", arguments.stack)
    if status == 0:
        private.remove(arguments.stack)
    return status


def cluster_up(arguments: argparse.Namespace) -> int:
    """`up`, for a stack that has a cluster: what is there already stays as it is."""
    clusters.of_settings(stack_files.check(arguments.stack), arguments.stack)
    return up(arguments)


def cluster_down(arguments: argparse.Namespace) -> int:
    """`pulumi destroy` of the cluster (or of one of several) alone: the caches stay."""
    stack_files.path_of(arguments.stack)
    pulumi_cli.select(arguments.stack)
    _clear_interrupted(arguments.stack)
    urns = clusters.urns(pulumi_cli.deployment(arguments.stack), arguments.cluster)
    if not urns:
        print(f"the stack '{arguments.stack}' has no such cluster up: nothing to do")
        return 0
    targets = [part for urn in urns for part in ("--target", urn)]
    destroy = ("destroy", "--yes", "--skip-preview", "--stack", arguments.stack)
    return pulumi_cli.run(*destroy, *targets)


def outputs(arguments: argparse.Namespace) -> int:
    """Print what the stack exported, for reading or as JSON."""
    stack_files.path_of(arguments.stack)
    pulumi_cli.select(arguments.stack)
    exported = pulumi_cli.stack_outputs(arguments.stack)
    if not exported:
        raise OpsError(f"the stack '{arguments.stack}' is not up: make up STACK={arguments.stack}")
    print(json.dumps(exported, indent=2) if arguments.json else _readable(exported))
    return 0


def new_stack(arguments: argparse.Namespace) -> int:
    """Copy a stack file under a new name and make the stack."""
    path = stack_files.copy(arguments.name, arguments.source)
    pulumi_cli.select(arguments.name)
    file = path.relative_to(stack_files.ROOT)
    print(f"{file} is yours to edit; then: make up STACK={arguments.name}")
    return 0


def _prepare(stack: str) -> Settings:
    settings = stack_files.check(stack)
    if settings.clusters:
        talosctl.offer()
    pulumi_cli.select(stack)
    return settings


def _renew_certificates(stack: str, settings: Settings) -> None:
    """Before the engine runs: what it plans depends on no clock."""
    if not settings.cache.tls:
        return
    asks = addressing.needs_bridge_gateway(settings)
    bridge = docker_api.bridge_gateway(docker_api.connect()) if asks else None
    for line in private.renew(stack, settings, addressing.resolve(settings, bridge)):
        print(line, file=sys.stderr)


def _clear_interrupted(stack: str) -> None:
    for line in interrupted.clear(stack):
        print(line, file=sys.stderr)


def _readable(exported: dict[str, object]) -> str:
    """Text as it is, ready to paste; everything else as JSON."""
    return "\n\n".join(
        f"# {name}\n{value if isinstance(value, str) else json.dumps(value, indent=2)}".rstrip()
        for name, value in exported.items()
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m ops", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for run in (up, preview, down, cluster_up, cluster_down, outputs):
        name = run.__name__.replace("_", "-")
        command = commands.add_parser(name, help=(run.__doc__ or "").splitlines()[0])
        command.add_argument("--stack", required=True)
        command.set_defaults(run=run)
        if run is cluster_down:
            command.add_argument("--cluster", default="", help="only this one of several")
        if run is outputs:
            command.add_argument("--json", action="store_true", help="as one JSON object")
    for name, module in MODULES.items():
        command = commands.add_parser(name, help=(module.run.__doc__ or "").splitlines()[0])
        command.add_argument("--stack", required=True)
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    command = commands.add_parser("new-stack", help="make a stack of your own from another")
    command.add_argument("--name", required=True)
    command.add_argument("--from", dest="source", default="docker")
    command.set_defaults(run=new_stack)
    return parser


if __name__ == "__main__":
    sys.exit(edge.run("ops", main))
