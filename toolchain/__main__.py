"""Command line of the set-up: `python3 -m toolchain setup | stop-docker | talosctl | clean`."""

import argparse
import gzip
import json
import shutil
import subprocess
import sys
import zlib
from collections.abc import Collection, Sequence
from contextlib import suppress
from pathlib import Path

from host import entry_point, passphrases
from host.console import say
from host.docker_endpoint import Endpoint
from host.errors import SetupError
from host.locks import only_one
from host.paths import DEMO_STATE, PRIVATE, ROOT, STATE, VENV, WORK
from toolchain import (
    clients,
    docker_engine,
    engine,
    launchers,
    places,
    plugins,
    python_env,
    registry_image,
    talosctl,
)
from toolchain.environment import exports, shell_lines
from toolchain.versions import TALOSCTL

# Tests that start their own Docker: the machine's stays free for others.
OWN_DOCKER = "engines"
# Two runs in one checkout would overwrite each other's virtual environment.
LOCK = WORK / "set-up.lock"
# Of the engine's state files; PULUMI_DIY_BACKEND_GZIP and _ZSTD make it compress them.
ENDINGS = (".json", ".json.gz", ".json.zst")
# A folder per project; before the engine had projects, it kept them all in one folder.
STACKS = ".pulumi/stacks/**/*"
# Runs in the project's own Python, which has zstandard: this one may not.
UNPACK_ZSTD = """
import sys, zstandard
packed = sys.stdin.buffer.read()
sys.stdout.buffer.write(zstandard.ZstdDecompressor().decompressobj().decompress(packed))
"""


def main() -> int:
    """Run one command; returns the exit status."""
    arguments = _parser().parse_args()
    if arguments.command == "stop-docker":
        docker_engine.stop_if_ours(arguments.purpose)
    elif arguments.command == "talosctl":
        places.check()
        print(talosctl.ensure(arguments.version))
    elif arguments.command == "clean":
        clean()
    else:
        print(setup(arguments.stack, arguments.purpose, dev=arguments.dev))
    return 0


def setup(stack: str, purpose: str, *, dev: bool) -> str:
    """Put everything in place, one run at a time; returns the lines to export."""
    home = places.check()  # first: all other steps use the home folder
    endpoint = docker_engine.choose()
    with only_one(LOCK):
        python_env.ensure(dev=dev)
        launchers.ensure_command()
        docker = _ensure_docker(endpoint, purpose)
        if purpose in ("demo", "test", OWN_DOCKER):
            clients.ensure_skopeo()
        pulumi = engine.ensure()
        missing = plugins.ensure(pulumi)
        say(f"using: {pulumi}; plugins {plugins.describe(missing)}; {docker}")
        return shell_lines({**home, **exports(stack, endpoint)})


def _ensure_docker(endpoint: Endpoint, purpose: str) -> str:
    """Make sure of Docker and the registry's image; returns a phrase that describes both."""
    if purpose == OWN_DOCKER:
        docker_engine.ensure_client()
        return "a Docker that the tests start"
    return f"{docker_engine.ensure(endpoint, purpose)}; {registry_image.ensure()}"


def clean() -> None:
    """Remove the working folder, except a passphrase that stack files are encrypted with.

    Raises:
        SetupError: a stack still has resources, which could not be destroyed afterwards.
    """
    with only_one(LOCK):
        _clean()


def _clean() -> None:
    for state in _states(STATE):
        if has_resources(state):
            stack = state.name.partition(".json")[0]
            raise SetupError(f"the stack '{stack}' is up: make down STACK={stack}")
    if any(map(has_resources, _states(DEMO_STATE))):
        raise SetupError("the demo is up (kept with KEEP=1, or killed): make demo takes it down")
    docker_engine.stop_if_ours("use")
    needed_by = passphrases.stacks_that_need_it()
    passphrase = PRIVATE / passphrases.OWN
    # The record of a dockerd that still runs is needed to stop it later.
    in_use = {LOCK, *docker_engine.files_in_use()}
    _empty(WORK, {*in_use, PRIVATE} if needed_by else in_use)
    if needed_by:
        _empty(PRIVATE, {passphrase})
        say(
            f"kept {passphrase}: any secrets in {_listed(needed_by)} are encrypted with this "
            "passphrase, and nothing else can decrypt them. Keep a copy of it, or remove both "
            "when you no longer need them"
        )
    LOCK.unlink()  # last: a run that was waiting for it finds nothing half removed
    with suppress(OSError):  # it is not empty
        WORK.rmdir()


def _states(folder: Path) -> list[Path]:
    return sorted(state for state in folder.glob(STACKS) if state.name.endswith(ENDINGS))


def _empty(folder: Path, kept: Collection[Path]) -> None:
    for path in set(folder.iterdir()) - set(kept):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink()


def _listed(files: Sequence[Path]) -> str:
    return ", ".join(str(file.relative_to(ROOT)) for file in files)


def has_resources(state: Path) -> bool:
    """Whether a state file of the engine has a stack with resources.

    Raises:
        SetupError: it can't be read, so there is no way to tell.
    """
    try:
        content = json.loads(_unpacked(state))
        latest = (content.get("checkpoint") or {}).get("latest") if content is not None else None
        return bool(latest and latest.get("resources"))
    # A ValueError: not JSON, or not text.
    except (
        OSError,
        EOFError,
        ValueError,
        AttributeError,
        RecursionError,
        zlib.error,
        subprocess.CalledProcessError,
    ) as error:
        raise SetupError(
            f"{state} can't be read: it is empty or truncated, and its stack's resources may still "
            f"exist. Take the stack down; if that fails, replace the file with the previous state "
            f"({state}.bak) and try again, or remove it"
        ) from error


def _unpacked(state: Path) -> bytes:
    packed = state.read_bytes()
    if state.suffix == ".gz":
        return gzip.decompress(packed)
    if state.suffix == ".zst":
        python = VENV / "bin" / "python"
        if not python.exists():
            raise SetupError(
                f"{state} is compressed with zstd, which this Python can't read, and {VENV}, whose "
                f"Python can, does not exist. Run make setup, then make clean again"
            )
        return subprocess.run(
            [python, "-c", UNPACK_ZSTD], input=packed, capture_output=True, check=True
        ).stdout
    return packed


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python3 -m toolchain", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    prepare = commands.add_parser("setup", help="install what is missing, print lines to export")
    prepare.add_argument("--stack", default="docker", help="the stack you will work on")
    prepare.add_argument("--dev", action="store_true", help="also what tests and linters need")
    stop = commands.add_parser("stop-docker", help="stop the dockerd that this project started")
    for command in (prepare, stop):
        command.add_argument(
            "--for",
            dest="purpose",
            choices=("use", "demo", "test", "talos", OWN_DOCKER),
            default="use",
            help="what a dockerd started by this project is for",
        )
    build = commands.add_parser("talosctl", help="build a talosctl, print its path")
    build.add_argument("version", choices=TALOSCTL)
    commands.add_parser("clean", help="remove this checkout's tools and state")
    return parser


if __name__ == "__main__":
    sys.exit(entry_point.run("set-up", main))
