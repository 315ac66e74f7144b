"""Runs tiers of tests, cheapest first, and stops what the set-up started.

`make test` runs the quick ones; each other one has a command of its own, and `.ci/run` runs all.
"""

import argparse
import os
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

from tests.real.engines.inside import FOR_TALOS, MACHINES, PYTEST
from toolchain import docker_engine

PYTHON = sys.executable
SHELLCHECK = str(Path(PYTHON).with_name("shellcheck"))
# What tests that were killed have left in Docker.
SWEEP = (PYTHON, "-m", "tests.real.caches.sweep")
ENGINE = (PYTHON, "-m", "tests.real.engines")
# Modules side by side: most of a module's time it waits for the engine, its plugins and Docker.
PARALLEL = ("-n", "3", "--dist", "loadfile", "--durations=10")


@dataclass(frozen=True)
class Tier:
    """Commands that are run one after another until one fails.

    Attributes:
        docker: what a dockerd that the set-up started for it is for; None: it starts its own.
    """

    name: str
    commands: tuple[tuple[str, ...], ...]
    docker: str | None = "test"

    def apart(self) -> "Tier":
        """The same on a Docker of its own, beside whatever else runs on this machine."""
        docker = FOR_TALOS if self.docker == FOR_TALOS else MACHINES
        commands = tuple(
            (*ENGINE, docker, *command[len(PYTEST) :]) if is_pytest(command) else command
            for command in self.commands
            if command != SWEEP
        )
        return replace(self, commands=commands, docker=None)


def is_pytest(command: tuple[str, ...]) -> bool:
    """Whether this is a run of pytest on the Docker that the set-up found or started."""
    return command[: len(PYTEST)] == PYTEST


# What everybody who changes something runs: whole stacks, as a user has them.
WHOLE_STACKS = (
    "tests/real/caches/test_clients.py",
    "tests/real/caches/test_earlier_states.py",
    "tests/real/caches/test_engine_yaml.py",
    "tests/real/caches/test_exposed_ports.py",
    "tests/real/caches/test_paths.py",
    "tests/real/caches/test_readme.py",
    "tests/real/caches/test_shipped_stacks.py",
)
# Folders of tests/real, each part of a tier of its own; whatever is elsewhere is a unit test.
CACHES_FOLDERS = ("tests/real/caches", "tests/real/fallback_plugins")
OFFLINE_FOLDER, PRIVATE_FOLDER, TALOS_FOLDER = (
    f"tests/real/{name}" for name in ("offline", "private", "talos")
)
PLAN_FOLDER = "tests/unit/plan"
ELSEWHERE = (*CACHES_FOLDERS, OFFLINE_FOLDER, PRIVATE_FOLDER, TALOS_FOLDER, PLAN_FOLDER)


def _without(paths: tuple[str, ...]) -> tuple[str, ...]:
    """Options that leave these out, before they are imported."""
    return tuple(f"--ignore={path}" for path in paths)


QUICK = (
    Tier(
        "check",
        (
            (PYTHON, "-m", "ruff", "format", "--check", "."),
            (PYTHON, "-m", "ruff", "check", "."),
            (PYTHON, "-m", "mypy"),
            (SHELLCHECK, "plan/caches/upstream_watchdog.sh", ".ci/run"),
        ),
    ),
    Tier(
        "plan",
        (
            (PYTHON, "-m", "coverage", "run", "-m", *PYTEST[2:], PLAN_FOLDER),
            (PYTHON, "-m", "coverage", "report"),
        ),
    ),
    Tier(
        "unit",
        ((*PYTEST, "tests", *_without(ELSEWHERE), "-n", "4", "--dist", "loadfile"),),
    ),
    Tier("e2e", (SWEEP, (*PYTEST, *PARALLEL, *WHOLE_STACKS))),
)
# Stacks that change, break, move and are shared; the fallback plugins beside recorded answers.
CACHES = Tier("caches", (SWEEP, (*PYTEST, *PARALLEL, *CACHES_FOLDERS, *_without(WHOLE_STACKS))))
# Waits for time-outs, fills disks and kills caches.
OFFLINE = Tier("offline", (SWEEP, (*PYTEST, *PARALLEL, OFFLINE_FOLDER)))
# Real registries that ask who one is.
PRIVATE = Tier("private", (SWEEP, (*PYTEST, *PARALLEL, PRIVATE_FOLDER)))
# The modules that make, change and read containers, on another Docker than the machine's. What an
# image store changes is images: on the second one run those that use them most.
IMAGES = (
    "tests/real/caches/test_shipped_stacks.py",
    "tests/real/offline/test_execute.py",
    "tests/real/offline/test_passing.py",
    "tests/real/fallback_plugins/test_docker_live.py",
)
CONTAINERS = (
    "tests/real/caches/test_changes.py",
    "tests/real/caches/test_published_ports.py",
    "tests/real/caches/test_trouble.py",
    "tests/real/fallback_plugins/test_transcripts_live.py",
)
ENGINES = Tier(
    "engines",
    (
        (*ENGINE, "containerd", *PARALLEL, *IMAGES, *CONTAINERS),
        (*ENGINE, "overlay2", *PARALLEL, *IMAGES),
    ),
    docker=None,
)
# A module has its Docker for itself. Side by side run two halves, each on a Docker of its own.
TALOS_HALVES = {
    # QEMU is installed by the tests, which needs a network.
    "1": ("away", "dead_cache", "earlier_states", "qemu", "qemu_addressing"),
    "2": ("cluster", "image_cache", "old_family", "private", "side_by_side", "talosctl"),
}


def _talos(half: str = "") -> Tier:
    """Builds Talos, containerd and Kubernetes first, once."""
    modules = [f"{TALOS_FOLDER}/test_{name}.py" for name in TALOS_HALVES.get(half, ())]
    return Tier(
        "talos",
        (
            SWEEP,
            (PYTHON, "-m", "tests.real.talos.parts"),
            (*PYTEST, "--durations=15", *(modules or [TALOS_FOLDER])),
        ),
        docker="talos",
    )


TALOS = _talos()
ALL = (*QUICK, CACHES, OFFLINE, PRIVATE, ENGINES, TALOS)


def main() -> int:
    """Run the tiers asked for; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.tiers", description=__doc__)
    parser.add_argument("--only", choices=[tier.name for tier in ALL])
    parser.add_argument("--apart", action="store_true", help="on a Docker of its own")
    parser.add_argument("--half", choices=TALOS_HALVES, help="of the tier talos")
    arguments = parser.parse_args()
    chosen = [tier for tier in ALL if tier.name == arguments.only] or list(QUICK)
    if arguments.half:
        chosen = [_talos(arguments.half)]
    if arguments.apart:
        chosen = [tier.apart() for tier in chosen]
    try:
        failed = [tier.name for tier in chosen if not _passes(tier)]
    finally:
        for purpose in {tier.docker for tier in chosen if tier.docker}:
            docker_engine.stop_if_ours(purpose)
    print(f"tiers failed: {', '.join(failed)}" if failed else "every tier passed")
    return 1 if failed else 0


def _passes(tier: Tier) -> bool:
    print(f"== tier {tier.name}", flush=True)
    started = time.monotonic()
    # Bytecode is wanted here even where the machine's user turned it off: hundreds of processes.
    env = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    passed = all(subprocess.run(command, env=env).returncode == 0 for command in tier.commands)
    outcome = "passed" if passed else "FAILED"
    print(f"== tier {tier.name} {outcome} in {time.monotonic() - started:.0f} s", flush=True)
    return passed


if __name__ == "__main__":
    sys.exit(main())
