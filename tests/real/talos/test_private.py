"""Real nodes behind caches that answer by https and ask for a login, and behind Harbor.

Talos 1.13, one control plane and one worker. docker.io's images come from a fake Harbor
(tests/fakes/harbor/server.py) by its project's path; those of the other upstreams from local caches
with a certificate of the stack's own CA. One story, in order.
"""

import json

import pytest

from ops.docker import api
from tests.fakes.harbor.api import Harbor
from tests.fakes.harbor.server import Server
from tests.real.caches.sweep import PREFIX
from tests.real.talos.conftest import new_since
from tests.real.talos.stories import (
    hosts_toml,
    node_ips,
    requests_of,
    run_pod,
    soon,
    stack_config,
    wait_until_ready,
)
from tests.secrets import places_with, secret_set

STACK = "private"
VERSION = "1.13.0"
NAME = f"{PREFIX}-{STACK}"
CIDR = "10.76.0.0/24"
PORT = 15360
CLUSTER = {
    "workers": 1,
    "cidr": CIDR,
    "talosVersion": "v1.13.0",
    "kubernetesVersion": "v1.36.0",
    "workerMemory": "1GiB",
}
NODES = {f"{NAME}-controlplane-1", f"{NAME}-worker-1"}
IPS = node_ips(CIDR, 2)
LOCAL = ("ghcr.io", "registry.k8s.io")
HUB = "https://hub.docker.com"
SECRETS = {
    "cacheLogin.username": "nodes",
    "cacheLogin.password": "pa55word-of-nodes",
    "harborAdmin.username": "admin",
    "harborAdmin.password": "Harbor12345",
}


@pytest.fixture(scope="module")
def double(tmp_path_factory, upstream, docker_client):
    blobs = tmp_path_factory.mktemp("blobs")
    harbor = Harbor(blobs, {HUB: upstream.local_url})
    log = []
    server = Server(harbor, api.bridge_gateway(docker_client), log=log.append)
    server.start()
    server.requests = log
    yield server
    server.stop()


@pytest.fixture(scope="module")
def up(double, before, clusters):
    clusters.use_talosctl(VERSION)
    clusters.checkout.make("stack", STACK, f"NAME={STACK}", "FROM=docker")
    write(clusters, double)
    for key, value in SECRETS.items():
        secret_set(clusters.checkout, STACK, key, value)
    clusters.checkout.make("up", STACK)
    return clusters


def write(clusters, double):
    config = stack_config(STACK, clusters.upstream, CLUSTER, base_port=PORT)
    config["upstreams"]["docker.io"] = {"backend": "harbor", "skipFallback": True}
    config["cache"] = {"tls": True, "onDestroy": "delete"}
    config["harbor"] = {"url": double.url, "public": False}
    clusters.checkout.write_stack(STACK, **config)


def cache_of(host):
    return f"{NAME}-{host}"


def certificates(clusters):
    [folder] = clusters.states.glob(f"{STACK}-*/.certificates")
    return folder


def test_the_cluster_boots_through_tls_and_a_login(up):
    wait_until_ready(up, STACK, NODES)
    for host in LOCAL:
        lines = requests_of(up, cache_of(host))
        served = [
            line for line in lines if f"ns={host}" in line and "http.response.status=200" in line
        ]
        assert served, f"nodes have pulled from the cache of {host}"
        assert all("auth.user.name=nodes" in line for line in served)


def test_a_pod_comes_from_harbor_by_the_path_of_its_project(up, double):
    run_pod(up, STACK, "first", "docker.io/library/busybox:1.0")
    asked = [
        line for line in double.requests if "/v2/proxy-docker.io/library/busybox/" in str(line)
    ]
    assert asked, "the node has asked Harbor"
    shown = soon("its mirror", lambda: hosts_toml(up, STACK, IPS[1], "docker.io"))
    assert "override_path = true" in shown
    assert f"{double.url}/v2/proxy-docker.io" in shown


def test_no_secret_stands_where_it_must_not(up):
    logins = json.loads(
        up.checkout.pulumi("stack", "output", "--json", "--show-secrets", stack=STACK).stdout
    )["machineConfigPatch"]
    [robot] = {
        line.split(": ", 1)[1]
        for block in logins.split("---")
        if "robot$" in block
        for line in block.splitlines()
        if line.startswith("password: ")
    }
    wanted = (SECRETS["cacheLogin.password"], SECRETS["harborAdmin.password"], robot)
    assert places_with(up.checkout, STACK, wanted).shown == []


def test_a_second_up_changes_nothing(up):
    assert up.checkout.changes(STACK) == set()


def test_another_ca_reaches_the_live_nodes_without_a_restart(up):
    started = up.nodes(NAME)
    old = (certificates(up) / "ca.pem").read_text()
    for path in certificates(up).iterdir():
        path.unlink()
    assert ("update", "command:local:Command", "cluster-command") in up.checkout.changes(STACK)
    up.checkout.make("up", STACK)
    assert (certificates(up) / "ca.pem").read_text() != old
    for node in IPS:
        shown = up.talosctl(STACK, node, "get", "machineconfig", "v1alpha1", "-o", "yaml")
        body = (certificates(up) / "ca.pem").read_text().splitlines()[1]
        assert body in shown
        assert old.splitlines()[1] not in shown
    assert up.nodes(NAME) == started
    pulled = up.talosctl(STACK, IPS[1], "image", "pull", "registry.k8s.io/pause:3.10.1")
    assert "rror" not in pulled
    assert up.checkout.changes(STACK) == set()


def test_another_login_is_refused_before_anything_changes(up):
    caches = up.checkout.containers(STACK)
    secret_set(up.checkout, STACK, "cacheLogin.password", "an0ther-of-nodes")
    for command in ("preview", "up"):
        said = up.checkout.make(command, STACK, check=False)
        shown = said.stdout + said.stderr
        assert said.returncode != 0
        assert "only when they reboot" in shown
        assert f"make cluster-down STACK={STACK}" in shown
        assert "an0ther-of-nodes" not in shown
    assert up.checkout.containers(STACK) == caches, "nodes can still pull"
    secret_set(up.checkout, STACK, "cacheLogin.password", SECRETS["cacheLogin.password"])
    assert up.checkout.changes(STACK) == set()


def test_down_leaves_nothing_here_nor_in_harbor(up, double, before, docker_client):
    up.checkout.make("down", STACK)
    assert new_since(before, docker_client) == {}
    assert not up.states.exists()
    assert not [one for one in double.harbor.projects.values() if one["name"].startswith("proxy-")]
    assert not double.harbor.robots
