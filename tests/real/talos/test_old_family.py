"""Real Talos nodes of 1.11 with talosctl 1.11: the other form of commands, the other format.

The tests are one story and run in order. Kubernetes is not started: `wait: false`.
"""

import pytest

from tests.real.caches.sweep import PREFIX
from tests.real.talos.conftest import new_since
from tests.real.talos.stories import (
    HOSTS,
    NOTHING_LEFT,
    SIGNALS,
    TEAM,
    answers,
    check_failure,
    check_interruption,
    failures,
    has_no_mirror,
    hosts_toml,
    left_of,
    node_ips,
    pull_by_cri,
    requests_of,
    soon,
    stack_config,
    without_nothing,
)

STACK = "old"
VERSION = "1.11.5"
NAME = f"{PREFIX}-{STACK}"
CIDR = "10.72.0.0/24"
PORT = 15320
CLUSTER = {"workers": 1, "cidr": CIDR, "talosVersion": "v1.11.5", "wait": False}
IPS = node_ips(CIDR, 2)
PULL_SECONDS = 120


@pytest.fixture(scope="module")
def tried(before, clusters):
    """The stack before its cluster has ever come up."""
    clusters.use_talosctl(VERSION)
    write(clusters)
    return clusters


@pytest.fixture(scope="module")
def up(before, clusters):
    clusters.use_talosctl(VERSION)
    write(clusters)
    clusters.checkout.make("up", STACK)
    return clusters


def write(clusters, *, team=False, wait=False):
    cluster = {**CLUSTER, "wait": wait}
    config = stack_config(STACK, clusters.upstream, cluster, base_port=PORT, team=team)
    clusters.checkout.write_stack(STACK, **config)


@pytest.mark.parametrize("failure", failures(11, NAME, CIDR), ids=lambda failure: failure.name)
def test_a_create_that_fails_says_why_and_leaves_nothing(tried, failure):
    cluster = without_nothing({**CLUSTER, **failure.cluster})
    config = stack_config(STACK, tried.upstream, cluster, base_port=PORT)
    check_failure(tried, STACK, config, failure)


@pytest.mark.parametrize("sent", SIGNALS, ids=lambda sent: sent.name)
def test_a_create_that_is_interrupted_leaves_nothing(tried, sent):
    write(tried, wait=True)
    check_interruption(tried, STACK, NAME, sent)


def test_the_nodes_answer(up):
    for node in IPS:
        shown = soon(f"the API of {node}", lambda node=node: answers(up, STACK, node))
        assert "v1.11.5" in shown


def test_the_mirrors_are_in_the_old_format_and_live(up):
    for node in IPS:
        config = up.talosctl(STACK, node, "get", "machineconfig", "v1alpha1", "-o", "yaml")
        assert "RegistryMirrorConfig" not in config
        assert f":{PORT + 4}" in config, "the mirror of ghcr.io"
        soon("its file", lambda node=node: hosts_toml(up, STACK, node, "ghcr.io"))


def test_talos_pulls_through_the_caches(up):
    """`talosctl image pull` has machined itself pull, with the mirrors of the machine config."""

    def pulled():
        said = up.talosctl(
            STACK, IPS[1], "image", "pull", "docker.io/library/busybox:1.0", check=False
        )
        return "rror" not in said

    soon("an image pulled by the node", pulled, seconds=PULL_SECONDS)
    log = "\n".join(requests_of(up, f"{NAME}-docker.io"))
    assert "/v2/library/busybox/manifests/1.0?ns=docker.io" in log


def test_the_cri_pulls_through_the_caches(up):
    """As for a pod: containerd's own CRI service, with the hosts.toml files that Talos writes."""
    asked = len(requests_of(up, f"{NAME}-docker.io"))
    pull_by_cri(up, f"{NAME}-controlplane-1", "docker.io/library/busybox:1.0")
    log = "\n".join(requests_of(up, f"{NAME}-docker.io")[asked:])
    assert "/v2/library/busybox/manifests/1.0?ns=docker.io" in log
    assert "/v2/library/busybox/blobs/" in log


def test_one_upstream_more_is_live_without_a_restart(up):
    started = up.nodes(NAME)
    write(up, team=True)
    up.checkout.make("up", STACK)
    for node in IPS:
        shown = soon("its mirror", lambda node=node: hosts_toml(up, STACK, node, TEAM))
        assert f":{PORT + 10}" in shown
    assert up.nodes(NAME) == started
    write(up)
    up.checkout.make("up", STACK)
    for node in IPS:
        soon("its mirror is gone", lambda node=node: has_no_mirror(up, STACK, node, TEAM))


def test_a_newer_talosctl_is_told_what_it_can_not_do(up):
    up.use_talosctl("1.13.0")
    said = up.checkout.make("preview", STACK, check=False)
    assert said.returncode != 0
    assert "cluster.wait" in said.stdout + said.stderr
    up.use_talosctl("1.11.5")


def test_only_the_cluster_is_thrown_away_and_made_again(up):
    caches = up.checkout.containers(STACK)
    up.checkout.make("cluster-down", STACK)
    assert left_of(up, NAME) == NOTHING_LEFT
    assert up.checkout.containers(STACK) == caches
    up.checkout.make("cluster-up", STACK)
    assert len(up.nodes(NAME)) == 2
    assert up.checkout.containers(STACK) == caches


def test_down_leaves_nothing_even_with_the_other_talosctl(up, before, docker_client):
    up.use_talosctl("1.13.0")
    up.checkout.make("down", STACK)
    kept = {f"{NAME}-{host}" for host in (*HOSTS, TEAM)}
    assert new_since(before, docker_client) == {"volumes": kept}
    assert not up.states.exists()
