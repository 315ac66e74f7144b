"""`logs`: the requests to caches as readable lines: who asked for which image, hit or miss."""

import argparse
import heapq
import math
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile

import docker

from ops.commands.arguments import add_json, chosen_caches
from ops.docker import api
from ops.docker.cache_logs import CacheLog, log_of
from ops.docker.followed_logs import Came, followed
from ops.docker.volume_contents import links, links_in
from ops.errors import OpsError
from ops.stack import stack_files
from plan.caches.cache import Cache
from plan.traffic import hits, log_lines, request_log
from plan.traffic.hits import Judge, Served
from plan.traffic.log_lines import SINCE, Filter, Line
from plan.traffic.nodes import Nodes, nodes_of
from plan.traffic.request_log import Request
from plan.traffic.stored import stored

# Which of several requests has fetched something shows only if all of them are read.
JUDGED_TOGETHER_SECONDS = 60


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """The arguments of the command line.

    Attributes:
        upstreams: whose caches; empty for all.
        follow: go on with what comes.
        since: as the user writes it; empty for all that there is.
        node: name or address of the one whose requests are shown; empty for all.
        misses: show only what was fetched from an upstream.
    """

    stack: str
    upstreams: Sequence[str]
    follow: bool
    since: str
    node: str
    misses: bool
    as_json: bool


def add_arguments(command: argparse.ArgumentParser) -> None:
    """The options of the command."""
    command.add_argument("upstreams", nargs="*", metavar="UPSTREAM", help="only its cache")
    command.add_argument("--follow", "-f", action="store_true", help="go on with what comes")
    command.add_argument("--since", default="", metavar="TIME", help=f"from then on: {SINCE}")
    command.add_argument(
        "--node", default="", metavar="NAME", help="only requests of this node, or of this address"
    )
    command.add_argument(
        "--misses", action="store_true", help="only what was fetched from an upstream"
    )
    add_json(command, "print one JSON object a line")


def run(arguments: Arguments) -> int:
    """Show who pulled what through the caches, and whether it was there already."""
    settings = stack_files.check(arguments.stack)
    since = _since(arguments.since)
    nodes = nodes_of(settings)
    wanted = Filter(
        client=_client(arguments.node, nodes, arguments.stack), only_misses=arguments.misses
    )
    client = api.connect()
    logs = _logs(client, chosen_caches(settings, arguments.upstreams), arguments.stack)
    for log in logs:
        _tell_what_is_missing(log, since)
    shown = 0
    for cache, one in _served(client, logs, since, follow=arguments.follow):
        if one.request.ended >= since and wanted.shows(one):
            line = _line(cache, one, nodes)
            print(line.as_json() if arguments.as_json else line.as_text(), flush=arguments.follow)
            shown += 1
    if not shown:
        _tell_why_there_is_none(arguments, nodes)
    return 0


def _since(text: str) -> float:
    if not text:
        return 0
    try:
        return log_lines.since(text, time.time())
    except ValueError as error:
        raise OpsError(f"--since '{text}': {error}") from error


def _client(node: str, nodes: Nodes, stack: str) -> str:
    """The address that the requests of a node come from; empty for all nodes."""
    if not node:
        return ""
    address = nodes.address_of(node)
    if address is None:
        known = ", ".join(nodes.names.values()) or "none: it has no cluster"
        raise OpsError(f"--node '{node}': the stack '{stack}' has no such node; its nodes: {known}")
    return address


def _logs(client: docker.DockerClient, caches: Sequence[Cache], stack: str) -> tuple[CacheLog, ...]:
    """The logs of these caches, of those that are up."""
    logs = [log for cache in caches if (log := log_of(client, cache))]
    if not logs:
        down = ", ".join(cache.host for cache in caches) or "any upstream"
        raise OpsError(f"there is no log, because no cache of {down} is up: make up STACK={stack}")
    found = {log.cache.host for log in logs}
    for cache in caches:
        if cache.host not in found:
            print(f"{cache.host}: its cache is not up, so it has no log", file=sys.stderr)
    return tuple(logs)


def _tell_what_is_missing(log: CacheLog, since: float) -> None:
    missing = log.missing_until()
    if missing and log_lines.since(f"{missing}Z", 0) > since:
        print(
            f"{log.cache.host}: Docker has removed the log from before {missing.replace('T', ' ')} "
            "UTC, to keep it small",
            file=sys.stderr,
        )


def _tell_why_there_is_none(arguments: Arguments, nodes: Nodes) -> None:
    """Nothing was printed: say why, if it may be a surprise."""
    name = nodes.names.get(arguments.node, arguments.node)
    text = "no such requests in the logs"
    if name in nodes.hidden:
        text += (
            f": {name} runs on Docker, which may hide the address of a node from the caches; then "
            "its requests are among those of the address of a Docker bridge"
        )
    print(text, file=sys.stderr)


def _line(cache: Cache, one: Served, nodes: Nodes) -> Line:
    return Line(
        host=cache.host,
        repository=cache.referred_to(one.request.repository),
        node=nodes.names.get(one.request.client, ""),
        served=one,
    )


def _served(
    client: docker.DockerClient, logs: Sequence[CacheLog], since: float, *, follow: bool
) -> Iterator[tuple[Cache, Served]]:
    """The requests to all of these caches, in order of time; then those that come."""
    # What comes later is judged by what the volumes say then.
    end = time.time() if follow else math.inf
    found = links(client, [log.cache for log in logs])
    judges = {log.cache.host: Judge(stored(found.get(log.cache.host, {}))) for log in logs}
    begin = max(since - JUDGED_TOGETHER_SECONDS, 0)
    last = dict.fromkeys(judges, begin)
    for cache, one in merged(logs, judges, begin, end):
        last[cache.host] = max(last[cache.host], one.request.ended)
        yield cache, one
    if follow:
        yield from _coming(client, logs, judges, last)


def merged(
    logs: Sequence[CacheLog],
    judges: Mapping[str, Judge],
    begin: float = 0,
    end: float = math.inf,
) -> Iterator[tuple[Cache, Served]]:
    """The requests in these logs, in order of time.

    Args:
        logs: of caches.
        judges: host -> the one that knows its volume.
        begin: in seconds since 1970; what ended before is left out.
        end: what ended then or later is left out.
    """

    def of(log: CacheLog) -> Iterator[tuple[Cache, Served]]:
        requests = request_log.requests(log.lines(begin))
        asked = takewhile(lambda request: request.ended < end, requests)
        return ((log.cache, one) for one in hits.served(asked, judges[log.cache.host]))

    return heapq.merge(*map(of, logs), key=lambda pair: pair[1].request.ended)


def _coming(
    client: docker.DockerClient,
    logs: Sequence[CacheLog],
    judges: Mapping[str, Judge],
    last: Mapping[str, float],
) -> Iterator[tuple[Cache, Served]]:
    """The requests after the last ones, as they come."""
    for batch in followed(client, logs, last):
        fresh = {
            cache.host: _learn(client, cache, judges[cache.host], batch)
            for cache in {cache.host: cache for cache, _ in batch}.values()
        }
        for cache, came in batch:
            if isinstance(came, str):
                print(f"{cache.host}: {came}", file=sys.stderr)
            else:
                yield cache, judges[cache.host].served(came, is_fresh=fresh[cache.host])


def _learn(client: docker.DockerClient, cache: Cache, judge: Judge, batch: Sequence[Came]) -> bool:
    """Let a judge know these requests to its cache, and the volume now; false if that is closed."""
    asked = [one for its, one in batch if its is cache and isinstance(one, Request)]
    found = links_in(client, cache, {request.repository for request in asked})
    judge.learn(stored(found or {}))
    for request in asked:
        judge.note(request)
    return found is not None
