"""Command line of the set-up: `python3 -m toolchain setup | stop-docker`."""

import argparse
import sys

from toolchain import docker_engine, engine, plugins, python_env, registry_image
from toolchain.environment import exports, shell_lines
from toolchain.steps import SetupError, say


def main() -> int:
    """Run one command; returns the exit status."""
    arguments = _parser().parse_args()
    try:
        if arguments.command == "stop-docker":
            docker_engine.stop_if_ours()
        else:
            print(setup(arguments.stack, dev=arguments.dev))
    except SetupError as error:
        say(f"set-up: {error}")
        return 1
    return 0


def setup(stack: str, *, dev: bool) -> str:
    """Bring everything in place; returns the lines to export."""
    python_env.ensure(dev=dev)
    docker = docker_engine.ensure()
    pulumi = engine.ensure()
    missing = plugins.ensure(pulumi)
    image = registry_image.ensure()
    say(f"using: {pulumi}; plugins {plugins.describe(missing)}; {docker}; {image}")
    return shell_lines(exports(stack))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python3 -m toolchain", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    prepare = commands.add_parser("setup", help="install what is missing, print lines to export")
    prepare.add_argument("--stack", default="docker", help="the stack you will work on")
    prepare.add_argument("--dev", action="store_true", help="also what tests and linters need")
    commands.add_parser("stop-docker", help="stop the dockerd that this project started")
    return parser


if __name__ == "__main__":
    sys.exit(main())
