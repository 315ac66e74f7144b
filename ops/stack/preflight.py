"""Finds what is in a stack's way, before anything is created, and names its owner."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ops.docker import api
from ops.docker.api import Container
from ops.errors import OpsError
from ops.registry import listening
from plan import host_ports
from plan.caches.cache_plan import CachePlan
from plan.host_ports import Held, HostPort, Move
from plan.ownership import Owner, Recorded, Taken, owner, refusals
from plan.settings.cluster import ClusterSettings
from plan.talos.cluster import ClusterPlan


@dataclass(frozen=True)
class Host:
    """What Docker says about the machine that the caches are for.

    Attributes:
        containers: all of them.
        is_local: whether this machine's ports are Docker's ports.
    """

    containers: tuple[Container, ...]
    is_local: bool

    @property
    def published(self) -> dict[str, tuple[tuple[str, int], ...]]:
        """Name of a container -> (address, port) pairs, in the order in which Docker has them."""
        return {container.name: container.published for container in self.containers}


def look() -> Host:
    """Ask Docker, in one call.

    Raises:
        DockerUnavailableError: it does not answer.
    """
    client = api.connect()
    return Host(api.containers(client), api.is_local(client))


def check(
    host: Host,
    plans: Sequence[CachePlan],
    clusters: Sequence[ClusterPlan],
    recorded: Recorded,
    us: Owner,
    *,
    preview: bool,
) -> list[str]:
    """Stop if something is in the way of a stack, before anything is created.

    Args:
        host: what Docker has.
        plans: the caches about to be created.
        clusters: the clusters about to be created.
        recorded: what this stack's state knows; everything else belongs to others.
        us: this stack.
        preview: whether it is one: a port that moves stops an update, but only warns in a preview.

    Returns:
        Warnings.

    Raises:
        OpsError: says all that is in the way, with what to do.
    """
    settings = [cluster.settings for cluster in clusters]
    moving = [str(move) for move in moves(host, plans, settings, recorded)]
    errors = preflight_errors(host, plans, clusters, recorded, us)
    if errors or (moving and not preview):
        raise OpsError("\n".join(["Nothing was changed:", *errors, *moving]))
    return moving


def moves(
    host: Host,
    plans: Sequence[CachePlan],
    clusters: Iterable[ClusterSettings],
    recorded: Recorded,
) -> tuple[Move, ...]:
    """Ports that a container of this stack has, and another part of the stack is to get.

    Args:
        host: what Docker has.
        plans: the caches about to be created.
        clusters: the clusters about to be created.
        recorded: what this stack's state knows: its own containers.
    """
    held = [
        Held(
            container=container.name,
            logical=recorded.logical.get(container.id, ""),
            ports=container.host_ports,
        )
        for container in host.containers
        if container.is_known(recorded)
    ]
    return host_ports.moves(held, plans, clusters)


def preflight_errors(
    host: Host,
    plans: Sequence[CachePlan],
    clusters: Sequence[ClusterPlan],
    recorded: Recorded,
    us: Owner,
) -> list[str]:
    """All that is in the way of a stack's caches and clusters, one text each."""
    texts = conflicts(host, plans, recorded, us)
    if clusters:
        # It takes a twentieth of a second to import, and most previews have no cluster.
        from ops.cluster import preflight

        texts += preflight.preflight_errors(clusters, recorded.clusters)
    return texts


def conflicts(host: Host, plans: Sequence[CachePlan], recorded: Recorded, us: Owner) -> list[str]:
    """Names and ports of caches that something other than this stack has.

    Args:
        host: what Docker has.
        plans: the caches about to be created.
        recorded: what this stack's state knows; everything else belongs to others.
        us: this stack.

    Returns:
        One text per conflict, with what to do, and one for all that another state of this project
        has; empty if nothing is in the way.
    """
    containers = host.containers
    own = [container for container in containers if container.is_known(recorded)]
    foreign = [container for container in containers if container not in own]
    taken = _taken(plans, foreign)
    of_others = {one.name for one in taken}
    strangers = [container for container in foreign if container.name not in of_others]
    # Those of other states are reported once, not again for their ports.
    known = [container for container in containers if container not in strangers]
    texts = [_name_conflict(plan, strangers) for plan in plans]
    texts += [
        _port_conflict(plan, port, strangers, known, test_bind=host.is_local)
        for plan in plans
        for port in host_ports.of_cache(plan)
    ]
    return [*refusals(taken, us), *dict.fromkeys(text for text in texts if text)]


def _taken(plans: Sequence[CachePlan], foreign: Sequence[Container]) -> list[Taken]:
    """Containers of this project's other states that have a name or port of these caches."""
    names = {plan.name for plan in plans}
    ports = [port for plan in plans for port in host_ports.of_cache(plan)]
    publishers = [_publisher(port, foreign) for port in ports]
    return [
        Taken(name=container.name, owner=other, by_name=container.name in names)
        for container in foreign
        if (other := owner(dict(container.labels))) is not None
        and (container.name in names or container in publishers)
    ]


def _name_conflict(plan: CachePlan, foreign: Sequence[Container]) -> str | None:
    owner = next((container for container in foreign if container.name == plan.name), None)
    if owner is None:
        return None
    return (
        f"The container {plan.name} already exists ({_described(owner)}), but this stack did not "
        f"make it. {_way_out(owner)}"
    )


def _port_conflict(
    plan: CachePlan,
    port: HostPort,
    foreign: Sequence[Container],
    own: Sequence[Container],
    *,
    test_bind: bool,
) -> str | None:
    if (owner := _publisher(port, foreign)) is not None:
        if owner.name == plan.name:
            return None  # already reported, for its name
        return (
            f"{port}, for the cache of {plan.host}, is taken by the container {owner.name} "
            f"({_described(owner)}). {_way_out(owner)}"
        )
    if _publisher(port, own) is not None or not test_bind or _keeps_restarting(plan, own):
        return None
    return listening.conflict(
        port,
        f"for the cache of {plan.host}",
        otherwise=f"choose another port: talos-cache:upstreams.{plan.host}.port, or "
        "talos-cache:basePort for all",
        keys="talos-cache:addressing or talos-cache:bindAddresses",
    )


def _keeps_restarting(plan: CachePlan, own: Sequence[Container]) -> bool:
    """Whether the stack's own cache keeps restarting: it may have its port at any moment."""
    return any(
        container.name == plan.name and container.status.startswith("Restarting")
        for container in own
    )


def _publisher(port: HostPort, containers: Sequence[Container]) -> Container | None:
    publishers = (one for one in containers if port.is_among(one.host_ports))
    return next(publishers, None)


def _described(owner: Container) -> str:
    return f"image {owner.image}, {owner.status or 'never started'}"


def _way_out(owner: Container) -> str:
    guide = (
        "It looks like a cache made by hand, following the Talos guide; such a container keeps its "
        "images inside itself, so they are removed with it. "
        if owner.name.startswith("registry-")
        else ""
    )
    return (
        f"{guide}Remove it (docker rm -f {owner.name}), or leave it and give this stack a "
        "talos-cache:prefix and a talos-cache:basePort of its own."
    )
