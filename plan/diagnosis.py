"""From facts about a stack's caches and nodes to a report: what is fine, what is not, what to do.

`ops/commands/doctor.py` collects the facts.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from plan.caches.cache_plan import CachePlan
from plan.talos.mirror_updates import Entry, document_entries, endpoint_url, legacy_entries, patches
from plan.talos.mirrors import patch_documents
from plan.talos.node_commands import patch_line
from plan.talos.talosctl import Place
from plan.traffic.rate_limit import RateLimit

OK = "ok"
WARNING = "warning"
PROBLEM = "problem"
# The owner of a container that this project did not create.
NO_STACK = "none of this project's stacks"
# How long containerd and Talos wait for a mirror that drops packets, at every request.
DIAL_SECONDS = 30
# With less room on its disk, a cache may not have enough for the next large layer.
SCANT_BYTES = 1_000_000_000


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One line of the report.

    Attributes:
        state: OK, WARNING or PROBLEM.
        about: the part that was checked.
        text: the finding.
        fix: what to do, usually a command; every problem has one.
    """

    state: str
    about: str
    text: str
    fix: str = ""


def well(about: str, text: str) -> Finding:
    """Everything is as it should be."""
    return Finding(state=OK, about=about, text=text)


def warning(about: str, text: str, fix: str | None = None) -> Finding:
    """Something to know, and what to do, if anything."""
    return Finding(state=WARNING, about=about, text=text, fix=fix or "")


def problem(about: str, text: str, fix: str) -> Finding:
    """Something that doesn't work, and what to do."""
    return Finding(state=PROBLEM, about=about, text=text, fix=fix)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """How a server answers.

    Attributes:
        why_not: why it doesn't, as a half sentence; None if it does.
        silent: whether nothing came before the timeout, instead of an error at once.
    """

    why_not: str | None = None
    silent: bool = False


ANSWERS = Answer()


@dataclass(frozen=True, kw_only=True)
class ContainerFacts:
    """Docker's information about a cache's container.

    Attributes:
        whose: its owner, for messages; None if it is the stack's own.
        status: as Docker calls it, such as "running" or "exited".
        exit_status: of its last run; 0 while it runs.
        healthy: False only if its health check fails.
        restarts: how often Docker has restarted it since it was last started on purpose.
        more_restarts: how many of these happened during the check.
        published: (address, port) of this host.
        volume: name of the volume with its data; empty if that is not a named volume.
    """

    whose: str | None
    status: str
    exit_status: int
    healthy: bool
    restarts: int
    more_restarts: int
    published: frozenset[tuple[str, int]]
    volume: str


@dataclass(frozen=True, kw_only=True)
class CacheFacts:
    """Facts about one cache.

    Attributes:
        container: None if there is none.
        has_volume: whether Docker has the volume.
        size: bytes in the volume; None if not measured.
        room: bytes left on the volume's disk; None if not measured.
        answer: to this machine.
        upstream: how the upstream answers the cache; None if it was not contacted.
        unwell: sentences on why images can't be pulled: how the upstream answers this machine, and
            what the watchdog in the container reports.
        cut_off: the cache's error when it needs its upstream, although that answers this machine;
            None if there is none.
        limit: on pulls from the upstream; None if it names none.
    """

    container: ContainerFacts | None
    has_volume: bool
    size: int | None = None
    room: int | None = None
    answer: Answer = ANSWERS
    upstream: Answer | None = None
    unwell: tuple[str, ...] = ()
    cut_off: str | None = None
    limit: RateLimit | None = None


@dataclass(frozen=True, kw_only=True)
class NodeFacts:
    """Facts about one live node.

    Attributes:
        cluster: its name.
        address: of the node.
        config: the documents of its machine config.
        answers: URL of every endpoint in it -> how that answers the node.
        from_here: the same, for this machine.
        own_view: whether `answers` were collected in the node's own network.
        place: of talosctl's files, to show the command that patches the node.
    """

    cluster: str
    address: str
    config: Sequence[Mapping[str, Any]]
    answers: Mapping[str, Answer]
    from_here: Mapping[str, Answer]
    own_view: bool
    place: Place


def of_cache(plan: CachePlan, facts: CacheFacts, stack: str) -> tuple[Finding, ...]:
    """Every finding about one cache; if nothing is wrong, one that says so."""
    container = facts.container
    if container is None:
        kept = f"; its volume is there, with {amount(facts.size)}" if facts.has_volume else ""
        text = f"its container {plan.name} is missing{kept}"
        return (problem(_about(plan), text, _up(stack)),)
    findings = _of_container(plan, container, stack)
    if not findings and facts.answer.why_not:
        text = f"it is running, but at {plan.local_endpoint} {facts.answer.why_not}"
        findings = [problem(_about(plan), text, f"docker restart {plan.name}")]
    if not findings:
        findings = _warnings(plan, container, facts, stack)
    return tuple(findings) or (_sound(plan, facts),)


def of_harbor(url: str, answer: Answer) -> Finding:
    """The Harbor that replaces caches."""
    if answer.why_not:
        text = f"at {url} {answer.why_not}: nodes pull from the upstreams themselves, or fail"
        return problem("Harbor", text, "start it, or correct harbor.url in the stack file")
    return well("Harbor", f"answers at {url}")


def of_lost_node(cluster: str, address: str, text: str, stack: str) -> Finding:
    """A node that is gone, stopped or silent. A node on Docker can't be started again."""
    again = f"make cluster-down STACK={stack} CLUSTER={cluster} && make cluster-up STACK={stack}"
    return problem(node_name(cluster, address), text, again)


def of_node(
    node: NodeFacts, wanted: Collection[str], ours: Collection[str], stack: str
) -> tuple[Finding, ...]:
    """Every mirror of a live node with an endpoint that doesn't answer.

    Args:
        node: facts about it.
        wanted: endpoints of the stack's caches.
        ours: endpoints that this stack has, or may have, set in nodes, now or earlier.
        stack: its name.
    """
    about = node_name(node.cluster, node.address)
    entries = mirror_entries(node.config)
    findings = tuple(
        problem(
            about,
            _dead_mirror(node, host, entry, url),
            _fix_of_ours(node, url, wanted, stack) if url in ours else _take_out(node, host, url),
        )
        for host, entry in entries.items()
        for url in endpoint_urls(entry)
        if node.answers[url].why_not
    )
    if findings:
        return findings
    count = "1 mirror" if len(entries) == 1 else f"{len(entries)} mirrors"
    return (well(about, f"{count}, every endpoint answers"),)


def endpoints(config: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """The URL of every endpoint in the mirrors of a node's machine config, once."""
    entries = mirror_entries(config).values()
    return tuple(dict.fromkeys(url for entry in entries for url in endpoint_urls(entry)))


def mirror_entries(config: Sequence[Mapping[str, Any]]) -> dict[str, Entry]:
    """Host -> its mirror entry; a document replaces a legacy entry for the same host."""
    return {**legacy_entries(config), **document_entries(config)}


def endpoint_urls(entry: Entry) -> tuple[str, ...]:
    """The endpoints of a mirror entry, in the order in which nodes try them."""
    return tuple(str(endpoint_url(endpoint)) for endpoint in entry.get("endpoints") or ())


def amount(size: int | None) -> str:
    """A number of bytes, for messages; None if it is unknown."""
    return "an unknown amount of data" if size is None else f"{size / 1e6:.1f} MB"


def _of_container(plan: CachePlan, container: ContainerFacts, stack: str) -> list[Finding]:
    about = _about(plan)
    if container.whose:
        text = f"there is a container {plan.name}, but it belongs to {container.whose}"
        fix = f"{_up(stack)} changes nothing, and says how to continue"
        return [problem(about, text, fix)]
    if container.status == "restarting" or container.more_restarts:
        # While it runs Docker doesn't have its last exit status.
        last = f", exit status {container.exit_status}" if container.exit_status else ""
        text = f"{plan.name} keeps exiting (restarted {container.restarts} times{last})"
        return [problem(about, text, _log(plan))]
    if container.status == "paused":
        return [problem(about, f"{plan.name} is paused", f"docker unpause {plan.name}")]
    if container.status != "running":
        status = f"{container.status}, exit status {container.exit_status}"
        return [problem(about, f"{plan.name} is not running: {status}", _up(stack))]
    findings = []
    planned = {(port.address, port.port) for port in plan.published}
    if container.published != planned:
        text = f"it is published on {_ports(container.published)} instead of {_ports(planned)}"
        findings.append(problem(about, text, _up(stack)))
    if container.volume != plan.name:
        where = f"the volume {container.volume}" if container.volume else "no named volume"
        text = f"its data is in {where} instead of {plan.name}"
        findings.append(problem(about, text, _up(stack)))
    if not findings and not container.healthy:
        findings.append(problem(about, f"the health check of {plan.name} fails", _log(plan)))
    return findings


def _warnings(
    plan: CachePlan, container: ContainerFacts, facts: CacheFacts, stack: str
) -> list[Finding]:
    about, upstream = _about(plan), facts.upstream
    findings = []
    if container.restarts:
        times = "once" if container.restarts == 1 else f"{container.restarts} times"
        text = f"it has exited unexpectedly {times}, and was restarted"
        findings.append(warning(about, text, _log(plan)))
    if upstream and upstream.why_not:
        text = (
            f"its upstream {plan.remote_url}{_by_way_of(plan)} doesn't answer it "
            f"({upstream.why_not}): it serves only what is cached"
        )
        findings.append(warning(about, text))
    else:
        findings += [warning(about, text) for text in facts.unwell]
        if facts.cut_off and not facts.unwell:
            findings.append(problem(about, cut_off(facts.cut_off), way_back(plan.name)))
    if facts.limit and not facts.limit.remaining:
        text = f"its upstream counts pulls, and {facts.limit}: it serves only what is cached"
        fix = "log in, with an account that has a higher limit (docs/private.md), or wait"
        findings.append(warning(about, text, fix))
    # Without an upstream a cache writes nothing.
    if upstream and facts.room is not None and facts.room < SCANT_BYTES:
        text = (
            f"its disk has only {amount(facts.room)} left: a larger layer is cut off, and the node "
            'reports "unexpected EOF" or "unexpected commit digest"'
        )
        prune = f"make prune STACK={stack} ARGS='--to SIZE'"
        fix = f"free space on Docker's disk, or in the caches: {prune}"
        findings.append(warning(about, text, fix))
    return findings


def cut_off(error: str) -> str:
    """The finding on a cache that gets nothing from an upstream that answers this machine."""
    return f"its upstream answers this machine, but the cache gets nothing from it: {error}"


def way_back(name: str, then: str = "") -> str:
    """The fix for that: until it exits, a cache remembers how its upstream wanted a login."""
    return (
        f"docker restart {name}{then}; if that doesn't help, the container reaches the upstream by "
        "another network or proxy than this machine"
    )


def _by_way_of(plan: CachePlan) -> str:
    return f" (through {plan.asks})" if plan.asks != plan.remote_url else ""


def _sound(plan: CachePlan, facts: CacheFacts) -> Finding:
    upstream = (
        f"its upstream {plan.remote_url} answers"
        if facts.upstream
        else "offline: no upstream is contacted"
    )
    limit = f"; {facts.limit}" if facts.limit else ""
    text = f"answers at {plan.local_endpoint}, contains {amount(facts.size)}; {upstream}{limit}"
    return well(_about(plan), text)


def _dead_mirror(node: NodeFacts, host: str, entry: Entry, url: str) -> str:
    answer = node.answers[url]
    seen = "" if node.own_view else ", as seen from this machine"
    return (
        f"its mirror of {host} points to {url}, but {answer.why_not}{seen}: "
        f"{_consequence(node, host, entry, url)}"
    )


def _consequence(node: NodeFacts, host: str, entry: Entry, url: str) -> str:
    urls = endpoint_urls(entry)
    before, after = urls[: urls.index(url)], urls[urls.index(url) + 1 :]
    silent = node.answers[url].silent
    if _any_answers(node, before):
        wait = f", and then each request waits {DIAL_SECONDS} s" if silent else ""
        return f"nodes try it for what the endpoints before it don't have{wait}"
    others = _any_answers(node, after)
    if entry.get("skipFallback") and not others:
        wait = f"every request of a pull waits {DIAL_SECONDS} s, and " if silent else ""
        return f"{wait}pulls from {host} fail, because skipFallback rules out the upstream"
    instead = "the next endpoint" if others else "the upstream"
    if silent:
        return f"every request of a pull waits {DIAL_SECONDS} s before it goes to {instead}"
    return f"every pull from {host} goes to {instead}"


def _any_answers(node: NodeFacts, urls: Collection[str]) -> bool:
    return any(not node.answers[url].why_not for url in urls)


def _fix_of_ours(node: NodeFacts, url: str, wanted: Collection[str], stack: str) -> str:
    """An endpoint of ours comes back, or leaves the node, with the next `up`."""
    if url in wanted and not node.from_here[url].why_not:
        return (
            "it answers this machine, so something blocks the node; sudo iptables -S and sudo nft "
            "list ruleset show this machine's firewall"
        )
    return _up(stack)


def _take_out(node: NodeFacts, host: str, url: str) -> str:
    """The command that removes exactly this endpoint, which another user has set, from the node."""
    documents = host in document_entries(node.config)
    steps = patches(node.config, (), {host: [url]}, documents=documents)
    # JSON is YAML on one line, easy to paste.
    texts = [json.dumps(document) for step in steps for document in patch_documents(step)]
    return patch_line(node.place, node.address, texts)


def _about(plan: CachePlan) -> str:
    return f"cache of {plan.host}"


def node_name(cluster: str, address: str) -> str:
    """The name of a node in reports."""
    return f"node {address} of {cluster}"


def _up(stack: str) -> str:
    return f"make up STACK={stack}"


def _log(plan: CachePlan) -> str:
    return f"docker logs --tail 20 {plan.name}"


def _ports(published: Collection[tuple[str, int]]) -> str:
    if not published:
        return "no port"
    return ", ".join(f"{address}:{port}" for address, port in sorted(published))
