"""The part of `doctor` that checks what the mirrors of a stack's live nodes point to."""

import subprocess
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import docker

from ops.cluster import node_updates, provisioners, talosctl
from ops.cluster.folder import Folder, clusters_beside, folder_of, owner_of, states_of
from ops.cluster.provisioner import cluster_of
from ops.cluster.record import ClusterRecord, RecordError
from ops.cluster.talosctl import Talosctl
from ops.errors import OpsError
from ops.registry import endpoints
from plan import diagnosis
from plan.diagnosis import Answer, Finding, NodeFacts
from plan.talos.cluster import ClusterPlan

# For talosctl to read a node's config; a healthy node needs half a second.
NODE_SECONDS = 10
AT_ONCE = 8


@dataclass(frozen=True, kw_only=True)
class LiveCluster:
    """What it takes to check a live cluster.

    Attributes:
        recorded: the record in its folder.
        containers: address -> what Docker says of the node; None for nodes that are not containers.
        image: of the registry, which also sends the requests in the nodes' networks.
    """

    client: docker.DockerClient
    plan: ClusterPlan
    talosctl: Talosctl
    folder: Folder
    recorded: ClusterRecord
    containers: Mapping[str, Mapping[str, Any]] | None
    image: str


def examined(
    client: docker.DockerClient, plan: ClusterPlan, installed: Talosctl, image: str
) -> Iterator[list[Finding]]:
    """Findings on a cluster: one list for each of its nodes, as they are done.

    Args:
        client: of Docker.
        plan: of the cluster.
        installed: talosctl.
        image: of the registry.
    """
    about = f"cluster {plan.name}"
    cluster = cluster_of(plan)
    try:
        recorded = cluster.recorded()
    except RecordError as error:
        yield [diagnosis.problem(about, error.why, error.fix)]
        return
    if recorded is None:
        text = f"it is not up (make cluster-up STACK={plan.stack} creates it)"
        yield [diagnosis.well(about, text)]
        return
    if not recorded.is_complete:
        text = "its creation has not finished: it is under way, or it was killed"
        yield [diagnosis.warning(about, text, f"make up STACK={plan.stack}")]
        return
    live = LiveCluster(
        client=client,
        plan=plan,
        talosctl=installed,
        folder=cluster.folder,
        recorded=recorded,
        containers=provisioners.of(plan).containers(cluster),
        image=image,
    )
    with ThreadPoolExecutor(max_workers=AT_ONCE) as pool:
        yield from pool.map(lambda address: _of_node(live, address), plan.settings.node_ips)


def left_over(stack: str, plans: Sequence[ClusterPlan]) -> list[Finding]:
    """Clusters that the stack has created, and that are no longer in its file."""
    named = {plan.name for plan in plans}
    others = (name for name in clusters_beside(states_of(stack)) if name not in named)
    return [finding for name in others if (finding := _left_over(stack, name))]


def _left_over(stack: str, name: str) -> Finding | None:
    about = f"cluster {name}"
    try:
        recorded = folder_of(stack, name).recorded(owner_of(stack))
    except RecordError as error:
        return diagnosis.problem(about, error.why, error.fix)
    if recorded is None:
        return None
    return diagnosis.warning(about, "it is no longer in the stack file", f"make up STACK={stack}")


def _of_node(live: LiveCluster, address: str) -> list[Finding]:
    plan = live.plan
    container = None
    if live.containers is not None:
        container = live.containers.get(address)
        if container is None or not container["State"]["Running"]:
            text = (
                "its container is gone"
                if container is None
                else f"its container {container['Name'].lstrip('/')} is not running"
            )
            return [diagnosis.of_lost_node(plan.name, address, text, plan.stack)]
    try:
        config = node_updates.node_config(live.talosctl, live.folder, address, NODE_SECONDS)
    except (OpsError, subprocess.TimeoutExpired) as error:
        text = f"its machine config can't be read: {node_updates.why(error)}"
        return [diagnosis.of_lost_node(plan.name, address, text, plan.stack)]
    return _of_mirrors(live, address, config, container)


def _of_mirrors(
    live: LiveCluster,
    address: str,
    config: Sequence[Mapping[str, Any]],
    container: Mapping[str, Any] | None,
) -> list[Finding]:
    plan = live.plan
    urls = diagnosis.endpoints(config)
    from_here = endpoints.seen_from_here(urls)
    own_view, unchecked = _own_view(live, address, container, urls)
    facts = NodeFacts(
        cluster=plan.name,
        address=address,
        config=config,
        answers=from_here if own_view is None else own_view,
        from_here=from_here,
        own_view=own_view is not None,
        place=talosctl.place(live.talosctl, live.folder),
    )
    wanted = {mirror.url for mirror in plan.mirrors}
    ours = wanted | _set_before(live.recorded)
    return [*unchecked, *diagnosis.of_node(facts, wanted, ours, plan.stack)]


def _own_view(
    live: LiveCluster,
    address: str,
    container: Mapping[str, Any] | None,
    urls: Collection[str],
) -> tuple[dict[str, Answer] | None, list[Finding]]:
    """How endpoints answer in the node's own network; None if that can't be joined."""
    if container is None:
        return None, []
    try:
        return endpoints.seen_from_container(live.client, live.image, container["Id"], urls), []
    except OpsError as error:
        about = diagnosis.node_name(live.plan.name, address)
        text = f"its mirrors' endpoints were checked from this machine only: {error}"
        return None, [diagnosis.warning(about, text)]


def _set_before(recorded: ClusterRecord) -> set[str]:
    """Every endpoint that earlier runs have set, or may have set, in the nodes."""
    return {url for mirrors in recorded.mirrors_that_may_be_set for url in mirrors.values()}
