"""Ports that a cluster on Docker is to publish, and what has them already, on real Docker."""

import socket

import pytest

from ops.cluster import docker_nodes, exposed_ports
from ops.docker.api import labels_of
from plan.ownership import Owner
from plan.settings.keys import DEFAULTS
from plan.settings.stack import parse
from plan.talos.cluster import ClusterPlan
from tests.real.caches.conftest import WORKER
from tests.real.caches.sweep import PREFIX

NAME = f"{PREFIX}-exposed-{WORKER}"
OWNER = "0123456789ab"
PORT = 15360 + WORKER


@pytest.fixture
def remove(docker_client):
    yield
    for container in docker_client.containers.list(all=True, filters={"name": NAME}):
        container.remove(force=True, v=True)
    for network in docker_client.networks.list(names=[NAME]):
        network.remove()


def plan_of(*items):
    config = {"cluster": {"name": NAME, "exposedPorts": list(items)}}
    settings = parse(config).clusters[0]
    return ClusterPlan(stack="mine", settings=settings, mirrors=(), sources=())


def publishing(client, protocol="tcp", **more):
    return client.containers.run(
        str(DEFAULTS["cache.image"]),
        entrypoint=["nc", "-l", "-p", "1"],
        name=f"{NAME}-holder",
        detach=True,
        ports={f"80/{protocol}": ("127.0.0.1", PORT)},
        **more,
    )


def conflicts(client, *items, **more):
    return exposed_ports.conflicts(client, plan_of(*items), OWNER, **more)


def test_nothing_is_in_the_way_of_free_ports_or_of_none(docker_client, remove):
    assert conflicts(docker_client) == []
    assert conflicts(docker_client, f"{PORT}:80/tcp", f"{PORT}:80/udp") == []


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_a_container_that_has_the_port_is_named(docker_client, remove, protocol):
    publishing(docker_client, protocol)
    other = {"tcp": "udp", "udp": "tcp"}[protocol]
    assert conflicts(docker_client, f"{PORT}:80/{other}", f"127.0.0.2:{PORT}:80/{protocol}") == []
    for item in (f"{PORT}:80/{protocol}", f"0.0.0.0:{PORT}:80/{protocol}"):
        [told] = conflicts(docker_client, item)
        assert f"which the cluster {NAME} exposes, is taken by the container {NAME}-holder" in told
        assert "another port in cluster.exposedPorts" in told


@pytest.mark.parametrize(
    "labels", [labels_of("mine"), Owner(stack="before", identity=f"before-{OWNER}").labels]
)
def test_a_cache_of_this_stack_is_left_to_others_before_the_engine_has_run(
    docker_client, remove, labels
):
    publishing(docker_client, labels=labels)
    item = f"{PORT}:80/tcp"
    assert conflicts(docker_client, item, of_others=True) == []
    [told] = conflicts(docker_client, item)
    assert f"of the stack {labels['talos-cache.stack']}. Take that stack down" in told


def test_a_cache_of_another_checkouts_stack_of_this_name_is_in_the_way(docker_client, remove):
    publishing(docker_client, labels=Owner(stack="mine", identity="mine-ffffffffffff").labels)
    assert len(conflicts(docker_client, f"{PORT}:80/tcp", of_others=True)) == 1


def test_a_node_is_in_the_way_of_others_clusters_only(docker_client, remove):
    labels = {docker_nodes.OWNER_LABEL: OWNER, docker_nodes.CLUSTER_LABEL: NAME}
    docker_client.networks.create(NAME, labels=labels)
    of_node = {docker_nodes.CLUSTER_LABEL: NAME}
    publishing(docker_client, network=NAME, labels=of_node)
    item = f"{PORT}:80/tcp"
    assert conflicts(docker_client, item) == [], "it is this cluster's own"
    other = exposed_ports.conflicts(docker_client, plan_of(item), "another owner")
    assert f"a node of the cluster {NAME}. Remove that cluster" in other[0]


def test_a_node_of_the_owners_other_cluster_is_in_the_way_only_once_it_should_be_gone(
    docker_client, remove
):
    labels = {docker_nodes.OWNER_LABEL: OWNER, docker_nodes.CLUSTER_LABEL: "before"}
    docker_client.networks.create(NAME, labels=labels)
    publishing(docker_client, network=NAME, labels={docker_nodes.CLUSTER_LABEL: "before"})
    assert conflicts(docker_client, f"{PORT}:80/tcp", of_others=True) == []
    [told] = conflicts(docker_client, f"{PORT}:80/tcp")
    assert "make cluster-down CLUSTER=before" in told


@pytest.mark.parametrize(
    ("protocol", "kind", "named_by"),
    [("tcp", socket.SOCK_STREAM, "ss -ltnp"), ("udp", socket.SOCK_DGRAM, "ss -lunp")],
)
def test_a_program_that_has_the_port_is_told(docker_client, protocol, kind, named_by):
    with socket.socket(socket.AF_INET, kind) as taken:
        taken.bind(("127.0.0.1", PORT))
        if protocol == "tcp":
            taken.listen()
        [told] = conflicts(docker_client, f"{PORT}:80/{protocol}", f"{PORT}:80/{protocol}")
    assert "a program outside Docker" in told
    assert named_by in told


def test_an_address_of_another_machine_is_told(docker_client):
    [told] = conflicts(docker_client, f"192.0.2.1:{PORT}:80/tcp")
    assert "192.0.2.1 can't be used" in told
