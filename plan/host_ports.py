"""Ports of this machine: which of them a stack needs, and where two things need the same."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address

from plan.caches.cache_plan import CachePlan
from plan.network import LOOPBACK
from plan.problems import Problem
from plan.settings.cluster import ClusterSettings
from plan.settings.nodes import ONE

TCP, UDP = "tcp", "udp"


@dataclass(frozen=True, kw_only=True)
class HostPort:
    """A port on an address of this machine."""

    address: str
    port: int
    protocol: str = TCP

    def __str__(self) -> str:
        """As in a sentence."""
        kind = "" if self.protocol == TCP else f"/{self.protocol}"
        return f"Port {self.port}{kind} of {self.address}"

    def clashes(self, other: "HostPort") -> bool:
        """Whether the two can't be published at the same time."""
        if (self.port, self.protocol) != (other.port, other.protocol):
            return False
        own, others = ip_address(self.address), ip_address(other.address)
        # Docker listens on :: for IPv6 alone.
        same = own.version == others.version
        return own == others or (same and (own.is_unspecified or others.is_unspecified))

    def is_among(self, ports: "Iterable[HostPort]") -> bool:
        """Whether it clashes with one of these."""
        return any(port.clashes(self) for port in ports)


def exposed(item: str) -> HostPort:
    """An entry of `exposedPorts`: `[address:]host port:node port/protocol`."""
    ports, _, protocol = item.partition("/")
    *address, port, _ = ports.split(":")
    return HostPort(address=address[0] if address else LOOPBACK, port=int(port), protocol=protocol)


def of_cache(plan: CachePlan) -> tuple[HostPort, ...]:
    """Where a cache is published."""
    return tuple(HostPort(address=one.address, port=one.port) for one in plan.published)


def clashes(clusters: Sequence[ClusterSettings], plans: Iterable[CachePlan]) -> tuple[Problem, ...]:
    """Entries of `exposedPorts` that clash with a cache of the stack, or with an earlier entry."""
    taken = [(port, f"the cache of {plan.host}") for plan in plans for port in of_cache(plan)]
    problems = []
    for index, cluster in enumerate(clusters):
        group = "cluster" if cluster.slug == ONE else f"cluster[{index}]"
        for number, item in enumerate(cluster.exposed_ports):
            wanted = exposed(item)
            path = f"{group}.exposedPorts[{number}]"
            if owner := next((by for port, by in taken if port.clashes(wanted)), ""):
                problems.append(
                    Problem(
                        path=path,
                        found=f'"{item}"',
                        rule=f"a free port of this machine, and {owner} has this one",
                        fix="choose another host port (the one before the node port)",
                    )
                )
            taken.append((wanted, path))
    return tuple(problems)


@dataclass(frozen=True, kw_only=True)
class Held:
    """Ports that the container of one of the stack's caches has now.

    Attributes:
        container: its name.
        logical: its logical name in the stack's state, which depends on the cache's host only;
            empty if it is unknown.
        ports: all of them.
    """

    container: str
    logical: str
    ports: Sequence[HostPort]

    def is_of(self, plan: CachePlan) -> bool:
        """Whether it is this cache's own container, which is replaced and so frees its ports.

        Its name differs if the stack's prefix has changed.
        """
        if self.logical:
            return self.logical == plan.logical_container
        return self.container == plan.name


@dataclass(frozen=True, kw_only=True)
class Move:
    """A port that a cache's container still has, and that something else needs.

    Attributes:
        container: name of that container.
        port: that is needed.
        by: what needs it.
    """

    container: str
    port: HostPort
    by: str

    def __str__(self) -> str:
        return (
            f"{self.port}, for {self.by}, is still used by this stack's own container "
            f"{self.container}. make up removes that first; with plain pulumi, run docker rm -f "
            f"{self.container}, then up again (the images stay in its volume)"
        )


def moves(
    held: Sequence[Held],
    plans: Sequence[CachePlan],
    clusters: Iterable[ClusterSettings],
) -> tuple[Move, ...]:
    """Containers that must free a port before something else can have it.

    The engine deletes removed resources last, and replaces caches in parallel.

    Args:
        held: what this stack's caches have now.
        plans: of the caches after the update.
        clusters: after the update.
    """
    needed = []
    for plan in plans:
        others = [one for one in held if not one.is_of(plan)]
        by = f"the cache of {plan.host}"
        needed += [_held(others, port, by) for port in of_cache(plan)]
    for cluster in clusters:
        by = f"the cluster {cluster.name}"
        needed += [_held(held, exposed(item), by) for item in cluster.exposed_ports]
    return tuple(move for move in needed if move)


def _held(held: Sequence[Held], wanted: HostPort, by: str) -> Move | None:
    for one in held:
        if wanted.is_among(one.ports):
            return Move(container=one.container, port=wanted, by=by)
    return None
