"""Finds clusters in Docker and what conflicts with them, and removes them.

talosctl labels what it makes with the cluster's name, so it can't tell two clusters of the same
name apart. What counts is the network, which the docker provisioner makes: containers that are
attached to it, by its id, belong to its owner.
"""

import ipaddress
import time
from collections.abc import Collection
from dataclasses import dataclass

import docker
from docker.errors import NotFound

from ops.docker.api import remove_until_gone
from plan.ownership import STACK_LABEL
from plan.talos.cluster import ClusterPlan

OWNER_LABEL = "talos-cache.owner"
CLUSTER_LABEL = "talos.cluster.name"
# A cluster counts as gone after this many looks that found nothing, this far apart. It takes more
# after an interrupted create: Docker may still be creating a node.
QUIET_LOOKS = 4
UNFINISHED_LOOKS = 20
QUIET_SECONDS = 0.25
# For Docker to remove all nodes, including those that it can't remove at once.
REMOVE_SECONDS = 120


@dataclass(frozen=True, kw_only=True)
class Resources:
    """Ids of a cluster's networks and containers in Docker."""

    networks: tuple[str, ...]
    containers: tuple[str, ...]


def own(
    client: docker.DockerClient, plan: ClusterPlan, owner: str, recorded: Collection[str] = ()
) -> Resources:
    """What belongs to this owner's cluster.

    Args:
        client: Docker's.
        plan: the cluster's.
        owner: see `folder.owner_of`.
        recorded: ids of networks and containers that are known to be the owner's.
    """
    networks = {
        network["Id"]: network["Name"]
        for network in client.api.networks()
        if network["Id"] in recorded or _is_own(network["Labels"] or {}, plan, owner)
    }
    ours = {*networks, *networks.values(), *recorded}
    containers = tuple(
        row["Id"]
        for row in client.api.containers(all=True)
        if row["Id"] in recorded
        or ((row["Labels"] or {}).get(CLUSTER_LABEL) == plan.name and _attached(row) & ours)
    )
    return Resources(networks=tuple(networks), containers=containers)


def all_of(client: docker.DockerClient, owner: str) -> tuple[str, ...]:
    """Ids of the nodes of all clusters of an owner."""
    networks = [network for network in client.api.networks() if _labelled(network, owner)]
    ours = {name for network in networks for name in (network["Id"], network["Name"])}
    return tuple(row["Id"] for row in client.api.containers(all=True) if _attached(row) & ours)


def network_conflicts(
    client: docker.DockerClient,
    plan: ClusterPlan,
    owner: str,
    recorded: Collection[str] = (),
    *,
    of_others: bool = False,
) -> list[str]:
    """Docker networks that have the cluster's name or overlap with its network, with their owners.

    Args:
        client: Docker's.
        plan: the cluster's.
        owner: see `folder.owner_of`.
        recorded: ids that are known to be this cluster's.
        of_others: leave out the other clusters of this owner.
    """
    mine = own(client, plan, owner, recorded)
    texts = []
    for network in client.api.networks():
        if network["Id"] in mine.networks:
            continue
        labels = network["Labels"] or {}
        if of_others and labels.get(OWNER_LABEL) == owner:
            continue
        if plan.name in (network["Name"], labels.get(CLUSTER_LABEL)):
            texts.append(_same_name(plan, f"the Docker network {network['Name']}", labels))
        elif subnet := _overlapping(network, plan.settings.cidr):
            texts.append(
                f"The network {plan.settings.cidr} of the cluster {plan.name} overlaps with "
                f"{subnet} of {_described(network['Name'], labels)}. Choose another cluster.cidr, "
                "or remove that network."
            )
    return texts


def node_conflicts(
    client: docker.DockerClient, plan: ClusterPlan, owner: str, recorded: Collection[str] = ()
) -> list[str]:
    """Containers with the names of the cluster's nodes, and who made them.

    Args:
        client: Docker's.
        plan: the cluster's.
        owner: see `folder.owner_of`.
        recorded: ids that are known to be this cluster's.
    """
    mine = own(client, plan, owner, recorded)
    texts = []
    for row in client.api.containers(all=True):
        name = (row["Names"] or [row["Id"][:12]])[0].lstrip("/")
        labels = row["Labels"] or {}
        taken = labels.get(CLUSTER_LABEL) == plan.name or name in plan.settings.node_names
        if taken and row["Id"] not in mine.containers:
            texts.append(_same_name(plan, f"the container {name}", labels))
    return texts


def remove(
    client: docker.DockerClient,
    plan: ClusterPlan,
    owner: str,
    recorded: Collection[str] = (),
    *,
    unfinished: bool = False,
) -> None:
    """Remove the owner's nodes with their anonymous volumes, then the network.

    It keeps looking for a while: Docker may still be creating nodes for a talosctl that was
    stopped a moment ago.

    Args:
        client: Docker's.
        plan: the cluster's.
        owner: see `folder.owner_of`.
        recorded: ids that are known to be this cluster's.
        unfinished: whether a talosctl was stopped just now.

    Raises:
        DockerException: Docker does not remove a node.
        RequestException: Docker does not answer.
    """
    networks = own(client, plan, owner, recorded).networks
    deadline = time.monotonic() + REMOVE_SECONDS
    looks = 0
    while looks < (UNFINISHED_LOOKS if unfinished else QUIET_LOOKS):
        if nodes := own(client, plan, owner, recorded).containers:
            for node in nodes:
                remove_until_gone(client, node, deadline)
            looks = 0
        elif not networks:
            break  # no node can appear that would be attached to one of ours
        else:
            time.sleep(QUIET_SECONDS)
        looks += 1
    for network in networks:
        try:
            for guest in client.api.inspect_network(network)["Containers"] or {}:
                # A cache or a tool that was connected by hand; it stays, without this network.
                client.api.disconnect_container_from_network(guest, network, force=True)
            client.api.remove_network(network)
        except NotFound:
            continue


def _is_own(labels: dict[str, str], plan: ClusterPlan, owner: str) -> bool:
    return labels.get(OWNER_LABEL) == owner and labels.get(CLUSTER_LABEL) == plan.name


def _labelled(network: dict, owner: str) -> bool:  # type: ignore[type-arg]  # JSON from Docker
    return (network["Labels"] or {}).get(OWNER_LABEL) == owner


def _attached(row: dict) -> set[str]:  # type: ignore[type-arg]  # JSON from Docker
    """Ids of a container's networks; and the name of one, for it has no ids before it starts."""
    networks = (row.get("NetworkSettings") or {}).get("Networks") or {}
    return {
        str(row.get("HostConfig", {}).get("NetworkMode")),
        *(str(network["NetworkID"]) for network in networks.values()),
    }


def _overlapping(network: dict, cidr: str) -> str | None:  # type: ignore[type-arg]  # JSON
    """The first subnet of the network that overlaps."""
    own_network = ipaddress.IPv4Network(cidr)
    for config in (network.get("IPAM") or {}).get("Config") or []:
        subnet = ipaddress.ip_network(config.get("Subnet") or "255.255.255.255/32")
        if subnet.version == own_network.version and subnet.overlaps(own_network):
            return str(subnet)
    return None


def _same_name(plan: ClusterPlan, what: str, labels: dict[str, str]) -> str:
    stack = labels.get(STACK_LABEL)
    maker = f"made by the stack {stack}" if stack else "not made by this stack"
    way_out = (
        f"make down STACK={stack}, where that stack is"
        if stack
        else f"talosctl cluster destroy --name {plan.name}"
    )
    return (
        f"A cluster {plan.name} already has {what}, {maker}. Choose another cluster.name, or "
        f"remove that cluster: {way_out}."
    )


def _described(name: str, labels: dict[str, str]) -> str:
    cluster = labels.get(CLUSTER_LABEL)
    return f"the Talos cluster {cluster}" if cluster else f"the Docker network {name}"
