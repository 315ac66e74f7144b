"""The program `talos-cache`: one command for each thing that is done with a stack."""

import argparse
import json
import os
import sys
from collections.abc import Callable

from docker.errors import DockerException
from requests import RequestException

from host import entry_point
from host.errors import TalosCacheError
from host.installed import set_up_line
from host.paths import ROOT
from ops import caches, clusters, port_moves, whose
from ops.cluster import folder
from ops.commands import adopt, doctor, export, import_archive, ledger, prune, repair, verify, warm
from ops.docker import api, temporary_container
from ops.engine import cli
from ops.errors import OpsError
from ops.stack import recovery, secret_files, stack_files
from plan.caches import addressing
from plan.settings.stack import Settings
from plan.talos.cluster_transport import IDENTITY_VARIABLE, WARM_VARIABLE
from toolchain import talosctl

PROGRAM = "talos-cache"
DESCRIPTION = "Pull-through registry caches for local Talos Linux clusters, and the clusters."
# What follows the command in the last line of its help.
EXAMPLES = {
    "up": "--stack docker",
    "preview": "--stack docker",
    "down": "--stack docker",
    "cluster-up": "--stack docker-cluster",
    "cluster-down": "--stack docker-cluster",
    "outputs": "machineConfigPatch --stack docker",
    "adopt": "--stack docker",
    "doctor": "--stack docker",
    "export": "talos.tar.zst --stack docker",
    "import": "talos.tar.zst --stack docker",
    "ledger": "--stack docker",
    "prune": "--stack docker --to 20GB --keep images.txt",
    "repair": "--stack docker",
    "verify": "--stack docker --images images.txt",
    "warm": "--stack docker --images images.txt",
    "new-stack": "--name mine --from docker",
}
# What the engine shows in a secret's place.
SECRET = "[secret]"  # noqa: S105 - no secret
DESTROY = ("destroy", "--yes", "--skip-preview")
# Commands with a module of their own: `add_arguments` and `run`, whose docstring is the help.
MODULES = {
    "adopt": adopt,
    "doctor": doctor,
    "export": export,
    "import": import_archive,
    "ledger": ledger,
    "prune": prune,
    "repair": repair,
    "verify": verify,
    "warm": warm,
}
# These work on the caches' volumes, whoever has them in use; the others look for themselves.
ON_VOLUMES = ("export", "import", "ledger", "prune", "repair", "verify", "warm")
# What these end with is what the engine ends with, and it opens the stack's secrets.
OF_THE_ENGINE = ("up", "preview", "down", "cluster-up", "cluster-down")
# These have it open secrets, and fail with an error where it can't; their status says more.
WITH_SECRETS = ("adopt", "warm", "repair", "verify")


def program() -> int:
    """The console script `talos-cache`; returns the exit status."""
    return entry_point.run(PROGRAM, main)


def main() -> int:
    """Run one command; returns the exit status."""
    arguments = _parser().parse_args()
    came_to_an_end = []

    def work() -> int:
        ended_with = _run(arguments)
        came_to_an_end.append(arguments.command)
        return ended_with

    status = entry_point.run(arguments.command, work)
    explained = OF_THE_ENGINE if came_to_an_end else (*OF_THE_ENGINE, *WITH_SECRETS)
    if status not in (0, entry_point.INTERRUPTED) and arguments.command in explained:
        from ops import passphrase  # a third of a second to find out, and seldom the cause

        if text := passphrase.advice(arguments.stack):
            print(f"{arguments.command}: {text}", file=sys.stderr)
    return status


def _run(arguments: argparse.Namespace) -> int:
    try:
        if arguments.command in ON_VOLUMES:
            _refuse_others(arguments)
        status: int = arguments.run(arguments)
    except (DockerException, RequestException) as error:
        raise OpsError(f"Docker refused or went away: {error}") from error
    return status


def up(arguments: argparse.Namespace) -> int:
    """Check the stack file, clear what a killed run left, make room, then `pulumi up`."""
    settings = _prepare(arguments.stack)
    _clear_interrupted(arguments.stack)
    _renew_certificates(arguments.stack, settings)
    ledger.note(arguments.stack)
    _free_volumes(arguments.stack)
    for line in port_moves.make_room(arguments.stack, settings):
        print(line, file=sys.stderr)
    return cli.run(arguments.command, arguments.stack, "up", "--yes", "--skip-preview")


def preview(arguments: argparse.Namespace) -> int:
    """Check the stack file, then `pulumi preview`."""
    _prepare(arguments.stack)
    return cli.run(arguments.command, arguments.stack, "preview")


def down(arguments: argparse.Namespace) -> int:
    """`pulumi destroy`: the containers go, the volumes as `cache.onDestroy` says."""
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


def cluster_up(arguments: argparse.Namespace) -> int:
    """`up`, for a stack that has a cluster: what is there already stays as it is."""
    clusters.of_settings(stack_files.check(arguments.stack), arguments.stack)
    return up(arguments)


def cluster_down(arguments: argparse.Namespace) -> int:
    """`pulumi destroy` of the cluster (or of one of several) alone: the caches stay."""
    stack_files.path_of(arguments.stack)
    cli.select(arguments.stack)
    _clear_interrupted(arguments.stack)
    urns = clusters.urns(cli.deployment(arguments.stack), arguments.cluster)
    if not urns:
        print(f"the stack '{arguments.stack}' has no such cluster up: nothing to do")
        return 0
    targets = [part for urn in urns for part in ("--target", urn)]
    one = {"CLUSTER": arguments.cluster} if arguments.cluster else {}
    return cli.run(arguments.command, arguments.stack, *DESTROY, *targets, **one)


def outputs(arguments: argparse.Namespace) -> int:
    """Print what the stack exported, for reading or as JSON, or one output alone."""
    stack_files.path_of(arguments.stack)
    cli.select(arguments.stack)
    exported = cli.stack_outputs(arguments.stack)
    if not exported:
        raise OpsError(f"the stack '{arguments.stack}' is not up: make up STACK={arguments.stack}")
    if arguments.name:
        exported = {arguments.name: _one_output(exported, arguments)}
        if not arguments.json:
            print(_text(exported[arguments.name]).rstrip())
            return 0
    print(json.dumps(exported, indent=2) if arguments.json else _readable(exported))
    return 0


def new_stack(arguments: argparse.Namespace) -> int:
    """Copy a stack file under a new name and make the stack."""
    path = stack_files.copy(arguments.name, arguments.source)
    cli.select(arguments.name)
    file = path.relative_to(ROOT)
    print(f"{file} is yours to edit; then: make up STACK={arguments.name}")
    return 0


def _prepare(stack: str) -> Settings:
    settings = stack_files.check(stack)
    if settings.clusters:
        talosctl.offer()
    cli.select(stack)
    return settings


def _renew_certificates(stack: str, settings: Settings) -> None:
    """Before the engine runs: what it plans depends on no clock."""
    if not settings.cache.tls:
        return
    asks = addressing.needs_bridge_gateway(settings)
    bridge = api.bridge_gateway(api.connect()) if asks else None
    for line in secret_files.renew(stack, settings, addressing.resolve(settings, bridge)):
        print(line, file=sys.stderr)


def _tell_of_others(stack: str) -> None:
    """What looks like this stack's and is still there: the state did not know it.

    The stack is down, so that nothing that goes wrong here is a failure of that.
    """
    try:
        names = [cache.name for cache in caches.of_settings(stack_files.check(stack))]
        lines = whose.left_alone(stack, names)
    except (TalosCacheError, DockerException, RequestException) as error:
        lines = [f"note: caches that the state did not know were not looked for: {error}"]
    for line in lines:
        print(line, file=sys.stderr)


def _refuse_others(arguments: argparse.Namespace) -> None:
    """Stop before a command works on the volumes of caches that another state has in use."""
    if WARM_VARIABLE in os.environ:
        return  # the engine runs this as part of an `up`, which has looked
    settings = stack_files.check(arguments.stack)
    whose.refuse_others(arguments.stack, [one.name for one in caches.of_settings(settings)])


def _clear_interrupted(stack: str) -> None:
    for line in recovery.clear(stack):
        print(line, file=sys.stderr)
    if folder.is_moved(stack):
        # For commands of the state that were recorded before it was moved.
        os.environ[IDENTITY_VARIABLE] = folder.identity_of(stack)


def _free_volumes(stack: str) -> None:
    """Remove what killed commands left on volumes, any of which the engine may be about to remove.

    What keeps it from that is told, and is no reason not to go on.
    """
    try:
        if volumes := whose.recorded(stack).volumes:
            temporary_container.remove_from(api.connect(), volumes)
    except (TalosCacheError, DockerException, RequestException) as error:
        print(
            f"containers that a killed command left were not looked for: {error}", file=sys.stderr
        )


def _one_output(exported: dict[str, object], arguments: argparse.Namespace) -> object:
    """The value of the output that is asked for: into a file, where a mask would go unseen."""
    name, stack = arguments.name, arguments.stack
    if name not in exported:
        raise OpsError(f"there is no output {name}; the outputs are {', '.join(exported)}")
    if exported[name] == SECRET:
        raise OpsError(
            f"the output {name} holds a secret. In a shell that has run {set_up_line(stack)}: "
            f"pulumi stack output {name} --show-secrets --stack {stack}"
        )
    return exported[name]


def _readable(exported: dict[str, object]) -> str:
    """Every output below its name."""
    return "\n\n".join(f"# {name}\n{_text(value)}".rstrip() for name, value in exported.items())


def _text(value: object) -> str:
    """Text as it is, ready to paste; everything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, indent=2)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description=DESCRIPTION,
        epilog=_example("verify"),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for run in (up, preview, down, cluster_up, cluster_down, outputs):
        command = _command(commands, run.__name__.replace("_", "-"), run)
        command.add_argument("--stack", required=True)
        if run is cluster_down:
            command.add_argument("--cluster", default="", help="only this one of several")
        if run is outputs:
            command.add_argument("name", nargs="?", default="", help="of the only one to print")
            command.add_argument("--json", action="store_true", help="as one JSON object")
    for name, module in MODULES.items():
        command = _command(commands, name, module.run)
        command.add_argument("--stack", required=True)
        module.add_arguments(command)
    command = _command(commands, "new-stack", new_stack)
    command.add_argument("--name", required=True)
    command.add_argument("--from", dest="source", default="docker")
    return parser


def _command(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]",
    name: str,
    run: Callable[[argparse.Namespace], int],
) -> argparse.ArgumentParser:
    """The parser of one command; its help begins with the first line of the docstring."""
    does = (run.__doc__ or "").splitlines()[0]
    command = commands.add_parser(
        name,
        help=does,
        description=does,
        epilog=_example(name),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.set_defaults(run=run)
    return command


def _example(name: str) -> str:
    return f"example: {PROGRAM} {name} {EXAMPLES[name]}"


if __name__ == "__main__":
    sys.exit(entry_point.run(PROGRAM, main))
