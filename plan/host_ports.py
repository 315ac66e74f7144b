"""Ports of this machine: which of them a stack asks for, and where two things ask for one."""

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
        """As people write it in a sentence."""
        kind = "" if self.protocol == TCP else f"/{self.protocol}"
        return f"Port {self.port}{kind} of {self.address}"

    def clashes(self, other: "HostPort") -> bool:
        """Whether only one of the two can be had."""
        if (self.port, self.protocol) != (other.port, other.protocol):
            return False
        own, others = ip_address(self.address), ip_address(other.address)
        # Docker listens on :: for IPv6 alone.
        same = own.version == others.version
        return own == others or (same and (own.is_unspecified or others.is_unspecified))

    def is_among(self, ports: "Iterable[HostPort]") -> bool:
        """Whether it can't be had beside these."""
        return any(port.clashes(self) for port in ports)


def exposed(item: str) -> HostPort:
    """An entry of `exposedPorts`: `[address:]port:port of the nodes/protocol`."""
    ports, _, protocol = item.partition("/")
    *address, port, _ = ports.split(":")
    return HostPort(address=address[0] if address else LOOPBACK, port=int(port), protocol=protocol)


def of_cache(plan: CachePlan) -> tuple[HostPort, ...]:
    """Where a cache is published."""
    return tuple(HostPort(address=one.address, port=one.port) for one in plan.published)


def clashes(clusters: Sequence[ClusterSettings], plans: Iterable[CachePlan]) -> tuple[Problem, ...]:
    """Entries of `exposedPorts` that a cache of the stack has, or an entry before them."""
    taken = [(port, f"the cache of {plan.host}") for plan in plans for port in of_cache(plan)]
    found = []
    for index, cluster in enumerate(clusters):
        group = "cluster" if cluster.slug == ONE else f"cluster[{index}]"
        for number, item in enumerate(cluster.exposed_ports):
            wanted = exposed(item)
            path = f"{group}.exposedPorts[{number}]"
            if owner := next((by for port, by in taken if port.clashes(wanted)), ""):
                found.append(
                    Problem(
                        path=path,
                        found=f'"{item}"',
                        rule=f"{owner} has that port of this machine",
                        fix="choose another port of this machine (it stands before the nodes' "
                        "port)",
                    )
                )
            taken.append((wanted, path))
    return tuple(found)


@dataclass(frozen=True, kw_only=True)
class Held:
    """Ports that the container of a cache of the stack has now.

    Attributes:
        container: its name.
        logical: its logical name in the stack's state, which goes by the cache's host alone; empty
            where that is not known.
        ports: all of them.
    """

    container: str
    logical: str
    ports: Sequence[HostPort]

    def is_of(self, plan: CachePlan) -> bool:
        """Whether it is this cache's own, which gives its ports up by itself: it is replaced.

        It has another name where the stack's prefix has changed.
        """
        if self.logical:
            return self.logical == plan.logical_container
        return self.container == plan.name


@dataclass(frozen=True, kw_only=True)
class Move:
    """A port that a cache's container still has, and that something else is to get.

    Attributes:
        container: name of that container.
        port: as it is wanted.
        by: what wants it.
    """

    container: str
    port: HostPort
    by: str

    def __str__(self) -> str:
        return (
            f"{self.port}, for {self.by}, is still held by this stack's own container "
            f"{self.container}. make up removes it first; with plain pulumi: docker rm -f "
            f"{self.container}, then up again (the images in its volume stay)"
        )


def moves(
    held: Sequence[Held],
    plans: Sequence[CachePlan],
    clusters: Iterable[ClusterSettings],
) -> tuple[Move, ...]:
    """What has to give up a port before another can have it.

    The engine removes what is gone last, and replaces caches side by side.

    Args:
        held: what this stack's caches have now.
        plans: of the caches as they are to be.
        clusters: as they are to be.
    """
    found = []
    for plan in plans:
        others = [one for one in held if not one.is_of(plan)]
        by = f"the cache of {plan.host}"
        found += [_held(others, wanted, by) for wanted in of_cache(plan)]
    for cluster in clusters:
        by = f"the cluster {cluster.name}"
        found += [_held(held, exposed(item), by) for item in cluster.exposed_ports]
    return tuple(move for move in found if move)


def _held(held: Sequence[Held], wanted: HostPort, by: str) -> Move | None:
    for one in held:
        if wanted.is_among(one.ports):
            return Move(container=one.container, port=wanted, by=by)
    return None
