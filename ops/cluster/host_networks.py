"""Networks that this machine already has, and which of them a cluster would overlap with."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv4Network

from ops.cluster import qemu_cleanup
from ops.cluster.folder import Folder, clusters_beside, owner_of
from ops.errors import OpsError
from plan.talos.cluster import ClusterPlan

# Docker's bridges: docker_nodes asks Docker about their networks.
DOCKER_INTERFACE = re.compile(r"docker0|br-[0-9a-f]{12}")
ANSWER_SECONDS = 30
PROPOSED = ("10.5.0.0/24", "10.6.0.0/24", "172.30.0.0/24", "192.168.210.0/24")


@dataclass(frozen=True, kw_only=True)
class Network:
    """A network that this host already has, and the interface that leads there."""

    interface: str
    cidr: IPv4Network


def conflicts(plan: ClusterPlan, folder: Folder, *, of_others: bool = False) -> list[str]:
    """Networks of this host that the cluster's, on QEMU or Docker, would overlap with.

    Docker's own are left out; those of other clusters on QEMU are included. Docker itself only
    checks its own.

    Args:
        plan: the cluster's.
        folder: its private folder.
        of_others: leave out the other clusters of this stack.
    """
    siblings = clusters_beside(folder.path.parent) if of_others else []
    own = [*siblings, *([plan.name] if is_recorded(plan, folder) else [])]
    return overlaps(plan, networks_now(plan), {qemu_cleanup.bridge_of(name) for name in own})


def is_recorded(plan: ClusterPlan, folder: Folder) -> bool:
    """Whether this stack made the cluster, or a part of it."""
    return folder.recorded(owner_of(plan.stack)) is not None


def overlaps(
    plan: ClusterPlan, networks: Sequence[Network], own: Collection[str] = ()
) -> list[str]:
    """Which of this host's networks the cluster's network would cut off, or be cut off by.

    Args:
        plan: the cluster's.
        networks: of this host.
        own: interfaces of this stack, which do not count.
    """
    cidr = IPv4Network(plan.settings.cidr)
    return [
        f"The network {cidr} of the cluster {plan.name} overlaps with {network.cidr} of this "
        f"machine's interface {network.interface}. Choose another cluster.cidr{_free(networks)}."
        for network in dict.fromkeys(networks)
        if network.cidr.overlaps(cidr)
        if network.interface not in own and not DOCKER_INTERFACE.fullmatch(network.interface)
    ]


def networks_in(addresses: str, routes: str, cidr: IPv4Network) -> list[Network]:
    """The networks in what `ip -json address` and `ip -json route` print.

    A route that is wider than `cidr`, such as a VPN's to 10.0.0.0/8, does not count: the
    cluster's own route is more specific and wins.
    """
    networks = [
        Network(
            interface=link["ifname"],
            cidr=IPv4Interface(f"{address['local']}/{address['prefixlen']}").network,
        )
        for link in json.loads(addresses)
        for address in link.get("addr_info", [])
    ]
    for route in json.loads(routes):
        if route["dst"] == "default" or "dev" not in route:
            continue
        network = Network(interface=route["dev"], cidr=IPv4Network(route["dst"]))
        if network.cidr.prefixlen >= cidr.prefixlen:
            networks.append(network)
    return networks


def networks_now(plan: ClusterPlan) -> list[Network]:
    """This machine's, as `ip` prints them."""
    if program("ip") is None:
        return []  # already reported as missing
    cidr = IPv4Network(plan.settings.cidr)
    return networks_in(_ip("address"), _ip("route"), cidr)


def _ip(what: str) -> str:
    argv = [program("ip") or "ip", "-json", "-4", what, "show"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=ANSWER_SECONDS)
    if done.returncode != 0:
        raise OpsError(f"{' '.join(argv)} ended with {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def _free(networks: Sequence[Network]) -> str:
    for text in PROPOSED:
        if not any(network.cidr.overlaps(IPv4Network(text)) for network in networks):
            return f", for instance {text}"
    return ""


# Some of these may be missing from a user's PATH, never from root's.
SYSTEM_PATH = "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin"


def program(name: str) -> str | None:
    """Path of a system program, also if its folder is not on the user's PATH."""
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:{SYSTEM_PATH}")
