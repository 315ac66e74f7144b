"""`status`: what each cache is doing, and what it saves. No upstream is asked anything."""

import argparse
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import docker
from docker.errors import APIError, DockerException, NotFound
from docker.utils.socket import STDOUT

from host import console
from ops.cluster.folder import folder_of, owner_of
from ops.cluster.record import RecordError
from ops.commands.arguments import add_json
from ops.docker import api
from ops.docker.cache_logs import log_of
from ops.docker.volumes import MOUNT, opened
from ops.errors import OpsError
from ops.registry import endpoints
from ops.stack import stack_files
from plan.caches.cache import Cache, of_settings
from plan.ownership import PROJECT_LABEL
from plan.settings.stack import Settings
from plan.traffic import request_log, status, status_page
from plan.traffic.nodes import Nodes, nodes_of
from plan.traffic.status import CacheStatus, Held, Inside
from plan.upstreams import slug

AT_ONCE = 8
WATCH_SECONDS = 2.0
# In these the last pull of each node is looked for.
LAST_LINES = 500
# A container of that name that this project has not made.
FOREIGN = "foreign"
CLEAR = "\033[H\033[2J"


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """The arguments of the command line."""

    stack: str
    watch: bool
    markdown: bool
    as_json: bool


def add_arguments(command: argparse.ArgumentParser) -> None:
    """The options of the command."""
    shapes = command.add_mutually_exclusive_group()
    shapes.add_argument(
        "--watch",
        action="store_true",
        help=f"again every {WATCH_SECONDS:g} s; without a terminal, a line for each change",
    )
    shapes.add_argument(
        "--markdown", action="store_true", help="print a Markdown table, for a summary in CI"
    )
    add_json(shapes)


def run(arguments: Arguments) -> int:
    """Show what each cache is doing: health, upstream, images, hits, and what it saves."""
    settings = stack_files.check(arguments.stack)
    client = api.connect()
    if arguments.watch:
        _watch(lambda: _rows(client, arguments.stack, settings))
    rows = _rows(client, arguments.stack, settings)
    now = time.time()
    if arguments.as_json:
        print(status_page.as_json(rows))
    elif arguments.markdown:
        print(status_page.as_markdown(rows, now))
    else:
        print(status_page.as_text(rows, now, console.width()))
    return 0


def _watch(look: Callable[[], Sequence[CacheStatus]]) -> None:
    """Look again and again until interrupted."""
    shown: list[str] = []
    while True:
        rows = look()
        if console.is_terminal():
            text = status_page.as_text(rows, time.time(), console.width())
            print(f"{CLEAR}{text}", flush=True)
        else:
            lines = status_page.as_lines(rows)
            for line in lines:
                if line not in shown:
                    print(f"{time.strftime('%H:%M:%S')} {line}", flush=True)
            shown = lines
        time.sleep(WATCH_SECONDS)


def _rows(client: docker.DockerClient, stack: str, settings: Settings) -> list[CacheStatus]:
    caches = of_settings(settings)
    nodes = nodes_of(settings)
    pointing = _pointing(stack, settings)
    with ThreadPoolExecutor(max_workers=AT_ONCE) as pool:
        states = dict(zip(caches, pool.map(lambda one: _state(client, one), caches), strict=True))
        running = [cache for cache in caches if states[cache].get("Running")]
        inside = pool.map(lambda one: _inside(client, one, settings.offline), running)
        last = pool.map(lambda one: _pulls(client, one, nodes), caches)
        seen = dict(zip(running, inside, strict=True))
        pulls = dict(zip(caches, last, strict=True))
        harbor = pool.submit(_harbor, settings)
        held = _held(client, [cache for cache in caches if not seen.get(cache)])
    rows = [
        CacheStatus(
            host=cache.host,
            name=cache.name,
            health=_health(states[cache]),
            inside=seen.get(cache),
            held=found.held if (found := seen.get(cache)) else held.get(cache.host),
            clusters=pointing.get(cache.host, ()),
            pulls=pulls[cache],
        )
        for cache in caches
    ]
    return [*rows, *harbor.result()]


def _state(client: docker.DockerClient, cache: Cache) -> Mapping[str, Any]:
    try:
        there = client.api.inspect_container(cache.name)
    except NotFound:
        return {}
    if PROJECT_LABEL not in (there["Config"]["Labels"] or {}):
        return {"Status": FOREIGN}
    state: Mapping[str, Any] = there["State"]
    return state


def _health(state: Mapping[str, Any]) -> str:
    """In a word or two."""
    if not state:
        return "not up"
    if state["Status"] != "running":
        return str(state["Status"])
    return str((state.get("Health") or {}).get("Status") or "running")


def _inside(client: docker.DockerClient, cache: Cache, offline: bool) -> Inside | None:
    """What a running cache shows; None if it can't be looked into, as while it is paused."""
    try:
        _, frames = api.execute(
            client, cache.name, ["sh", "-c", status.SCRIPT, "sh", status.HELD_SCRIPT]
        )
        printed = b"".join(some for stream, some in frames if stream == STDOUT)
    except (APIError, DockerException):
        return None
    return status.read(printed.decode(errors="replace"), offline=offline)


def _held(client: docker.DockerClient, caches: Sequence[Cache]) -> dict[str, Held]:
    """Host -> what is in the volume of a cache that does not run."""
    if not caches:
        return {}
    try:
        with opened(client, caches) as volumes:
            found = {
                cache.host: status.read_held(
                    volumes.run(
                        "sh", "-c", status.HELD_SCRIPT, "sh", f"{MOUNT}/{slug(cache.host)}"
                    ).decode()
                )
                for cache in volumes.present
            }
    except OpsError as error:
        print(f"status: what stopped caches hold can't be read: {error}", file=sys.stderr)
        return {}
    return {host: held for host, held in found.items() if held}


def _pulls(client: docker.DockerClient, cache: Cache, nodes: Nodes) -> dict[str, float]:
    """Who pulled last, and when, by the end of the cache's log."""
    try:
        log = log_of(client, cache)
        requests = request_log.requests(log.lines(last=LAST_LINES)) if log else ()
        return {
            nodes.name_of(request.client): request.ended
            for request in requests
            if request.is_from_node and request.is_well
        }
    except OpsError as error:
        print(f"status: {error}", file=sys.stderr)
        return {}


def _pointing(stack: str, settings: Settings) -> dict[str, tuple[str, ...]]:
    """Host -> clusters of the stack that have a mirror for it, by what was set on their nodes."""
    pointing: dict[str, tuple[str, ...]] = {}
    for cluster in settings.clusters:
        try:
            recorded = folder_of(stack, cluster.name).recorded(owner_of(stack))
        except RecordError as error:
            print(f"status: {error}", file=sys.stderr)
            continue
        for host in recorded.mirrors if recorded and recorded.is_complete else ():
            pointing[host] = (*pointing.get(host, ()), cluster.name)
    return pointing


def _harbor(settings: Settings) -> list[CacheStatus]:
    """A row for each upstream behind Harbor, which counts for itself."""
    if not settings.behind_harbor or settings.harbor is None:
        return []
    answer = endpoints.answer(settings.harbor.url)
    health = "Harbor answers" if not answer.why_not else "Harbor away"
    return [
        CacheStatus(host=upstream.host, name="", health=health)
        for upstream in settings.behind_harbor
    ]
