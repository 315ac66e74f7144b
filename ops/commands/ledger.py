"""The ledger of a stack: when each image was last used, kept beyond its containers' logs."""

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import docker
from docker.errors import APIError, NotFound

from host import progress_bar
from host.errors import TalosCacheError
from host.paths import PRIVATE
from host.private_files import private_folder, write_private
from ops.commands.arguments import add_json
from ops.docker import api
from ops.errors import OpsError
from ops.stack import stack_files
from plan.caches.cache import Cache, of_settings
from plan.images import last_used
from plan.images.last_used import Ledger


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """What the command line says."""

    stack: str
    as_json: bool


def add_arguments(command: argparse.ArgumentParser) -> None:
    """The options of the command."""
    add_json(command, "the ledger as one JSON object")


def run(arguments: Arguments) -> int:
    """Note when each image was last used; a log goes with its container, the ledger stays."""
    caches = of_settings(stack_files.check(arguments.stack))
    noted = brought_up_to_date(api.connect(), arguments.stack, caches)
    days = {host: dict(sorted(one.days.items())) for host, one in noted.items()}
    if arguments.as_json:
        print(json.dumps(days, indent=2))
    else:
        lines = sorted((day, f"{host}/{name}") for host in days for name, day in days[host].items())
        print("\n".join(f"{day}  {name}" for day, name in lines) or "no use was seen so far")
    return 0


def note(stack: str) -> None:
    """Bring the ledger up to date before containers go, and their logs with them.

    What keeps it from that is told, and is no reason not to go on.
    """
    try:
        caches = of_settings(stack_files.check(stack))
        brought_up_to_date(api.connect(), stack, caches)
    except TalosCacheError as error:
        print(f"the ledger of last uses was not brought up to date: {error}", file=sys.stderr)


def brought_up_to_date(
    client: docker.DockerClient, stack: str, caches: Sequence[Cache]
) -> dict[str, Ledger]:
    """Add what the caches' logs say since the last time; the ledgers by host.

    Raises:
        OpsError: the ledger or a log can't be read.
    """
    path = PRIVATE / f"ledger-{stack}.json"
    before = _read(path)
    noted = dict(before)
    with progress_bar.bar("reading logs", None) as bar:
        for cache in caches:
            try:
                container = client.api.inspect_container(cache.name)["Id"]
                known = noted.get(cache.host, Ledger())
                since = known.seen if container == known.container else ""
                log = _lines(client, container, since, bar.update)
                noted[cache.host] = last_used.noted(known, container, log)
            except NotFound:
                continue  # it is not up: what is noted stays
            except APIError as error:
                raise OpsError(f"the log of {cache.name} can't be read: {error}") from error
    if noted != before:
        private_folder(path.parent)
        write_private(path, last_used.dump(noted))
    return noted


def _lines(
    client: docker.DockerClient, container: str, since: str, tell: Callable[[int], object]
) -> Iterator[str]:
    """The lines of a log from the second of `since` on, with Docker's time in front."""
    rest = b""
    more = (
        {"since": int(datetime.fromisoformat(f"{since[:19]}+00:00").timestamp())} if since else {}
    )
    for chunk in client.api.logs(container, stream=True, follow=False, timestamps=True, **more):
        tell(len(chunk))
        *lines, rest = (rest + chunk).split(b"\n")
        yield from (line.decode(errors="replace") for line in lines)


def _read(path: Path) -> dict[str, Ledger]:
    try:
        return last_used.parse(path.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise OpsError(f"the ledger {path} can't be read ({error}): remove it") from error
