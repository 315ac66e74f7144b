"""A real Talos and Kubernetes cluster with talosctl 1.13, from nothing through life to nothing.

The tests are one story and run in order: each starts from where the one before it has left.
"""

import json
import shutil
import socket
import ssl
from pathlib import Path

import pytest
import yaml

from ops.docker.api import bridge_gateway
from tests.real.caches.sweep import PREFIX
from tests.real.talos.conftest import USERS_OWN, new_since
from tests.real.talos.parts.cluster import node_patches
from tests.real.talos.parts.kubernetes import kubectl
from tests.real.talos.stories import (
    HOSTS,
    NOTHING_LEFT,
    SIGNALS,
    TEAM,
    check_failure,
    check_interruption,
    failures,
    has_no_mirror,
    hosts_toml,
    left_of,
    node_ips,
    requests_of,
    run_pod,
    soon,
    stack_config,
    wait_until_ready,
    without_nothing,
)

STACK = "new"
VERSION = "1.13.0"
NAME = f"{PREFIX}-{STACK}"
CIDR = "10.71.0.0/24"
PORT = 15300
CLUSTER = {
    "workers": 2,
    "cidr": CIDR,
    "talosVersion": "v1.13.0",
    "kubernetesVersion": "v1.36.0",
    "mergeKubeconfig": True,
    "exposedPorts": [f"{PORT + 11}:10250/tcp"],
}
# What the user's kubeconfig holds before the cluster is merged into it, and afterwards again.
USERS_KUBECONFIG = {
    "apiVersion": "v1",
    "kind": "Config",
    "clusters": [{"name": "work", "cluster": {"server": "https://work.example.com"}}],
    "users": [{"name": "me", "user": {"token": "mine"}}],
    "contexts": [{"name": "work", "context": {"cluster": "work", "user": "me"}}],
    "current-context": "work",
}
CONTEXT = f"admin@{NAME}"
NODES = {f"{NAME}-controlplane-1", f"{NAME}-worker-1", f"{NAME}-worker-2"}
IPS = node_ips(CIDR, 3)
# Each node's file is written after the patch was taken, and takes half a second to be read.
LIVE_SECONDS = 15


@pytest.fixture(scope="module")
def tried(before, clusters):
    """The stack before its cluster has ever come up."""
    clusters.use_talosctl(VERSION)
    write(clusters)
    users_kubeconfig(clusters).write_text(yaml.safe_dump(USERS_KUBECONFIG))
    return clusters


@pytest.fixture(scope="module")
def up(tried):
    """The stack, brought up once."""
    write(tried)
    tried.checkout.make("up", STACK)
    return tried


def write(clusters, *, team=False):
    config = stack_config(STACK, clusters.upstream, CLUSTER, base_port=PORT, team=team)
    clusters.checkout.write_stack(STACK, **config)


def users_kubeconfig(clusters):
    return clusters.folder / "user" / "kubeconfig"


def cache_of(host):
    return f"{NAME}-{host}"


# All that outlives the stack.
KEPT = {cache_of(host) for host in (*HOSTS, TEAM)}


def changes_of(host):
    """What a preview shows of one upstream more, or less: operation left out."""
    slug = host.replace(".", "-")
    return {
        ("talos-cache:index:PullThroughCache", slug),
        ("docker:index/volume:Volume", f"{slug}-volume"),
        ("docker:index/container:Container", f"{slug}-container"),
    }


@pytest.mark.parametrize("failure", failures(13, NAME, CIDR), ids=lambda failure: failure.name)
def test_a_create_that_fails_says_why_and_leaves_nothing(tried, failure):
    cluster = without_nothing({**CLUSTER, **failure.cluster})
    config = stack_config(STACK, tried.upstream, cluster, base_port=PORT)
    check_failure(tried, STACK, config, failure)
    assert yaml.safe_load(users_kubeconfig(tried).read_text()) == USERS_KUBECONFIG


@pytest.mark.parametrize("sent", SIGNALS, ids=lambda sent: sent.name)
def test_a_create_that_is_interrupted_leaves_nothing(tried, sent):
    write(tried)
    check_interruption(tried, STACK, NAME, sent)


def test_up_returns_when_every_node_is_ready(up):
    wait_until_ready(up, STACK, NODES)
    assert set(up.nodes(NAME)) == NODES


def test_a_pod_with_an_image_of_docker_io_runs(up):
    run_pod(up, STACK, "first", "docker.io/library/busybox:1.0")


def test_every_image_came_through_its_cache(up):
    asked = {host: "\n".join(requests_of(up, cache_of(host))) for host in HOSTS}
    images = set()
    for node in IPS:
        for namespace in ("system", "cri"):
            shown = up.talosctl(STACK, node, "image", "list", "--namespace", namespace)
            images |= {line.split()[1] for line in shown.splitlines()[1:]}
    named = {image for image in images if "@" not in image and not image.startswith("sha256:")}
    assert {image.split("/")[-1].split(":")[0] for image in named} >= {
        *("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"),
        *("kubelet", "pause", "busybox"),
    }, f"what nodes hold: {sorted(images)}"
    for image in named:
        host, _, path = image.partition("/")
        repository = path.rpartition(":")[0]
        assert f"/v2/{repository}/manifests/" in asked[host], f"{image} is not in its cache's log"
        assert f"ns={host}" in asked[host]
    assert f"/v2/siderolabs/talos/manifests/{CLUSTER['talosVersion']}" in asked["ghcr.io"]


def test_no_node_went_around_the_caches(up):
    log = requests_of(up, up.upstream.name)
    assert log, "the caches have asked the upstream"
    assert not [line for line in log if "containerd" in line or "docker/" in line]


def test_the_node_image_has_its_usual_name(up):
    names = up.checkout.client.images.get("ghcr.io/siderolabs/talos:v1.13.0").tags
    assert names == ["ghcr.io/siderolabs/talos:v1.13.0"], "and not also that of its cache"


def test_of_the_users_own_files_only_the_kubeconfig_has_the_cluster_too(up):
    assert up.users_files()["talosconfig"] == USERS_OWN
    path = users_kubeconfig(up)
    merged = yaml.safe_load(path.read_text())
    added = yaml.safe_load(Path(up.private(STACK, "kubeconfig")).read_text())
    for part in ("clusters", "users", "contexts"):
        assert merged[part] == [*USERS_KUBECONFIG[part], *added[part]]
    assert merged["current-context"] == CONTEXT
    assert path.stat().st_mode & 0o777 == 0o600
    notes = f"--cache-dir={up.folder / 'kubectl'}"
    assert "controlplane-1" in up.tool([str(kubectl()), notes, "get", "nodes"])


def test_an_exposed_port_answers_on_loopback_and_nowhere_else(up):
    """The kubelet's, which is behind TLS."""
    assert "BEGIN CERTIFICATE" in ssl.get_server_certificate(("127.0.0.1", PORT + 11))
    with socket.socket() as probe:
        assert probe.connect_ex((bridge_gateway(up.checkout.client), PORT + 11)) != 0


def test_the_private_folder_is_private(up):
    folder = up.states
    assert folder.stat().st_mode & 0o777 == 0o700
    outputs = up.outputs(STACK)
    for name in ("talosconfig", "kubeconfig"):
        assert outputs[name] == up.private(STACK, name)
        path = Path(outputs[name])
        assert path.stat().st_mode & 0o777 == 0o600


def test_no_secret_of_the_cluster_is_in_the_state_or_in_a_preview(up):
    talosconfig = yaml.safe_load(Path(up.private(STACK, "talosconfig")).read_text())
    key = next(iter(talosconfig["contexts"].values()))["key"]
    state = up.checkout.pulumi("stack", "export", stack=STACK).stdout
    shown = up.checkout.pulumi("preview", "--diff", stack=STACK).stdout
    assert key not in state + shown
    # A word without quotes, which state and preview would write in ways of their own.
    word = "coreDNS"
    assert word in json.dumps(node_patches())
    assert word not in state + shown, "a patch may hold anything"


def test_a_second_up_changes_nothing(up):
    started = up.nodes(NAME)
    assert up.checkout.changes(STACK) == set()
    shown = up.checkout.make("up", STACK).stdout
    assert "unchanged" in shown
    assert "created" not in shown.split("Resources:")[1]
    assert up.nodes(NAME) == started


def test_one_upstream_more_previews_as_itself_and_an_update_of_the_cluster(up):
    write(up, team=True)
    assert up.checkout.changes(STACK) == {
        *(("create", *change) for change in changes_of(TEAM)),
        ("update", "command:local:Command", "cluster-command"),
    }
    shown = up.checkout.pulumi("preview", "--diff", stack=STACK).stdout
    assert TEAM in shown.split("TALOS_CACHE_MIRRORS")[1], "the diff names what is new"


def test_it_is_live_on_every_node_without_a_restart(up):
    started, caches = up.nodes(NAME), up.checkout.containers(STACK)
    up.checkout.make("up", STACK)
    for node in IPS:
        shown = soon(
            f"{node} has a mirror for {TEAM}",
            lambda node=node: hosts_toml(up, STACK, node, TEAM),
            seconds=LIVE_SECONDS,
        )
        assert f":{PORT + 10}" in shown, shown
    assert up.nodes(NAME) == started, "no node was restarted"
    there = up.checkout.containers(STACK)
    assert {name: there[name] for name in caches} == caches, "and no cache was replaced"
    run_pod(up, STACK, "team", f"{TEAM}/team/hello:1")
    assert "/v2/team/hello/manifests/" in "\n".join(requests_of(up, cache_of(TEAM)))


def test_every_mirror_stands_once_after_any_number_of_updates(up):
    shown = hosts_toml(up, STACK, IPS[0], "docker.io")
    assert shown.count("[host.") == 1, shown
    config = up.talosctl(STACK, IPS[0], "get", "machineconfig", "v1alpha1", "-o", "yaml")
    assert config.count(f":{PORT + 10}") == 1


def test_an_upstream_less_is_gone_from_every_node(up):
    write(up)
    assert up.checkout.changes(STACK) == {
        *(("delete", *change) for change in changes_of(TEAM)),
        ("update", "command:local:Command", "cluster-command"),
    }
    up.checkout.make("up", STACK)
    for node in IPS:
        soon("its mirror is gone", lambda node=node: has_no_mirror(up, STACK, node, TEAM))
        assert "docker.io" in up.talosctl(STACK, node, "ls", "/etc/cri/conf.d/hosts")
    assert up.checkout.changes(STACK) == set()


def test_a_node_that_is_away_fails_the_update_is_named_and_a_second_try_mends_it(up):
    worker = up.checkout.client.containers.get(f"{NAME}-worker-2")
    worker.pause()
    try:
        write(up, team=True)
        said = up.checkout.make("up", STACK, check=False)
        assert said.returncode != 0
        assert f"{IPS[2]}: " in said.stdout + said.stderr
        assert "1 of 3 nodes could not be patched" in said.stdout + said.stderr
        shown = soon("the others", lambda: hosts_toml(up, STACK, IPS[0], TEAM))
        assert f":{PORT + 10}" in shown
    finally:
        worker.unpause()
    up.checkout.make("up", STACK)
    shown = soon("the third node", lambda: hosts_toml(up, STACK, IPS[2], TEAM))
    assert f":{PORT + 10}" in shown
    write(up)
    up.checkout.make("up", STACK)


def test_another_identity_previews_as_a_replacement(up):
    config = stack_config(STACK, up.upstream, {**CLUSTER, "workers": 1}, base_port=PORT)
    up.checkout.write_stack(STACK, **config)
    steps = {(op, name) for op, typ, name in up.checkout.changes(STACK) if "Command" in typ}
    assert steps & {("replace", "cluster-command"), ("create-replacement", "cluster-command")}
    write(up)


def test_down_removes_the_cluster_and_keeps_what_is_cached(up, before, docker_client):
    up.checkout.make("down", STACK)
    assert new_since(before, docker_client) == {"volumes": KEPT}
    assert not up.states.exists(), "its private folder is gone"
    assert up.users_files()["talosconfig"] == USERS_OWN
    left = yaml.safe_load(users_kubeconfig(up).read_text())
    assert left == {**USERS_KUBECONFIG, "current-context": ""}


def test_with_the_upstream_unplugged_the_whole_cluster_boots_from_the_caches(up, docker_client):
    docker_client.images.remove("ghcr.io/siderolabs/talos:v1.13.0")
    up.upstream.stop()
    try:
        up.checkout.make("up", STACK)
        wait_until_ready(up, STACK, NODES)
        run_pod(up, STACK, "offline", "docker.io/library/busybox:1.0")
    finally:
        up.upstream.plug_in()


def test_a_cluster_that_is_half_gone_can_be_thrown_away_and_the_caches_stay(up):
    caches = up.checkout.containers(STACK)
    api = up.checkout.client.api
    api.remove_container(f"{NAME}-controlplane-1", force=True, v=True)
    for worker in ("worker-1", "worker-2"):
        api.disconnect_container_from_network(f"{NAME}-{worker}", NAME, force=True)
    api.remove_network(NAME)
    shutil.rmtree(up.states)
    said = up.checkout.make("cluster-down", STACK).stdout
    assert f"the cluster's entries stay in {users_kubeconfig(up)}" in said, "its own were gone"
    assert left_of(up, NAME) == NOTHING_LEFT
    assert up.checkout.containers(STACK) == caches
    assert "nothing to do" in up.checkout.make("cluster-down", STACK).stdout


def test_nothing_is_left_in_the_end(up, before, docker_client):
    up.checkout.make("down", STACK)
    assert new_since(before, docker_client) == {"volumes": KEPT}
    assert not up.states.exists()
