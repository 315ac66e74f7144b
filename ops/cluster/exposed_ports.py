"""Whether the ports are free that a cluster on Docker is to publish on this machine."""

import errno
import socket
from collections.abc import Collection

import docker

from ops import docker_api
from ops.cluster import docker_nodes
from ops.docker_api import Container
from plan import ownership
from plan.cluster import ClusterPlan
from plan.host_ports import UDP, HostPort, exposed
from plan.ownership import STACK_LABEL


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
    there = docker_api.containers(client)
    found = []
    for wanted in map(exposed, plan.settings.exposed_ports):
        holders = [one for one in there if any(port.clashes(wanted) for port in one.host_ports)]
        strangers = [
            one
            for one in holders
            if one.id not in nodes and not (of_others and _is_of_stack(one, plan, owner))
        ]
        if strangers:
            found.append(_taken(plan, wanted, _described(strangers[0])))
        elif not holders and docker_api.is_local(client):
            found += _not_bound(plan, wanted)
    return list(dict.fromkeys(found))


def _is_of_stack(holder: Container, plan: ClusterPlan, owner: str) -> bool:
    said = ownership.owner(dict(holder.labels))
    if said is None:
        return False
    digits = ownership.parts(said.identity)[1]
    return digits == owner if digits else said.stack == plan.stack


def _taken(plan: ClusterPlan, wanted: HostPort, by: str) -> str:
    return (
        f"{wanted}, which the cluster {plan.name} exposes, is taken by {by}, or write another "
        "port in cluster.exposedPorts."
    )


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


def _not_bound(plan: ClusterPlan, wanted: HostPort) -> list[str]:
    kind = socket.SOCK_DGRAM if wanted.protocol == UDP else socket.SOCK_STREAM
    with socket.socket(socket.AF_INET, kind) as probe:
        if wanted.protocol != UDP:  # there it would let two programs have one port
            # As Docker's own proxy does: connections that linger after a close don't count.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((wanted.address, wanted.port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                which = "-lunp" if wanted.protocol == UDP else "-ltnp"
                program = (
                    f"a program outside Docker (sudo ss {which} 'sport = :{wanted.port}' names "
                    "it). Stop it"
                )
                return [_taken(plan, wanted, program)]
            return [
                f"{wanted.address} can't be listened on ({error.strerror}): it is no address of "
                "this machine. Correct cluster.exposedPorts."
            ]
    return []
