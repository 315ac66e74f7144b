"""The ledger of a stack: when each image was last used, kept longer than the containers' logs."""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import docker

from host import progress_bar
from host.errors import TalosCacheError
from host.paths import PRIVATE
from host.private_files import private_folder, write_private
from ops.commands.arguments import add_json
from ops.docker import api
from ops.docker.cache_logs import log_of
from ops.errors import OpsError
from ops.stack import stack_files
from plan.caches.cache import Cache, of_settings
from plan.images import last_used
from plan.images.last_used import Ledger


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """The arguments of the command line."""

    stack: str
    as_json: bool


def add_arguments(command: argparse.ArgumentParser) -> None:
    """The options of the command."""
    add_json(command, "print the ledger as one JSON object")


def run(arguments: Arguments) -> int:
    """Record and print when each image was last used, from the caches' logs."""
    caches = of_settings(stack_files.check(arguments.stack))
    ledgers = updated(api.connect(), arguments.stack, caches)
    days = {host: dict(sorted(ledger.days.items())) for host, ledger in ledgers.items()}
    if arguments.as_json:
        print(json.dumps(days, indent=2))
    else:
        lines = sorted((day, f"{host}/{name}") for host in days for name, day in days[host].items())
        print("\n".join(f"{day}  {name}" for day, name in lines) or "no use recorded yet")
    return 0


def note(stack: str) -> None:
    """Update the ledger before containers are removed, and their logs with them.

    If that fails, say so and go on.
    """
    try:
        caches = of_settings(stack_files.check(stack))
        updated(api.connect(), stack, caches)
    except TalosCacheError as error:
        print(f"could not update the ledger of last uses: {error}", file=sys.stderr)


def updated(client: docker.DockerClient, stack: str, caches: Sequence[Cache]) -> dict[str, Ledger]:
    """Add what the caches' logs say since the last time; returns the ledgers by host.

    Raises:
        OpsError: the ledger or a log can't be read.
    """
    path = PRIVATE / f"ledger-{stack}.json"
    before = _read(path)
    ledgers = dict(before)
    with progress_bar.bar("reading logs", None) as bar:
        for cache in caches:
            log = log_of(client, cache)
            if log is None:
                continue  # it is not up: its ledger stays as it is
            known = ledgers.get(cache.host, Ledger())
            since = _unix(known.seen) if log.container == known.container else 0
            lines = log.lines(since, tell=bar.update)
            ledgers[cache.host] = last_used.noted(known, log.container, lines)
    if ledgers != before:
        private_folder(path.parent)
        write_private(path, last_used.dump(ledgers))
    return ledgers


def _unix(time: str) -> float:
    """From a timestamp of Docker's to seconds since 1970; 0 if it is empty."""
    return datetime.fromisoformat(f"{time[:19]}+00:00").timestamp() if time else 0


def _read(path: Path) -> dict[str, Ledger]:
    try:
        return last_used.parse(path.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise OpsError(f"the ledger {path} can't be read ({error}): remove it") from error
