"""The program `talos-cache`: one command for each task on a stack."""

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
    list_images,
    logs,
    prune,
    purge,
    repair,
    status,
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
    "list": "docker.io --stack docker --sort size",
    "logs": "docker.io --stack docker --misses",
    "prune": "--stack docker --to 20GB --keep images.txt",
    "purge": "docker.io/library/busybox:1.36 --stack docker",
    "repair": "--stack docker",
    "status": "--stack docker --watch",
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
    "list": list_images,
    "logs": logs,
    "prune": prune,
    "purge": purge,
    "repair": repair,
    "status": status,
    "verify": verify,
    "warm": warm,
}
# These look into the caches: first make sure that they are this stack's. Others check it later.
ON_VOLUMES = (
    "export",
    "import",
    "ledger",
    "list",
    "logs",
    "prune",
    "purge",
    "repair",
    "status",
    "verify",
    "warm",
)
# These exit with the status of the engine, which decrypts the stack's secrets.
OF_THE_ENGINE = ("up", "preview", "down", "cluster-up", "cluster-down")
# These decrypt secrets with the engine and raise an error if that fails; their status says more.
WITH_SECRETS = ("adopt", "warm", "repair", "verify")


def program() -> int:
    """The console script `talos-cache`; returns the exit status."""
    return entry_point.run(PROGRAM, main)


def main() -> int:
    """Run one command; returns the exit status."""
    namespace = _parser().parse_args()
    returned = []

    def work() -> int:
        returned.append(_run(namespace))
        return returned[-1]

    status = entry_point.run(namespace.command, work)
    explained = OF_THE_ENGINE if returned else (*OF_THE_ENGINE, *WITH_SECRETS)
    if status not in (0, entry_point.INTERRUPTED) and namespace.command in explained:
        from ops import passphrase  # takes a third of a second, and is rarely the cause

        if text := passphrase.advice(namespace.stack):
            print(f"{namespace.command}: {text}", file=sys.stderr)
    return status


def _run(namespace: argparse.Namespace) -> int:
    try:
        if namespace.command in ON_VOLUMES:
            _refuse_others(namespace.stack)
        status: int = namespace.run(arguments.read(namespace.kind, namespace))
    except DockerException as error:  # APIError is also a RequestException: this comes first
        raise OpsError(f"Docker reported an error: {error}") from error
    except RequestException as error:  # only the docker package uses requests
        raise OpsError(f"Docker stopped answering: {error}") from error
    return status


def _refuse_others(stack: str) -> None:
    """Stop before a command works on the volumes of another state's caches."""
    if WARM_VARIABLE in os.environ:
        return  # the engine runs this as part of an `up`, which has checked
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
        _add_stack(command)
        if run is lifecycle.cluster_down:
            command.add_argument(
                "--cluster", default="", metavar="NAME", help="take down only this cluster"
            )
        if run is lifecycle.outputs:
            command.add_argument("name", nargs="?", default="", help="print only this output")
            arguments.add_json(command, "print one JSON object")
    for name, module in MODULES.items():
        command = _command(commands, name, module.run, module.Arguments)
        _add_stack(command)
        module.add_arguments(command)
    command = _command(commands, "new-stack", lifecycle.new_stack, lifecycle.NewStackArguments)
    command.add_argument("--name", required=True, help="name of the new stack")
    command.add_argument(
        "--from",
        dest="source",
        default="docker",
        metavar="NAME",
        help="stack whose file is copied (default: %(default)s)",
    )
    return parser


def _add_stack(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--stack", required=True, metavar="NAME", help="the stack of stacks/Pulumi.NAME.yaml"
    )


def _command(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]",
    name: str,
    run: Callable[[Any], int],
    kind: type,
) -> argparse.ArgumentParser:
    """Add the parser of one command; its help begins with the first line of `run`'s docstring.

    Args:
        commands: subparsers of the program.
        name: of the command.
        run: the function that does it.
        kind: the frozen dataclass of its arguments.
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
