"""The program `talos-cache`: one command for each thing that is done with a stack."""

import argparse
import os
import sys
from collections.abc import Callable
from typing import Any

from docker.errors import DockerException
from requests import RequestException

from host import entry_point
from ops import whose
from ops.commands import (
    adopt,
    arguments,
    doctor,
    export,
    import_archive,
    ledger,
    lifecycle,
    prune,
    repair,
    verify,
    warm,
)
from ops.errors import OpsError
from ops.stack import stack_files
from plan.caches.cache import of_settings
from plan.talos.cluster_transport import WARM_VARIABLE

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
# Commands of `lifecycle`, and the arguments of each.
LIFECYCLE: dict[Callable[[Any], int], type] = {
    lifecycle.up: lifecycle.Arguments,
    lifecycle.preview: lifecycle.Arguments,
    lifecycle.down: lifecycle.Arguments,
    lifecycle.cluster_up: lifecycle.Arguments,
    lifecycle.cluster_down: lifecycle.ClusterDownArguments,
    lifecycle.outputs: lifecycle.OutputsArguments,
}
# Commands with a module of their own: `Arguments`, `add_arguments`, and `run`, whose docstring is
# the help.
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
    namespace = _parser().parse_args()
    came_to_an_end = []

    def work() -> int:
        ended_with = _run(namespace)
        came_to_an_end.append(namespace.command)
        return ended_with

    status = entry_point.run(namespace.command, work)
    explained = OF_THE_ENGINE if came_to_an_end else (*OF_THE_ENGINE, *WITH_SECRETS)
    if status not in (0, entry_point.INTERRUPTED) and namespace.command in explained:
        from ops import passphrase  # a third of a second to find out, and seldom the cause

        if text := passphrase.advice(namespace.stack):
            print(f"{namespace.command}: {text}", file=sys.stderr)
    return status


def _run(namespace: argparse.Namespace) -> int:
    try:
        if namespace.command in ON_VOLUMES:
            _refuse_others(namespace.stack)
        status: int = namespace.run(arguments.read(namespace.kind, namespace))
    except (DockerException, RequestException) as error:
        raise OpsError(f"Docker refused or went away: {error}") from error
    return status


def _refuse_others(stack: str) -> None:
    """Stop before a command works on the volumes of caches that another state has in use."""
    if WARM_VARIABLE in os.environ:
        return  # the engine runs this as part of an `up`, which has looked
    settings = stack_files.check(stack)
    whose.refuse_others(stack, [cache.name for cache in of_settings(settings)])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description=DESCRIPTION,
        epilog=_example("verify"),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for run, kind in LIFECYCLE.items():
        command = _command(commands, run.__name__.replace("_", "-"), run, kind)
        command.add_argument("--stack", required=True)
        if run is lifecycle.cluster_down:
            command.add_argument("--cluster", default="", help="only this one of several")
        if run is lifecycle.outputs:
            command.add_argument("name", nargs="?", default="", help="of the only one to print")
            arguments.add_json(command, "as one JSON object")
    for name, module in MODULES.items():
        command = _command(commands, name, module.run, module.Arguments)
        command.add_argument("--stack", required=True)
        module.add_arguments(command)
    command = _command(commands, "new-stack", lifecycle.new_stack, lifecycle.NewStackArguments)
    command.add_argument("--name", required=True)
    command.add_argument("--from", dest="source", default="docker")
    return parser


def _command(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]",
    name: str,
    run: Callable[[Any], int],
    kind: type,
) -> argparse.ArgumentParser:
    """The parser of one command; its help begins with the first line of the docstring.

    Args:
        commands: of the program.
        name: of the command.
        run: does it.
        kind: of its arguments, a frozen dataclass.
    """
    does = (run.__doc__ or "").splitlines()[0]
    command = commands.add_parser(
        name,
        help=does,
        description=does,
        epilog=_example(name),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.set_defaults(run=run, kind=kind)
    return command


def _example(name: str) -> str:
    return f"example: {PROGRAM} {name} {EXAMPLES[name]}"


if __name__ == "__main__":
    sys.exit(entry_point.run(PROGRAM, main))
