"""The part of `doctor` that checks caches, their volumes, and what is left of earlier ones."""

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
    """Container's name -> what Docker says of it; missing containers are left out."""
    containers = {}
    for plan in plans:
        try:
            containers[plan.name] = client.api.inspect_container(plan.name)
        except NotFound:
            continue
    return containers


def answers_of(
    client: docker.DockerClient,
    settings: Settings,
    plans: Sequence[CachePlan],
    containers: Mapping[str, Inspected],
    done: Callable[[], object],
) -> dict[str, tuple[Answer, Answer | None]]:
    """Name -> how a cache answers, and how its upstream answers it, if that was checked."""

    def look(plan: CachePlan) -> tuple[Answer, Answer | None]:
        running = plan.name in containers and containers[plan.name]["State"]["Running"]
        has_upstream = running and not settings.offline
        return (
            endpoints.answer(plan.local_endpoint) if running else ANSWERS,
            endpoints.connects(client, plan.name, plan.asks) if has_upstream else None,
        )

    answers = {}
    with ThreadPoolExecutor(max_workers=AT_ONCE) as pool:
        for plan, pair in zip(plans, pool.map(look, plans), strict=True):
            answers[plan.name] = pair
            done()
    return answers


def unwell_of(
    client: docker.DockerClient,
    stack: str,
    plans: Sequence[CachePlan],
    containers: Mapping[str, Inspected],
) -> tuple[dict[str, tuple[str, ...]], upstreams_asked.Found, list[Finding]]:
    """Why caches get no images, and what could not be checked.

    Returns:
        Name of each cache -> sentences; what the upstreams have answered; findings on what could
        not be checked.
    """
    running = [
        plan
        for plan in plans
        if plan.name in containers and containers[plan.name]["State"]["Running"]
    ]
    asking = [plan for plan in running if plan.asks_upstream]
    upstreams = upstreams_asked.Found()
    unchecked = []
    try:
        if asking:
            upstreams = upstreams_asked.found(stack, [plan.host for plan in asking])
    except TalosCacheError as error:
        from ops import passphrase  # rarely needed

        why = " ".join(str(error).split())
        text = f"not checked, because their credentials can't be read: {why}"
        unchecked.append(diagnosis.warning("upstreams", text, passphrase.advice(stack)))
    if upstreams.unasked:
        from ops import passphrase

        why = " ".join(upstreams.unasked.split())
        text = f"pulls were not checked, because cacheLogin can't be read: {why}"
        unchecked.append(diagnosis.warning("caches", text, passphrase.advice(stack)))
    reasons = {}
    for plan in asking:
        reason = upstreams.sick.get(plan.host)
        from_here = f"seen from this machine: {reason}" if reason else None
        reasons[plan.name] = tuple(filter(None, (from_here, _trouble(client, plan))))
    return reasons, upstreams, unchecked


def _trouble(client: docker.DockerClient, plan: CachePlan) -> str | None:
    """What the watchdog in a running container has noticed; None if nothing."""
    try:
        _, frames = api.execute(client, plan.name, ["busybox", "cat", TROUBLE_PATH])
        trouble = b"".join(some for stream, some in frames if stream == STDOUT).decode().strip()
    except APIError as error:
        return f"what its watchdog has noticed can't be read: {error.explanation}"
    return f"{trouble}: it serves only what is cached, until that is over" if trouble else None


def of_caches(
    client: docker.DockerClient,
    stack: str,
    settings: Settings,
    plans: Sequence[CachePlan],
    first: Mapping[str, Inspected],
    answers: Mapping[str, tuple[Answer, Answer | None]],
    unwell: Mapping[str, tuple[str, ...]],
    upstreams: upstreams_asked.Found,
    state: Recorded,
) -> list[Finding]:
    """Findings on each cache, and on volumes that no cache uses any more."""
    of_stack = of_settings(settings)
    left, findings = _left_behind(client, settings)
    there = {volume["Name"] for volume in client.api.volumes()["Volumes"] or []}
    try:
        sizes, rooms = _sizes(client, [*of_stack, *left])
    except OpsError as error:
        sizes, rooms = {}, {}
        findings.append(diagnosis.warning("volumes", f"their sizes can't be read: {error}"))
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
            cut_off=upstreams.cut_off.get(plan.host),
            limit=upstreams.limits.get(plan.host),
        )
        findings += diagnosis.of_cache(plan, facts, stack)
    findings += [
        diagnosis.warning(
            f"volume {cache.name}",
            f"no cache uses it; it contains {diagnosis.amount(sizes.get(cache.name))}, which a new "
            f"cache of {cache.host} would use again",
            f"docker volume rm {cache.name}",
        )
        for cache in left
    ]
    return findings


def _container(
    first: Inspected | None, then: Inspected | None, whose_is: Callable[[Inspected], str | None]
) -> ContainerFacts | None:
    """What two looks at a container show; None if it is gone at the second one."""
    if then is None:
        return None
    state, ports = then["State"], then["NetworkSettings"]["Ports"] or {}
    health = state.get("Health") or {}
    same = first is not None and first["Id"] == then["Id"]
    return ContainerFacts(
        whose=whose_is(then),
        status=state["Status"],
        exit_status=state["ExitCode"],
        # Docker says "unhealthy" also right after a pause, before its next check.
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
    """Whose a container is; None if it is this stack's."""
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
            text = "it has mistakes, so volumes that it uses may be reported as unused"
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
    """Volume's name -> bytes in it, and volume's name -> bytes that are free on its disk.

    Missing volumes are left out.

    Raises:
        OpsError: they can't be opened.
    """
    with opened(client, of) as volumes:
        if not volumes.present:
            return {}, {}
        used = volumes.run("sh", "-c", f"busybox du -s -k {MOUNT}/*").decode()
        free = volumes.run("sh", "-c", f"busybox stat -f -c '%a %S %n' {MOUNT}/*").decode()
    names = {f"{MOUNT}/{slug(cache.host)}": cache.name for cache in volumes.present}
    sizes = (line.split("\t") for line in used.splitlines())
    rooms = (line.split() for line in free.splitlines())
    return (
        {names[path]: int(size) * KILOBYTE for size, path in sizes},
        {names[path]: int(blocks) * int(each) for blocks, each, path in rooms},
    )


def strays(
    client: docker.DockerClient, stack: str, plans: Sequence[CachePlan], state: Recorded
) -> list[Finding]:
    """Containers of the stack that are not in its plan."""
    names = {plan.name for plan in plans}
    return [
        diagnosis.warning(
            f"container {container.name}",
            "it belongs to this stack, but is no longer in the stack file",
            f"make up STACK={stack}; if it is still there then: docker rm -f {container.name}",
        )
        for container in api.containers(client)
        if container.is_known(state) and container.name not in names
    ]
