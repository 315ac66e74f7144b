"""Runs the nodes of a cluster as containers in Docker.

The network is made here, before talosctl runs, to carry the owner's label: by it, clusters of the
same name are told apart (see `docker_nodes`). talosctl uses a network that it finds.
"""

import functools
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import docker
from docker.errors import APIError, NotFound
from docker.types import IPAMConfig, IPAMPool
from msgspec.structs import replace

from host.locks import only_one
from ops.cluster import docker_nodes, exposed_ports, host_networks, node_image
from ops.cluster.docker_nodes import CLUSTER_LABEL, OWNER_LABEL
from ops.cluster.folder import image_lock
from ops.cluster.provisioner import Cluster
from ops.cluster.record import ClusterRecord
from ops.cluster.supervisor import Supervisor, say
from ops.docker import api
from ops.docker.api import labels_of
from ops.errors import OpsError
from plan.talos import images
from plan.talos.cluster import ClusterPlan
from plan.talos.versions import Version

OWNED_LABEL = "talos.owned"
# talosctl's own default; it refuses a network that differs.
MTU = "1500"


# Exists if the kernel module br_netfilter is loaded or built in.
BRIDGE_FILTER = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")


class DockerProvisioner:
    """See `Provisioner`."""

    def conflicts(self, cluster: Cluster, *, of_others: bool) -> list[str]:
        """Networks, nodes and ports that are taken, and networks of this machine."""
        client = api.connect()
        about = (client, cluster.plan, cluster.owner, cluster.docker_ids)
        texts = [
            *docker_nodes.network_conflicts(*about, of_others=of_others),
            *docker_nodes.node_conflicts(*about),
            *exposed_ports.conflicts(*about, of_others=of_others),
        ]
        if sys.platform == "linux" and api.is_local(client):
            _note_on_bridge_filter(BRIDGE_FILTER)
            texts += host_networks.conflicts(cluster.plan, cluster.folder, of_others=of_others)
        return texts

    def prepare(self, cluster: Cluster, version: Version, supervisor: Supervisor) -> None:
        """Pull the node image through its cache, and make the network."""
        client = api.connect()
        with only_one(image_lock()):  # the clusters of a stack are created in parallel
            reference = images.node_image(cluster.plan.settings, version)
            sources = node_image.sources(cluster.plan)
            node_image.ensure_image(client, reference, sources, supervisor)
        network = make_network(client, cluster.plan, cluster.owner)
        cluster.folder.record(ClusterRecord(owner=cluster.owner, network=network))

    def wrap(self, argv: Sequence[str]) -> list[str]:
        """Unchanged: access to Docker is enough."""
        return list(argv)

    def after_create(self, cluster: Cluster, record: ClusterRecord) -> ClusterRecord:
        """Record the ids of the network and the nodes."""
        [network] = cluster.docker_ids  # that `prepare` has recorded
        nodes = docker_nodes.own(api.connect(), cluster.plan, cluster.owner, {network})
        return replace(record, network=network, containers=nodes.containers)

    def is_gone(self, record: ClusterRecord) -> bool:
        """Whether its network is gone."""
        networks = api.connect().api.networks()
        return record.network not in {None, *(network["Id"] for network in networks)}

    def containers(self, cluster: Cluster) -> Mapping[str, Mapping[str, Any]] | None:
        """Address -> what Docker says about a node; a stopped one keeps its address."""
        client = api.connect()
        by_address = {}
        own = docker_nodes.own(client, cluster.plan, cluster.owner, cluster.docker_ids)
        for node in own.containers:
            try:
                inspected = client.api.inspect_container(node)
            except NotFound:  # it was removed just now
                continue
            for network in inspected["NetworkSettings"]["Networks"].values():
                chosen = (network.get("IPAMConfig") or {}).get("IPv4Address")
                by_address[str(chosen or network["IPAddress"])] = inspected
        return by_address

    def remove(self, cluster: Cluster, record: ClusterRecord, *, unfinished: bool) -> None:
        """Remove the containers, their anonymous volumes, and the network."""
        about = (api.connect(), cluster.plan, cluster.owner, record.docker_ids)
        docker_nodes.remove(*about, unfinished=unfinished)


def make_network(client: docker.DockerClient, plan: ClusterPlan, owner: str) -> str:
    """Create the cluster's network; returns its id."""
    pools = IPAMConfig(pool_configs=[IPAMPool(subnet=plan.settings.cidr)])
    try:
        network = client.api.create_network(
            plan.name,
            driver="bridge",
            ipam=pools,
            check_duplicate=True,
            options={"com.docker.network.driver.mtu": MTU},
            labels={
                OWNED_LABEL: "true",
                CLUSTER_LABEL: plan.name,
                OWNER_LABEL: owner,
                **labels_of(plan.stack),
            },
        )
    except APIError as error:
        raise OpsError(
            f"Docker can't create the network {plan.settings.cidr} for the cluster: "
            f"{error.explanation}. Choose another cluster.cidr, or remove what uses it."
        ) from error
    return str(network["Id"])


@functools.cache
def _note_on_bridge_filter(setting: Path) -> None:
    """Not a conflict: a CNI other than Flannel may do without."""
    if not setting.exists():
        say(
            "note: the kernel module br_netfilter is not loaded. Flannel needs it on nodes in "
            "Docker: sudo modprobe br_netfilter"
        )
