"""Finds what stands in a stack's way before anything is created, and names its owner."""

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
    """What Docker says of the machine that the caches are for.

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
    """Stop before anything is made where something is in the way of a stack.

    Args:
        host: what is there.
        plans: the caches about to be made.
        clusters: the clusters about to be made.
        recorded: what this stack's state knows: everything else is somebody else's.
        us: this stack.
        preview: a port that moves is in an update's way, and no more than a warning before it.

    Returns:
        Warnings.

    Raises:
        OpsError: says all that is in the way, with what to do.
    """
    moving = [str(one) for one in moves(host, plans, [one.settings for one in clusters], recorded)]
    in_the_way = obstacles(host, plans, clusters, recorded, us)
    if in_the_way or (moving and not preview):
        raise OpsError("\n".join(["Nothing was changed:", *in_the_way, *moving]))
    return moving


def moves(
    host: Host,
    plans: Sequence[CachePlan],
    clusters: Iterable[ClusterSettings],
    recorded: Recorded,
) -> tuple[Move, ...]:
    """Ports that a container of this stack has and something else of it is to get.

    Args:
        host: what is there.
        plans: the caches about to be made.
        clusters: the clusters about to be made.
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


def obstacles(
    host: Host,
    plans: Sequence[CachePlan],
    clusters: Sequence[ClusterPlan],
    recorded: Recorded,
    us: Owner,
) -> list[str]:
    """All that is in the way of a stack's caches and clusters; see the two parts."""
    found = conflicts(host, plans, recorded, us)
    if clusters:
        # It takes a twentieth of a second to import, and most previews have no cluster.
        from ops.cluster import preflight

        found += preflight.obstacles(clusters, recorded.clusters)
    return found


def conflicts(host: Host, plans: Sequence[CachePlan], recorded: Recorded, us: Owner) -> list[str]:
    """Containers and ports that are taken by something else than this stack.

    Args:
        host: what is there.
        plans: the caches about to be made.
        recorded: what this stack's state knows: everything else is somebody else's.
        us: this stack.

    Returns:
        One text per conflict, with what to do, and one for all that another state of this project
        has; empty where nothing is in the way.
    """
    there = host.containers
    own = [container for container in there if container.is_known(recorded)]
    foreign = [container for container in there if container not in own]
    taken = _taken(plans, foreign)
    of_others = {one.name for one in taken}
    strangers = [container for container in foreign if container.name not in of_others]
    # Whose they are is told already; that a port is theirs needs no more words.
    known = [container for container in there if container not in strangers]
    found = [_name_conflict(plan, strangers) for plan in plans]
    found += [
        _port_conflict(plan, published, strangers, known, test_bind=host.is_local)
        for plan in plans
        for published in host_ports.of_cache(plan)
    ]
    return [*refusals(taken, us), *dict.fromkeys(text for text in found if text)]


def _taken(plans: Sequence[CachePlan], foreign: Sequence[Container]) -> list[Taken]:
    """What other states of this project have of what these caches want."""
    names = {plan.name for plan in plans}
    wanted = [published for plan in plans for published in host_ports.of_cache(plan)]
    publishers = [_publisher(published, foreign) for published in wanted]
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
        f"There is a container {plan.name} already ({_described(owner)}), and this stack did not "
        f"make it. {_way_out(owner)}"
    )


def _port_conflict(
    plan: CachePlan,
    wanted: HostPort,
    foreign: Sequence[Container],
    own: Sequence[Container],
    *,
    test_bind: bool,
) -> str | None:
    if (owner := _publisher(wanted, foreign)) is not None:
        if owner.name == plan.name:
            return None  # named already, as the holder of the container's name
        return (
            f"{wanted}, for the cache of {plan.host}, is taken by the container {owner.name} "
            f"({_described(owner)}). {_way_out(owner)}"
        )
    if _publisher(wanted, own) is not None or not test_bind or _comes_and_goes(plan, own):
        return None
    return listening.conflict(
        wanted,
        f"for the cache of {plan.host}",
        otherwise=f"choose another port: talos-cache:upstreams.{plan.host}.port, or "
        "talos-cache:basePort for all",
        keys="talos-cache:addressing or talos-cache:bindAddresses",
    )


def _comes_and_goes(plan: CachePlan, own: Sequence[Container]) -> bool:
    """Whether the stack's own cache ends again and again: it may have its port at any moment."""
    return any(
        container.name == plan.name and container.status.startswith("Restarting")
        for container in own
    )


def _publisher(wanted: HostPort, containers: Sequence[Container]) -> Container | None:
    return next((one for one in containers if wanted.is_among(one.host_ports)), None)


def _described(owner: Container) -> str:
    return f"image {owner.image}, {owner.status or 'never started'}"


def _way_out(owner: Container) -> str:
    guide = (
        "It looks like a cache made by hand after the Talos guide; such a container keeps its "
        "images inside itself, so they go with it. "
        if owner.name.startswith("registry-")
        else ""
    )
    return (
        f"{guide}Remove it (docker rm -f {owner.name}), or leave it and give this stack a "
        "talos-cache:prefix and a talos-cache:basePort of its own."
    )
