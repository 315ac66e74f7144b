"""Which node a request came from, as far as a cache can tell."""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field

from plan.settings.stack import Settings


@dataclass(frozen=True, kw_only=True)
class Nodes:
    """The nodes of a stack's clusters.

    Attributes:
        names: address -> name.
        hidden: names of those that a cache may not tell apart, because they run on Docker.
    """

    names: Mapping[str, str] = field(default_factory=dict)
    hidden: frozenset[str] = frozenset()

    def address_of(self, name: str) -> str | None:
        """The address of a node, by its name, or any address; None if there is no such node."""
        try:
            return str(ipaddress.ip_address(name))
        except ValueError:
            return next((address for address, known in self.names.items() if known == name), None)

    def name_of(self, client: str) -> str:
        """Who asked: a node's name, or the address."""
        if client in self.names:
            return self.names[client]
        return f"a node on Docker ({client})" if self.hidden else client


def nodes_of(settings: Settings) -> Nodes:
    """The nodes of all clusters of a stack."""
    pairs = [
        (cluster.provisioner, address, name)
        for cluster in settings.clusters
        for address, name in zip(cluster.node_ips, cluster.node_names, strict=True)
    ]
    return Nodes(
        names={address: name for _, address, name in pairs},
        hidden=frozenset(name for provisioner, _, name in pairs if provisioner == "docker"),
    )
