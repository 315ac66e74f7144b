"""Runs tiers of tests, cheapest first, and stops what the set-up started.

`make test` runs those that need no parts of Talos, `make test-talos` the one that does.
"""

import argparse
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from toolchain import docker_engine

PYTHON = sys.executable
SHELLCHECK = str(Path(PYTHON).with_name("shellcheck"))
PYTEST = (PYTHON, "-m", "pytest", "-q", "-p", "no:cacheprovider")


@dataclass(frozen=True)
class Tier:
    """Commands that are run one after another until one fails.

    Attributes:
        docker: what a dockerd that the set-up started for it is for; None: it starts its own.
    """

    name: str
    commands: tuple[tuple[str, ...], ...]
    docker: str | None = "test"


TIERS = (
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
            (PYTHON, "-m", "coverage", "run", "-m", *PYTEST[2:], "tests/unit/plan"),
            (PYTHON, "-m", "coverage", "report"),
        ),
    ),
    Tier(
        "unit",
        (
            (
                *PYTEST,
                *(
                    "-m",
                    "not e2e and not offline and not talos and not private",
                    "--ignore=tests/unit/plan",
                ),
                *("-n", "2", "--dist", "loadfile"),
            ),
        ),
    ),
    # Two modules at a time: most of the time goes into starting the engine and its plugins.
    Tier(
        "e2e",
        (
            (PYTHON, "-m", "tests.real.caches.sweep"),
            (*PYTEST, "-m", "e2e", "-n", "2", "--dist", "loadfile", "--durations=10"),
        ),
    ),
)
# By itself only: it waits for time-outs, fills disks and kills caches.
OFFLINE = Tier(
    "offline",
    (
        (PYTHON, "-m", "tests.real.caches.sweep"),
        (*PYTEST, "-m", "offline", "-n", "2", "--dist", "loadfile", "--durations=15"),
    ),
)
# By itself only, so that the others stay quick: real registries that ask who one is.
PRIVATE = Tier(
    "private",
    (
        (PYTHON, "-m", "tests.real.caches.sweep"),
        (*PYTEST, "-m", "private", "-n", "2", "--dist", "loadfile", "--durations=10"),
    ),
)
# By itself only: the modules that make, change and read containers, on another Docker than the
# machine's. What an image store changes is images: on the second one run those that use them most.
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
ENGINE = (PYTHON, "-m", "tests.real.engines")
PARALLEL = ("-n", "2", "--dist", "loadfile", "--durations=10")
ENGINES = Tier(
    "engines",
    (
        (*ENGINE, "containerd", *PARALLEL, *IMAGES, *CONTAINERS),
        (*ENGINE, "overlay2", *PARALLEL, *IMAGES),
    ),
    docker=None,
)
# By itself only: it builds Talos, containerd and Kubernetes first, once.
TALOS = Tier(
    "talos",
    (
        (PYTHON, "-m", "tests.real.caches.sweep"),
        (PYTHON, "-m", "tests.real.talos.parts"),
        (*PYTEST, "-m", "talos", "--durations=15", "tests/real/talos"),
    ),
    docker="talos",
)


ALL = (*TIERS, OFFLINE, PRIVATE, ENGINES, TALOS)


def main() -> int:
    """Run the tiers asked for; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.tiers", description=__doc__)
    parser.add_argument("--only", choices=[tier.name for tier in ALL])
    only = parser.parse_args().only
    chosen = [tier for tier in ALL if tier.name == only] if only else TIERS
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
