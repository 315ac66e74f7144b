"""Whose a cluster on Docker is: found, refused and removed by ids, on real Docker.

The nodes here are containers that only sleep: what matters is how they are named and attached.
"""

import threading

import pytest
from docker.errors import APIError
from docker.types import IPAMConfig, IPAMPool
from requests import ReadTimeout

from ops.cluster import docker_nodes, docker_provisioner
from ops.cluster.docker_nodes import CLUSTER_LABEL
from plan.settings.keys import DEFAULTS
from plan.settings.stack import parse
from plan.talos.cluster import ClusterPlan
from tests.real.caches.conftest import WORKER
from tests.real.caches.sweep import PREFIX

NAME = f"{PREFIX}-nodes-{WORKER}"
OWNER = "0123456789ab"
CIDR = f"10.{88 + WORKER}.0.0/24"


@pytest.fixture
def plan():
    config = {"cluster": {"name": NAME, "cidr": CIDR}}
    settings = parse(config).clusters[0]
    return ClusterPlan(stack="mine", settings=settings, mirrors=(), sources=())


@pytest.fixture
def docker_api(docker_client):
    yield docker_client.api
    for row in docker_client.api.containers(all=True):
        if NAME in row["Names"][0]:
            docker_client.api.remove_container(row["Id"], force=True, v=True)
    for row in docker_client.api.networks(names=[NAME]):
        docker_client.api.remove_network(row["Id"])


def node(client, suffix, network=None, labels=None):
    return client.containers.run(
        str(DEFAULTS["cache.image"]),
        entrypoint=["nc", "-l", "-p", "1"],
        name=f"{NAME}-{suffix}",
        detach=True,
        network=network,
        labels={CLUSTER_LABEL: NAME} if labels is None else labels,
    ).id


def foreign_network(client, name=f"{NAME}-other", labels=None):
    pools = IPAMConfig(pool_configs=[IPAMPool(subnet=CIDR)])
    return client.api.create_network(name, ipam=pools, labels=labels or {})["Id"]


def conflicts(client, plan, **more):
    about = (client, plan, OWNER)
    networks = docker_nodes.network_conflicts(*about, **more)
    return [*networks, *docker_nodes.node_conflicts(*about)]


def test_what_was_made_for_the_owner_is_found_and_removed(docker_client, docker_api, plan):
    network = docker_provisioner.make_network(docker_client, plan, OWNER)
    there = node(docker_client, "controlplane-1", NAME)
    found = docker_nodes.own(docker_client, plan, OWNER)
    assert found == docker_nodes.Resources(networks=(network,), containers=(there,))
    assert conflicts(docker_client, plan) == []
    docker_nodes.remove(docker_client, plan, OWNER)
    docker_nodes.remove(docker_client, plan, OWNER)  # gone already is fine
    nothing = docker_nodes.Resources(networks=(), containers=())
    assert docker_nodes.own(docker_client, plan, OWNER) == nothing


def test_a_node_that_docker_makes_while_the_others_go_goes_too(docker_client, docker_api, plan):
    docker_provisioner.make_network(docker_client, plan, OWNER)
    node(docker_client, "controlplane-1", NAME)
    late = threading.Timer(1.5, node, (docker_client, "worker-1", NAME))
    late.start()
    docker_nodes.remove(docker_client, plan, OWNER, unfinished=True)
    late.join()
    assert docker_api.containers(all=True, filters={"name": NAME}) == []
    assert docker_api.networks(names=[NAME]) == []


def test_a_node_that_docker_does_not_get_rid_of_at_once_is_tried_again(
    docker_client, docker_api, plan, monkeypatch
):
    docker_provisioner.make_network(docker_client, plan, OWNER)
    there = node(docker_client, "controlplane-1", NAME)
    refusals = [APIError("500: did not receive an exit event"), ReadTimeout("30 s")]
    remove = docker_api.remove_container

    def refusing(*args, **kwargs):
        if refusals:
            raise refusals.pop()
        remove(*args, **kwargs)

    with monkeypatch.context() as patched:
        patched.setattr(docker_client.api, "remove_container", refusing)
        docker_nodes.remove(docker_client, plan, OWNER)
    assert docker_api.containers(all=True, filters={"id": there}) == []


def test_a_node_that_stays_is_an_error_in_dockers_words(
    docker_client, docker_api, plan, monkeypatch
):
    docker_provisioner.make_network(docker_client, plan, OWNER)
    node(docker_client, "controlplane-1", NAME)

    def refusing(*_, **__):
        raise APIError("500: did not receive an exit event")

    with monkeypatch.context() as patched:
        patched.setattr(docker_nodes, "REMOVE_SECONDS", 0)
        patched.setattr(docker_client.api, "remove_container", refusing)
        with pytest.raises(APIError, match="did not receive an exit event"):
            docker_nodes.remove(docker_client, plan, OWNER)
    docker_nodes.remove(docker_client, plan, OWNER)


def test_half_of_it_gone_the_rest_is_still_found_by_its_id(docker_client, docker_api, plan):
    network = docker_provisioner.make_network(docker_client, plan, OWNER)
    there = node(docker_client, "controlplane-1", NAME)
    docker_api.disconnect_container_from_network(there, network)
    docker_api.remove_network(network)
    found = docker_nodes.own(docker_client, plan, OWNER, {network, there})
    assert found.containers == (there,)


def test_a_cluster_of_the_same_name_is_an_error_and_stays(docker_client, docker_api, plan):
    foreign_network(docker_client, NAME, {CLUSTER_LABEL: NAME})
    there = node(docker_client, "controlplane-1", NAME)
    told = conflicts(docker_client, plan)
    assert len(told) == 2
    assert f"the Docker network {NAME}" in told[0]
    assert f"the container {NAME}-controlplane-1" in told[1]
    assert all("not made by this stack" in text for text in told)
    assert all(f"talosctl cluster destroy --name {NAME}" in text for text in told)
    docker_nodes.remove(docker_client, plan, OWNER)
    assert docker_api.inspect_container(there)["State"]["Running"]


def test_another_stacks_cluster_is_named_with_its_stack(docker_client, docker_api, plan):
    docker_provisioner.make_network(docker_client, plan, "another owner")
    [told] = conflicts(docker_client, plan)
    assert "made by the stack mine" in told
    assert docker_nodes.own(docker_client, plan, OWNER).networks == ()


def test_a_network_in_the_way_is_named(docker_client, docker_api, plan):
    taken = foreign_network(docker_client)
    [told] = conflicts(docker_client, plan)
    assert f"overlaps with {CIDR} of the Docker network {NAME}-other" in told
    docker_api.remove_network(taken)
    assert conflicts(docker_client, plan) == []


def test_the_owners_other_cluster_is_in_the_way_only_once_it_should_be_gone(
    docker_client, docker_api, plan
):
    labels = {docker_nodes.OWNER_LABEL: OWNER, CLUSTER_LABEL: "before"}
    network = foreign_network(docker_client, labels=labels)
    assert conflicts(docker_client, plan, of_others=True) == []
    [told] = conflicts(docker_client, plan)
    assert "of the Talos cluster before" in told
    docker_api.remove_network(network)


def test_a_guest_in_the_network_is_let_go_and_lives_on(docker_client, docker_api, plan):
    docker_provisioner.make_network(docker_client, plan, OWNER)
    guest = node(docker_client, "guest", NAME, labels={})
    docker_nodes.remove(docker_client, plan, OWNER)
    inspected = docker_api.inspect_container(guest)
    assert inspected["State"]["Running"]
    assert NAME not in inspected["NetworkSettings"]["Networks"]
