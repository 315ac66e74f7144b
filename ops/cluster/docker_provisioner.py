"""A cluster on Docker: what there is of it, what is in its way, and how it is removed.

talosctl marks what it makes with the cluster's name, and two clusters of one name look the same to
it. So the network is made here, before talosctl runs: it carries the owner's label, and what is
attached to that very network, by its id, is the owner's. talosctl uses a network that it finds.
"""

import ipaddress
import threading
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import docker
from docker.errors import APIError, DockerException, NotFound
from docker.types import IPAMConfig, IPAMPool
from requests import RequestException

from ops.cluster.supervisor import POLL_SECONDS, Lifeline, say
from ops.docker.api import labels_of, remove_until_gone
from ops.errors import OpsError
from plan.ownership import STACK_LABEL
from plan.talos.cluster import ClusterPlan

OWNER_LABEL = "talos-cache.owner"
CLUSTER_LABEL = "talos.cluster.name"
OWNED_LABEL = "talos.owned"
# talosctl's own default; it refuses a network that differs.
MTU = "1500"
# How often, and how long apart, nothing must be found before a cluster counts as gone; and where
# its create was broken off, so that Docker may still be making a node.
QUIET_LOOKS = 4
UNFINISHED_LOOKS = 20
QUIET_SECONDS = 0.25
# For Docker to remove its nodes, with those that it does not get rid of at once.
REMOVE_SECONDS = 120


@dataclass(frozen=True, kw_only=True)
class Found:
    """Ids of what Docker has of a cluster."""

    networks: tuple[str, ...]
    containers: tuple[str, ...]


def own(
    client: docker.DockerClient, plan: ClusterPlan, owner: str, recorded: Collection[str] = ()
) -> Found:
    """What belongs to this owner's cluster.

    Args:
        client: of Docker.
        plan: of the cluster.
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
    return Found(networks=tuple(networks), containers=containers)


def all_of(client: docker.DockerClient, owner: str) -> tuple[str, ...]:
    """Ids of the nodes of every cluster that an owner has."""
    networks = [one for one in client.api.networks() if _labelled(one, owner)]
    ours = {name for one in networks for name in (one["Id"], one["Name"])}
    return tuple(row["Id"] for row in client.api.containers(all=True) if _attached(row) & ours)


def conflicts(
    client: docker.DockerClient,
    plan: ClusterPlan,
    owner: str,
    recorded: Collection[str] = (),
    *,
    of_others: bool = False,
) -> list[str]:
    """What has the cluster's name or overlaps with its network, and whose it is.

    Args:
        client: of Docker.
        plan: of the cluster.
        owner: see `folder.owner_of`.
        recorded: ids that are known to be this very cluster's.
        of_others: leave out the other clusters of this owner.
    """
    mine = own(client, plan, owner, recorded)
    found = []
    for network in client.api.networks():
        if network["Id"] in mine.networks:
            continue
        labels = network["Labels"] or {}
        if of_others and labels.get(OWNER_LABEL) == owner:
            continue
        if plan.name in (network["Name"], labels.get(CLUSTER_LABEL)):
            found.append(_same_name(plan, f"the Docker network {network['Name']}", labels))
        elif subnet := _overlapping(network, plan.settings.cidr):
            found.append(
                f"The network {plan.settings.cidr} of the cluster {plan.name} overlaps with "
                f"{subnet} of {_described(network['Name'], labels)}. Write another cluster.cidr, "
                "or remove that network."
            )
    for row in client.api.containers(all=True):
        name = (row["Names"] or [row["Id"][:12]])[0].lstrip("/")
        labels = row["Labels"] or {}
        taken = labels.get(CLUSTER_LABEL) == plan.name or name in _node_names(plan)
        if taken and row["Id"] not in mine.containers and plan.settings.provisioner == "docker":
            found.append(_same_name(plan, f"the container {name}", labels))
    return found


def make_network(client: docker.DockerClient, plan: ClusterPlan, owner: str) -> str:
    """Make the cluster's network; returns its id."""
    pools = IPAMConfig(pool_configs=[IPAMPool(subnet=plan.settings.cidr)])
    try:
        made = client.api.create_network(
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
            f"Docker makes no network {plan.settings.cidr} for the cluster: "
            f"{error.explanation}. Write another cluster.cidr, or remove what has it."
        ) from error
    return str(made["Id"])


def remove(
    client: docker.DockerClient,
    plan: ClusterPlan,
    owner: str,
    recorded: Collection[str] = (),
    *,
    unfinished: bool = False,
) -> None:
    """Remove what is the owner's: nodes with their anonymous volumes, then the network.

    It looks again until nothing is left: Docker may still be making the nodes that a talosctl
    which was ended a moment ago has asked for.

    Args:
        client: of Docker.
        plan: of the cluster.
        owner: see `folder.owner_of`.
        recorded: ids that are known to be this very cluster's.
        unfinished: whether a talosctl was ended just now.

    Raises:
        DockerException: Docker does not remove a node.
        RequestException: it does not answer.
    """
    found = own(client, plan, owner, recorded)
    deadline = time.monotonic() + REMOVE_SECONDS
    looks = 0
    while looks < (UNFINISHED_LOOKS if unfinished else QUIET_LOOKS):
        if nodes := own(client, plan, owner, recorded).containers:
            for node in nodes:
                remove_until_gone(client, node, deadline)
            looks = 0
        elif not found.networks:
            break  # without one of ours, no node can come that would be
        else:
            time.sleep(QUIET_SECONDS)
        looks += 1
    for network in found.networks:
        try:
            for guest in client.api.inspect_network(network)["Containers"] or {}:
                # A cache or a tool that somebody connected by hand; it stays, without this network.
                client.api.disconnect_container_from_network(guest, network, force=True)
            client.api.remove_network(network)
        except NotFound:
            continue


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where Docker pulls an upstream's images from.

    Attributes:
        url: of a cache on this machine, or of a project in Harbor.
        login: user name and password for it; empty where anybody may pull.
    """

    url: str
    login: Mapping[str, str] = field(default_factory=dict, repr=False)


def ensure_image(
    client: docker.DockerClient, reference: str, sources: Mapping[str, Source], lifeline: Lifeline
) -> None:
    """Have the node image come through its registry's cache: Docker would go around it.

    Args:
        client: of Docker.
        reference: the image's usual name, under which it is kept.
        sources: upstream host -> where to pull its images from.
        lifeline: until when to go on.

    Raises:
        OpsError: the cache has it not and can't get it.
    """
    host, _, path = reference.partition("/")
    if host not in sources or client.api.images(name=reference):
        return
    source = sources[host]
    name, _, tag = f"{source.url.partition('://')[2]}/{path}".rpartition(":")
    say(f"pulling the node image {reference} through the cache of {host}")
    if why := _pull(client, name, tag, lifeline, source.login):
        raise _not_pulled(reference, source, why)
    client.api.tag(f"{name}:{tag}", *reference.rsplit(":", 1))
    client.api.remove_image(f"{name}:{tag}", noprune=True)


def _not_pulled(reference: str, source: Source, why: str) -> OpsError:
    trust = ""
    if "x509" in why or "HTTP response to HTTPS" in why:
        server = urlsplit(source.url).netloc
        trust = (
            f". Docker does not trust {server}: put its CA into "
            f"/etc/docker/certs.d/{server}/ca.crt, or pull the image yourself: "
            f"docker pull {reference}"
        )
    return OpsError(
        f"the node image {reference} can't be pulled through its cache ({source.url}): {why}{trust}"
    )


def _pull(
    client: docker.DockerClient, name: str, tag: str, lifeline: Lifeline, login: Mapping[str, str]
) -> str:
    """Pull an image; why it can't be pulled, or empty text.

    In a thread, because Docker is silent for as long as its registry is: the time may be up then,
    or nobody may wait any more. Docker gives up by itself when this process ends.
    """
    failures: list[str] = []
    who = {"auth_config": dict(login)} if login else {}

    def pull() -> None:
        try:
            events = client.api.pull(name, tag=tag, stream=True, decode=True, **who)
            failures.extend(str(event["error"]) for event in events if "error" in event)
        except APIError as error:
            failures.append(str(error.explanation))
        except (DockerException, RequestException) as error:
            failures.append(str(error))

    thread = threading.Thread(target=pull, daemon=True)
    thread.start()
    while thread.is_alive():
        lifeline.check()
        thread.join(POLL_SECONDS)
    return failures[0] if failures else ""


def _is_own(labels: dict[str, str], plan: ClusterPlan, owner: str) -> bool:
    return labels.get(OWNER_LABEL) == owner and labels.get(CLUSTER_LABEL) == plan.name


def _labelled(network: dict, owner: str) -> bool:  # type: ignore[type-arg]  # JSON from Docker
    return (network["Labels"] or {}).get(OWNER_LABEL) == owner


def _attached(row: dict) -> set[str]:  # type: ignore[type-arg]  # JSON from Docker
    """Ids of its networks and, since one that has not been started has none yet, the name."""
    networks = (row.get("NetworkSettings") or {}).get("Networks") or {}
    return {
        str(row.get("HostConfig", {}).get("NetworkMode")),
        *(str(network["NetworkID"]) for network in networks.values()),
    }


def _overlapping(network: dict, cidr: str) -> str:  # type: ignore[type-arg]  # JSON from Docker
    """The first subnet of the network that overlaps, or empty text."""
    wanted = ipaddress.IPv4Network(cidr)
    for config in (network.get("IPAM") or {}).get("Config") or []:
        subnet = ipaddress.ip_network(config.get("Subnet") or "255.255.255.255/32")
        if subnet.version == wanted.version and subnet.overlaps(wanted):
            return str(subnet)
    return ""


def _node_names(plan: ClusterPlan) -> Iterable[str]:
    counts = {"controlplane": plan.settings.control_planes, "worker": plan.settings.workers}
    return [
        f"{plan.name}-{kind}-{index + 1}"
        for kind, count in counts.items()
        for index in range(count)
    ]


def _same_name(plan: ClusterPlan, what: str, labels: dict[str, str]) -> str:
    stack = labels.get(STACK_LABEL)
    maker = f"the stack {stack} made it" if stack else "this stack did not make it"
    way_out = (
        f"make down STACK={stack}, where that stack lives"
        if stack
        else f"talosctl cluster destroy --name {plan.name}"
    )
    return (
        f"There is {what} of a cluster {plan.name} already, and {maker}. Write another "
        f"cluster.name, or remove that cluster: {way_out}."
    )


def _described(name: str, labels: dict[str, str]) -> str:
    cluster = labels.get(CLUSTER_LABEL)
    return f"the Talos cluster {cluster}" if cluster else f"the Docker network {name}"
