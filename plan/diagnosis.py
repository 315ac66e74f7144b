"""From what was found of a stack's caches and nodes to what is well, what is not, and what to do.

`ops/commands/doctor.py` looks; here it is judged.
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

OK = "ok"
WARNING = "warning"
PROBLEM = "problem"
# Whose a container is that this project did not make.
NO_STACK = "none of this project's stacks"
# How long containerd and Talos wait for a mirror that swallows packets, at every request.
DIAL_SECONDS = 30
# A cache that has less left to write to may not have room for the next large layer.
SCANT_BYTES = 1_000_000_000


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One line of the report.

    Attributes:
        state: OK, WARNING or PROBLEM.
        about: the part that was looked at.
        text: what was found.
        fix: what to do, as a rule a command; every problem has one.
    """

    state: str
    about: str
    text: str
    fix: str = ""


def well(about: str, text: str) -> Finding:
    """All is as it should be."""
    return Finding(state=OK, about=about, text=text)


def warning(about: str, text: str, fix: str | None = None) -> Finding:
    """Something to know of, and what to do, if anything."""
    return Finding(state=WARNING, about=about, text=text, fix=fix or "")


def problem(about: str, text: str, fix: str) -> Finding:
    """Something that does not work, and what to do."""
    return Finding(state=PROBLEM, about=about, text=text, fix=fix)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """How a server answers.

    Attributes:
        why_not: why it does not, as a half sentence about it; None if it does.
        silent: whether nothing came until the time was up, where others fail at once.
    """

    why_not: str | None = None
    silent: bool = False


ANSWERS = Answer()


@dataclass(frozen=True, kw_only=True)
class ContainerFacts:
    """What Docker says of a cache's container.

    Attributes:
        whose: it is, in words; None if it is the stack's own.
        status: Docker's word for it, such as "running" or "exited".
        exit_status: of its last end; 0 while it runs.
        healthy: False only where its health check fails.
        restarts: how often Docker has started it again since it was last started on purpose.
        more_restarts: how many of these while it was looked at.
        published: (address, port) of this host.
        volume: name of the volume that holds its data; empty where it is no volume of a name.
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
    """What was found of one cache.

    Attributes:
        container: None where there is none.
        has_volume: whether Docker has the volume.
        size: of what the volume holds, in bytes; None where it was not measured.
        room: that is left on the volume's disk, in bytes; None where it was not measured.
        answer: to this machine.
        upstream: how the upstream answers the cache; None where it was not asked.
        unwell: sentences on what keeps images from coming: what the upstream says to this machine,
            and what the watch in the container says.
        cut_off: what the cache says when it has to ask its upstream, which is well; None if it
            says nothing.
    """

    container: ContainerFacts | None
    has_volume: bool
    size: int | None = None
    room: int | None = None
    answer: Answer = ANSWERS
    upstream: Answer | None = None
    unwell: tuple[str, ...] = ()
    cut_off: str | None = None


@dataclass(frozen=True, kw_only=True)
class NodeFacts:
    """What was found of one live node.

    Attributes:
        cluster: its name.
        address: of the node.
        config: the documents of its machine config.
        answers: URL of every endpoint in it -> how that answers, as the node sees it.
        from_here: the same, as this machine sees it.
        own_view: whether `answers` come from the node's own network.
        place: of talosctl's files, to show a line that patches it.
    """

    cluster: str
    address: str
    config: Sequence[Mapping[str, Any]]
    answers: Mapping[str, Answer]
    from_here: Mapping[str, Answer]
    own_view: bool
    place: Place


def of_cache(plan: CachePlan, facts: CacheFacts, stack: str) -> tuple[Finding, ...]:
    """All that is not well with one cache; one line that says so if everything is."""
    container = facts.container
    if container is None:
        kept = f"; its volume is, with {amount(facts.size)}" if facts.has_volume else ""
        text = f"its container {plan.name} is not there{kept}"
        return (problem(_about(plan), text, _up(stack)),)
    found = _of_container(plan, container, stack)
    if not found and facts.answer.why_not:
        text = f"it runs, but at {plan.local_endpoint} {facts.answer.why_not}"
        found = [problem(_about(plan), text, f"docker restart {plan.name}")]
    if not found:
        found = _warnings(plan, container, facts, stack)
    return tuple(found) or (_sound(plan, facts),)


def of_harbor(url: str, answer: Answer) -> Finding:
    """The Harbor that takes the place of caches."""
    if answer.why_not:
        text = f"at {url} {answer.why_not}: nodes ask the upstreams themselves, or fail"
        return problem("Harbor", text, "bring it back, or correct harbor.url in the stack's file")
    return well("Harbor", f"answers at {url}")


def of_lost_node(cluster: str, address: str, text: str, stack: str) -> Finding:
    """A node that is gone, stopped or silent. Those on Docker can't be started again."""
    again = f"make cluster-down STACK={stack} CLUSTER={cluster} && make cluster-up STACK={stack}"
    return problem(node_name(cluster, address), text, again)


def of_node(
    node: NodeFacts, wanted: Collection[str], ours: Collection[str], stack: str
) -> tuple[Finding, ...]:
    """Every mirror of a live node that points to something that does not answer.

    Args:
        node: what was found of it.
        wanted: endpoints of the stack's caches.
        ours: endpoints that this stack has, or may have, set in nodes, now or before.
        stack: its name.
    """
    about = node_name(node.cluster, node.address)
    entries = mirror_entries(node.config)
    found = tuple(
        problem(
            about,
            _dead_mirror(node, host, entry, url),
            _fix_of_ours(node, url, wanted, stack) if url in ours else _take_out(node, host, url),
        )
        for host, entry in entries.items()
        for url in endpoint_urls(entry)
        if node.answers[url].why_not
    )
    if found:
        return found
    count = "1 mirror" if len(entries) == 1 else f"{len(entries)} mirrors"
    return (well(about, f"{count}, every endpoint answers"),)


def endpoints(config: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """The URL of every endpoint that the mirrors of a node's machine config name, once."""
    entries = mirror_entries(config).values()
    return tuple(dict.fromkeys(url for entry in entries for url in endpoint_urls(entry)))


def mirror_entries(config: Sequence[Mapping[str, Any]]) -> dict[str, Entry]:
    """Host -> its mirror entry; a document stands in the place of an old entry of its name."""
    return {**legacy_entries(config), **document_entries(config)}


def endpoint_urls(entry: Entry) -> tuple[str, ...]:
    """The endpoints of a mirror entry, in the order in which they are asked."""
    return tuple(str(endpoint_url(endpoint)) for endpoint in entry.get("endpoints") or ())


def amount(size: int | None) -> str:
    """So many bytes, in words; None where nobody knows."""
    return "an unknown amount of data" if size is None else f"{size / 1e6:.1f} MB"


def _of_container(plan: CachePlan, container: ContainerFacts, stack: str) -> list[Finding]:
    about = _about(plan)
    if container.whose:
        text = f"there is a container {plan.name}, but it belongs to {container.whose}"
        fix = f"{_up(stack)} says how to go on, and changes nothing before"
        return [problem(about, text, fix)]
    if container.status == "restarting" or container.more_restarts:
        # While it runs Docker does not say how it ended last.
        last = f", status {container.exit_status}" if container.exit_status else ""
        text = f"{plan.name} ends again and again (started {container.restarts} times{last})"
        return [problem(about, text, _log(plan))]
    if container.status == "paused":
        return [problem(about, f"{plan.name} is paused", f"docker unpause {plan.name}")]
    if container.status != "running":
        text = f"{plan.name} does not run: {container.status}, status {container.exit_status}"
        return [problem(about, text, _up(stack))]
    found = []
    wanted = {(port.address, port.port) for port in plan.published}
    if container.published != wanted:
        text = f"it is published on {_ports(container.published)}, and not on {_ports(wanted)}"
        found.append(problem(about, text, _up(stack)))
    if container.volume != plan.name:
        text = f"its data is not in the volume {plan.name}, but in {container.volume or 'none'}"
        found.append(problem(about, text, _up(stack)))
    if not found and not container.healthy:
        found.append(problem(about, f"the health check of {plan.name} fails", _log(plan)))
    return found


def _warnings(
    plan: CachePlan, container: ContainerFacts, facts: CacheFacts, stack: str
) -> list[Finding]:
    about, upstream = _about(plan), facts.upstream
    found = []
    if container.restarts:
        times = "once" if container.restarts == 1 else f"{container.restarts} times"
        text = f"it has ended by itself {times}, and was started again"
        found.append(warning(about, text, _log(plan)))
    if upstream and upstream.why_not:
        text = (
            f"its upstream {plan.remote_url}{_by_way_of(plan)} does not answer it "
            f"({upstream.why_not}): it serves only what is cached"
        )
        found.append(warning(about, text))
    else:
        found += [warning(about, text) for text in facts.unwell]
        if facts.cut_off and not facts.unwell:
            found.append(problem(about, cut_off(facts.cut_off), way_back(plan.name)))
    # One that asks no upstream writes nothing.
    if upstream and facts.room is not None and facts.room < SCANT_BYTES:
        text = (
            f"its disk has room for {amount(facts.room)} more: a layer that is larger breaks off, "
            'and the node says "unexpected EOF" or "unexpected commit digest"'
        )
        prune = f"make prune STACK={stack} ARGS='--to SIZE'"
        found.append(warning(about, text, f"make room on Docker's disk, or in the caches: {prune}"))
    return found


def cut_off(said: str) -> str:
    """Of a cache that gets nothing from an upstream that is well, with what it says."""
    return f"its upstream answers this machine, but the cache gets nothing from it: {said}"


def way_back(name: str, then: str = "") -> str:
    """What to do about it: until it ends, a cache keeps how its upstream once wanted a login."""
    return (
        f"docker restart {name}{then}; where that changes nothing, the container's way to the "
        "upstream (its network, its proxy) is another than this machine's"
    )


def _by_way_of(plan: CachePlan) -> str:
    return f" (asked through {plan.asks})" if plan.asks != plan.remote_url else ""


def _sound(plan: CachePlan, facts: CacheFacts) -> Finding:
    upstream = (
        f"its upstream {plan.remote_url} answers"
        if facts.upstream
        else "offline: no upstream is asked"
    )
    text = f"answers at {plan.local_endpoint}, holds {amount(facts.size)}; {upstream}"
    return well(_about(plan), text)


def _dead_mirror(node: NodeFacts, host: str, entry: Entry, url: str) -> str:
    answer = node.answers[url]
    seen = "" if node.own_view else ", seen from this machine"
    return (
        f"its mirror of {host} points to {url}, and there {answer.why_not}{seen}: "
        f"{_consequence(node, host, entry, url)}"
    )


def _consequence(node: NodeFacts, host: str, entry: Entry, url: str) -> str:
    urls = endpoint_urls(entry)
    before, after = urls[: urls.index(url)], urls[urls.index(url) + 1 :]
    silent = node.answers[url].silent
    if _any_answers(node, before):
        wait = f", and then each request waits {DIAL_SECONDS} s" if silent else ""
        return f"it is asked for what the endpoints before it do not have{wait}"
    others = _any_answers(node, after)
    if entry.get("skipFallback") and not others:
        wait = f"every request of a pull waits {DIAL_SECONDS} s, and " if silent else ""
        return f"{wait}pulls from {host} fail, for skipFallback forbids to ask the upstream"
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
            "it answers this machine, so something keeps the node from it; sudo iptables -S and "
            "sudo nft list ruleset show this machine's firewall"
        )
    return _up(stack)


def _take_out(node: NodeFacts, host: str, url: str) -> str:
    """The line that takes exactly this endpoint, which somebody else has set, out of the node."""
    documents = host in document_entries(node.config)
    steps = patches(node.config, (), {host: [url]}, documents=documents)
    # JSON is YAML on one line, which can be pasted.
    texts = [json.dumps(document) for step in steps for document in patch_documents(step)]
    return patch_line(node.place, node.address, texts)


def _about(plan: CachePlan) -> str:
    return f"cache of {plan.host}"


def node_name(cluster: str, address: str) -> str:
    """How a report names a node."""
    return f"node {address} of {cluster}"


def _up(stack: str) -> str:
    return f"make up STACK={stack}"


def _log(plan: CachePlan) -> str:
    return f"docker logs --tail 20 {plan.name}"


def _ports(published: Collection[tuple[str, int]]) -> str:
    if not published:
        return "no port"
    return ", ".join(f"{address}:{port}" for address, port in sorted(published))
