"""The part of `doctor` that looks at caches, their volumes, and what is left of earlier ones."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import docker
from docker.errors import APIError, NotFound
from docker.utils.socket import STDOUT

from host.errors import TalosCacheError
from ops import whose
from ops.docker import api
from ops.docker.volumes import MOUNT, opened
from ops.errors import OpsError
from ops.registry import endpoints, upstreams_asked
from ops.stack import stack_files
from plan import diagnosis, ownership
from plan.caches.cache import Cache, of_settings
from plan.caches.cache_plan import DATA_PATH, REGISTRY_PORT, CachePlan
from plan.caches.upstream_watchdog import TROUBLE_PATH
from plan.diagnosis import (
    ANSWERS,
    Answer,
    CacheFacts,
    ContainerFacts,
    Finding,
)
from plan.ownership import PROJECT_LABEL, Recorded
from plan.settings.stack import Settings
from plan.upstreams import slug

AT_ONCE = 8
KILOBYTE = 1024
# What Docker says of a container.
Inspected = Mapping[str, Any]


def inspected(client: docker.DockerClient, plans: Sequence[CachePlan]) -> dict[str, Inspected]:
    """Container's name -> what Docker says of it; those that are not there are left out."""
    found = {}
    for plan in plans:
        try:
            found[plan.name] = client.api.inspect_container(plan.name)
        except NotFound:
            continue
    return found


def answers_of(
    client: docker.DockerClient,
    settings: Settings,
    plans: Sequence[CachePlan],
    containers: Mapping[str, Inspected],
    done: Callable[[], object],
) -> dict[str, tuple[Answer, Answer | None]]:
    """Name -> how a cache answers, and how its upstream answers it, if that was asked."""

    def look(plan: CachePlan) -> tuple[Answer, Answer | None]:
        running = plan.name in containers and containers[plan.name]["State"]["Running"]
        asked = running and not settings.offline
        return (
            endpoints.answer(plan.local_endpoint) if running else ANSWERS,
            endpoints.connects(client, plan.name, plan.asks) if asked else None,
        )

    found = {}
    with ThreadPoolExecutor(max_workers=AT_ONCE) as pool:
        for plan, looked in zip(plans, pool.map(look, plans), strict=True):
            found[plan.name] = looked
            done()
    return found


def unwell_of(
    client: docker.DockerClient,
    stack: str,
    plans: Sequence[CachePlan],
    containers: Mapping[str, Inspected],
) -> tuple[dict[str, tuple[str, ...]], Mapping[str, str], list[Finding]]:
    """Why no images come to caches, and what could not be asked.

    Returns:
        Name of each cache -> sentences; upstream that is well -> what its cache says all the same;
        findings.
    """
    running = [
        plan
        for plan in plans
        if plan.name in containers and containers[plan.name]["State"]["Running"]
    ]
    asking = [plan for plan in running if plan.asks_upstream]
    said_of = upstreams_asked.Found()
    unasked = []
    try:
        if asking:
            said_of = upstreams_asked.found(stack, [plan.host for plan in asking])
    except TalosCacheError as error:
        from ops import passphrase  # most need none

        said = " ".join(str(error).split())
        text = f"they were not asked, because their credentials can't be read: {said}"
        unasked.append(diagnosis.warning("upstreams", text, passphrase.advice(stack)))
    if said_of.unasked:
        from ops import passphrase

        said = " ".join(said_of.unasked.split())
        text = f"they were not asked for images, because cacheLogin can't be read: {said}"
        unasked.append(diagnosis.warning("caches", text, passphrase.advice(stack)))
    found = {}
    for plan in asking:
        reason = said_of.sick.get(plan.host)
        from_here = f"asked from this machine: {reason}" if reason else None
        found[plan.name] = tuple(filter(None, (from_here, _trouble(client, plan))))
    return found, said_of.cut_off, unasked


def _trouble(client: docker.DockerClient, plan: CachePlan) -> str | None:
    """What the watch in a running container has noticed; None if nothing."""
    try:
        _, frames = api.execute(client, plan.name, ["busybox", "cat", TROUBLE_PATH])
        said = b"".join(some for stream, some in frames if stream == STDOUT).decode().strip()
    except APIError as error:
        return f"its watch can't be asked: {error.explanation}"
    return f"{said}: it serves only what is cached, until that is over" if said else None


def of_caches(
    client: docker.DockerClient,
    stack: str,
    settings: Settings,
    plans: Sequence[CachePlan],
    first: Mapping[str, Inspected],
    answers: Mapping[str, tuple[Answer, Answer | None]],
    unwell: Mapping[str, tuple[str, ...]],
    cut_off: Mapping[str, str],
    state: Recorded,
) -> list[Finding]:
    """What was found of each cache, and of volumes that no cache has any more."""
    of_stack = of_settings(settings)
    left, findings = _left_behind(client, settings)
    there = {volume["Name"] for volume in client.api.volumes()["Volumes"] or []}
    try:
        sizes, rooms = _sizes(client, [*of_stack, *left])
    except OpsError as error:
        sizes, rooms = {}, {}
        findings.append(diagnosis.warning("volumes", f"their sizes are not known: {error}"))
    then = inspected(client, plans)
    for plan in plans:
        answer, upstream = answers[plan.name]
        facts = CacheFacts(
            container=_container(
                first.get(plan.name),
                then.get(plan.name),
                lambda container: whose_is(stack, state, container),
            ),
            has_volume=plan.name in there,
            size=sizes.get(plan.name),
            room=rooms.get(plan.name),
            answer=answer,
            upstream=upstream,
            unwell=unwell.get(plan.name, ()),
            cut_off=cut_off.get(plan.host),
        )
        findings += diagnosis.of_cache(plan, facts, stack)
    findings += [
        diagnosis.warning(
            f"volume {cache.name}",
            f"no cache has it, and it holds {diagnosis.amount(sizes.get(cache.name))}; a cache of "
            f"{cache.host} would take it again",
            f"docker volume rm {cache.name}",
        )
        for cache in left
    ]
    return findings


def _container(
    first: Inspected | None, then: Inspected | None, whose_is: Callable[[Inspected], str | None]
) -> ContainerFacts | None:
    """What two looks at a container show; None where it is not there at the second one."""
    if then is None:
        return None
    state, ports = then["State"], then["NetworkSettings"]["Ports"] or {}
    health = state.get("Health") or {}
    same = first is not None and first["Id"] == then["Id"]
    return ContainerFacts(
        whose=whose_is(then),
        status=state["Status"],
        exit_status=state["ExitCode"],
        # Docker says "unhealthy" also right after a pause, before it has looked again.
        healthy=health.get("Status") != "unhealthy" or not health.get("FailingStreak"),
        restarts=then["RestartCount"],
        more_restarts=then["RestartCount"] - first["RestartCount"] if first and same else 0,
        published=frozenset(
            (port["HostIp"], int(port["HostPort"]))
            for port in ports.get(f"{REGISTRY_PORT}/tcp") or []
        ),
        volume=next(
            (m.get("Name", "") for m in then["Mounts"] if m["Destination"] == DATA_PATH), ""
        ),
    )


def whose_is(stack: str, state: Recorded, container: Inspected) -> str | None:
    """Whose a container is, if it is another's; None if it is this stack's."""
    labels = container["Config"]["Labels"] or {}
    if state.knows(container["Id"], container["Name"].lstrip("/"), labels):
        return None
    owner = ownership.owner(labels)
    us = whose.we_are(stack, state)
    return ownership.described(owner, us) if owner else diagnosis.NO_STACK


def _left_behind(
    client: docker.DockerClient, settings: Settings
) -> tuple[list[Cache], list[Finding]]:
    """Volumes of this stack's prefix that neither a container nor a stack file claims.

    A volume does not say which stack it belongs to, and a prefix may be the start of another.
    """
    claimed = {cache.name for cache in of_settings(settings)}
    findings = []
    for other in stack_files.names():
        try:
            claimed |= {cache.name for cache in of_settings(stack_files.check(other))}
        except TalosCacheError:
            text = "it has mistakes, so volumes may be called left behind that are its own"
            findings.append(diagnosis.warning(f"stack file of {other}", text))
    claimed |= {
        mount["Name"]
        for row in client.api.containers(all=True)
        for mount in row["Mounts"]
        if mount["Type"] == "volume"
    }
    start = f"{settings.prefix}-"
    rows = client.api.volumes(filters={"label": PROJECT_LABEL})["Volumes"] or []
    names = sorted({row["Name"] for row in rows} - claimed)
    left = [
        Cache(
            host=name.removeprefix(start),
            name=name,
            local_endpoint="",
            image=settings.cache.image,
        )
        for name in names
        if name.startswith(start)
    ]
    return left, findings


def _sizes(
    client: docker.DockerClient, of: Sequence[Cache]
) -> tuple[dict[str, int], dict[str, int]]:
    """Volume's name -> bytes that it holds, and that its disk has room for.

    Those that are not there are left out.

    Raises:
        OpsError: they can't be opened.
    """
    with opened(client, of) as volumes:
        if not volumes.present:
            return {}, {}
        held = volumes.run("sh", "-c", f"busybox du -s -k {MOUNT}/*").decode()
        free = volumes.run("sh", "-c", f"busybox stat -f -c '%a %S %n' {MOUNT}/*").decode()
    names = {f"{MOUNT}/{slug(cache.host)}": cache.name for cache in volumes.present}
    sizes = (line.split("\t") for line in held.splitlines())
    rooms = (line.split() for line in free.splitlines())
    return (
        {names[path]: int(size) * KILOBYTE for size, path in sizes},
        {names[path]: int(blocks) * int(each) for blocks, each, path in rooms},
    )


def strays(
    client: docker.DockerClient, stack: str, plans: Sequence[CachePlan], state: Recorded
) -> list[Finding]:
    """Containers of the stack's that its plan does not know."""
    names = {plan.name for plan in plans}
    return [
        diagnosis.warning(
            f"container {container.name}",
            "it belongs to this stack, and the stack's file has it no more",
            f"make up STACK={stack}; where that leaves it: docker rm -f {container.name}",
        )
        for container in api.containers(client)
        if container.is_known(state) and container.name not in names
    ]
