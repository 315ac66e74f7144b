"""Day-two commands: `python -m ops up | preview | down | outputs | new-stack`."""

import argparse
import json
import sys

from ops import interrupted, pulumi_cli, stack_files
from ops.docker_api import DockerUnavailableError
from ops.errors import OpsError
from plan.checks import SettingsError


def main() -> int:
    """Run one command; returns the exit status."""
    arguments = _parser().parse_args()
    try:
        status: int = arguments.run(arguments)
    except (OpsError, SettingsError, DockerUnavailableError) as error:
        print(f"{arguments.command}: {error}", file=sys.stderr)
        return 1
    return status


def up(arguments: argparse.Namespace) -> int:
    """Check the stack file, clear what a killed run left, then `pulumi up`."""
    _prepare(arguments.stack)
    for line in interrupted.clear(arguments.stack):
        print(line, file=sys.stderr)
    return pulumi_cli.run("up", "--yes", "--skip-preview", "--stack", arguments.stack)


def preview(arguments: argparse.Namespace) -> int:
    """Check the stack file, then `pulumi preview`."""
    _prepare(arguments.stack)
    return pulumi_cli.run("preview", "--stack", arguments.stack)


def down(arguments: argparse.Namespace) -> int:
    """`pulumi destroy`: the containers go, the volumes as `cache.onDestroy` says."""
    stack_files.path_of(arguments.stack)
    pulumi_cli.select(arguments.stack)
    for line in interrupted.clear(arguments.stack):
        print(line, file=sys.stderr)
    return pulumi_cli.run("destroy", "--yes", "--skip-preview", "--stack", arguments.stack)


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


def _prepare(stack: str) -> None:
    stack_files.check(stack)
    pulumi_cli.select(stack)


def _readable(exported: dict[str, object]) -> str:
    """Text as it is, ready to paste; everything else as JSON."""
    return "\n\n".join(
        f"# {name}\n{value if isinstance(value, str) else json.dumps(value, indent=2)}".rstrip()
        for name, value in exported.items()
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m ops", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, run in (("up", up), ("preview", preview), ("down", down), ("outputs", outputs)):
        command = commands.add_parser(name, help=(run.__doc__ or "").splitlines()[0])
        command.add_argument("--stack", required=True)
        command.set_defaults(run=run)
        if run is outputs:
            command.add_argument("--json", action="store_true", help="as one JSON object")
    command = commands.add_parser("new-stack", help="make a stack of your own from another")
    command.add_argument("--name", required=True)
    command.add_argument("--from", dest="source", default="docker")
    command.set_defaults(run=new_stack)
    return parser


if __name__ == "__main__":
    sys.exit(main())
