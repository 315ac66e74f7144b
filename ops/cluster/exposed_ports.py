"""Whether the ports are free that a cluster on Docker is to publish on this machine."""

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
OTHERWISE = f"write another port in {KEY}"


def conflicts(
    client: docker.DockerClient,
    plan: ClusterPlan,
    owner: str,
    recorded: Collection[str] = (),
    *,
    of_others: bool = False,
) -> list[str]:
    """Ports that something else has, and what.

    Args:
        client: of Docker.
        plan: of the cluster.
        owner: see `folder.owner_of`.
        recorded: ids that are known to be this very cluster's.
        of_others: leave out what this stack has: the engine may be about to replace it.
    """
    if not plan.settings.exposed_ports:
        return []
    nodes = docker_nodes.own(client, plan, owner, recorded).containers
    if of_others:
        nodes = (*nodes, *docker_nodes.all_of(client, owner))
    there = api.containers(client)
    purpose = f"which the cluster {plan.name} exposes"
    found: list[str | None] = []
    for wanted in map(exposed, plan.settings.exposed_ports):
        holders = [one for one in there if wanted.is_among(one.host_ports)]
        strangers = [
            one
            for one in holders
            if one.id not in nodes and not (of_others and _is_of_stack(one, plan, owner))
        ]
        if strangers:
            found.append(
                f"{wanted}, {purpose}, is taken by {_described(strangers[0])}, or {OTHERWISE}."
            )
        elif not holders and api.is_local(client):
            found.append(listening.conflict(wanted, purpose, otherwise=OTHERWISE, keys=KEY))
    return list(dict.fromkeys(filter(None, found)))


def _is_of_stack(holder: Container, plan: ClusterPlan, owner: str) -> bool:
    said = ownership.owner(dict(holder.labels))
    if said is None:
        return False
    digits = ownership.parts(said.identity)[1]
    return digits == owner if digits else said.stack == plan.stack


def _described(holder: Container) -> str:
    labels = dict(holder.labels)
    if cluster := labels.get(docker_nodes.CLUSTER_LABEL):
        return (
            f"the container {holder.name}, a node of the cluster {cluster}. Remove that cluster "
            f"(make cluster-down CLUSTER={cluster}, if it is this project's)"
        )
    if stack := labels.get(STACK_LABEL):
        return f"the container {holder.name} of the stack {stack}. Take that stack down"
    return f"the container {holder.name} (image {holder.image}). Remove it"
