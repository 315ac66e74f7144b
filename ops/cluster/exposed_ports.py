"""Checks that the ports are free that a cluster on Docker publishes on this machine."""

from collections.abc import Collection

import docker

from ops.cluster import docker_nodes
from ops.docker import api
from ops.docker.api import Container
from ops.registry import listening
from plan import ownership
from plan.host_ports import exposed
from plan.ownership import STACK_LABEL
from plan.talos.cluster import ClusterPlan

KEY = "cluster.exposedPorts"
OTHERWISE = f"choose another port in {KEY}"


def conflicts(
    client: docker.DockerClient,
    plan: ClusterPlan,
    owner: str,
    recorded: Collection[str] = (),
    *,
    of_others: bool = False,
) -> list[str]:
    """Ports that are taken, and by what.

    Args:
        client: Docker's.
        plan: the cluster's.
        owner: see `folder.owner_of`.
        recorded: ids that are known to be this cluster's.
        of_others: leave out what this stack has: the engine may be about to replace it.
    """
    if not plan.settings.exposed_ports:
        return []
    nodes = docker_nodes.own(client, plan, owner, recorded).containers
    if of_others:
        nodes = (*nodes, *docker_nodes.all_of(client, owner))
    containers = api.containers(client)
    purpose = f"which the cluster {plan.name} exposes"
    texts: list[str | None] = []
    for port in map(exposed, plan.settings.exposed_ports):
        holders = [container for container in containers if port.is_among(container.host_ports)]
        foreign = [
            holder
            for holder in holders
            if holder.id not in nodes and not (of_others and _is_of_stack(holder, plan, owner))
        ]
        if foreign:
            texts.append(
                f"{port}, {purpose}, is taken by {_described(foreign[0])}, or {OTHERWISE}."
            )
        elif not holders and api.is_local(client):
            texts.append(listening.conflict(port, purpose, otherwise=OTHERWISE, keys=KEY))
    return list(dict.fromkeys(filter(None, texts)))


def _is_of_stack(holder: Container, plan: ClusterPlan, owner: str) -> bool:
    maker = ownership.owner(dict(holder.labels))
    if maker is None:
        return False
    digits = ownership.parts(maker.identity)[1]
    return digits == owner if digits else maker.stack == plan.stack


def _described(holder: Container) -> str:
    labels = dict(holder.labels)
    if cluster := labels.get(docker_nodes.CLUSTER_LABEL):
        return (
            f"the container {holder.name}, a node of the cluster {cluster}. Remove that cluster "
            f"(make cluster-down CLUSTER={cluster}, if this project made it)"
        )
    if stack := labels.get(STACK_LABEL):
        return f"the container {holder.name} of the stack {stack}. Take that stack down"
    return f"the container {holder.name} (image {holder.image}). Remove it"
