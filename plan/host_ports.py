"""Ports of this machine: which of them a stack asks for, and where two things ask for one."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address

from plan.addressing import LOOPBACK
from plan.caches import CachePlan
from plan.checks import Problem
from plan.cluster_settings import ONE, ClusterSettings
from plan.upstreams import physical_name

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
        return own == others or own.is_unspecified or others.is_unspecified


def exposed(item: str) -> HostPort:
    """An entry of `exposedPorts`: `[address:]port:port of the nodes/protocol`."""
    ports, _, protocol = item.partition("/")
    *address, port, _ = ports.split(":")
    return HostPort(address=address[0] if address else LOOPBACK, port=int(port), protocol=protocol)


def of_cache(plan: CachePlan) -> tuple[HostPort, ...]:
    """Where a cache is published."""
    return tuple(HostPort(address=one.address, port=one.port) for one in plan.published)


def clashes(
    clusters: Sequence[ClusterSettings], caches: Iterable[CachePlan]
) -> tuple[Problem, ...]:
    """Entries of `exposedPorts` that a cache of the stack has, or an entry before them."""
    taken = [(port, f"the cache of {plan.host}") for plan in caches for port in of_cache(plan)]
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
    held: Mapping[str, Sequence[HostPort]],
    caches: Sequence[CachePlan],
    clusters: Iterable[ClusterSettings],
) -> tuple[Move, ...]:
    """What has to give up a port before another can have it.

    The engine removes what is gone last, and replaces caches side by side.

    Args:
        held: name -> ports of the containers that this stack's caches have now.
        caches: as they are to be.
        clusters: as they are to be.
    """
    found = []
    for plan in caches:
        others = {name: ports for name, ports in held.items() if not _is_of(name, plan)}
        by = f"the cache of {plan.host}"
        found += [_held(others, wanted, by) for wanted in of_cache(plan)]
    for cluster in clusters:
        by = f"the cluster {cluster.name}"
        found += [_held(held, exposed(item), by) for item in cluster.exposed_ports]
    return tuple(move for move in found if move)


def _held(held: Mapping[str, Sequence[HostPort]], wanted: HostPort, by: str) -> Move | None:
    for name, ports in held.items():
        if any(port.clashes(wanted) for port in ports):
            return Move(container=name, port=wanted, by=by)
    return None


def _is_of(container: str, plan: CachePlan) -> bool:
    """Whether it is this cache's own, which gives its ports up by itself: it is replaced.

    It has another name where the stack's prefix has changed.
    """
    host = physical_name("", plan.host)
    prefix = plan.name.removesuffix(host)
    return container == plan.name or (
        container.endswith(host) and not container.startswith(f"{prefix}-")
    )
