"""Clusters that boot from warm caches: every byte fetched once, then without any upstream.

One story, in order: four real nodes after `warm`, then a cluster from the same volumes while the
upstream swallows packets, while its name leads nowhere, and with `offline: true`. (An upstream
that refuses is in test_cluster.py.) Before each, the caches are started anew and Docker has lost
its node image, as after a reboot. In the end the volumes go too, and come back from an archive.
"""

import json
import subprocess

import pytest
import requests

from tests.checkout import remove_volume
from tests.real.caches.sweep import PREFIX
from tests.real.offline.volumes import in_container
from tests.real.talos import stories
from tests.real.talos.stories import HOSTS, stack_config
from tests.upstream_log import bytes_sent

STACK = "away"
VERSION = "1.13.0"
NAME = f"{PREFIX}-{STACK}"
CIDR = "10.74.0.0/24"
PORT = 15340
NODE_IMAGE = "ghcr.io/siderolabs/talos:v1.13.0"
IMAGES = """\
# what a cluster without flannel, kube-proxy and CoreDNS needs
ghcr.io/siderolabs/kubelet:v1.36.0
registry.k8s.io/kube-apiserver:v1.36.0
registry.k8s.io/kube-controller-manager:v1.36.0
registry.k8s.io/kube-scheduler:v1.36.0
registry.k8s.io/etcd:{etcd}
registry.k8s.io/pause:3.10.1
"""
GIGABYTE = 1e9


@pytest.fixture(scope="module")
def stack(clusters):
    clusters.use_talosctl(VERSION)
    tags = requests.get(f"{clusters.upstream.local_url}/v2/etcd/tags/list", timeout=10).json()[
        "tags"
    ]
    etcd = next(tag for tag in sorted(tags, reverse=True) if tag.startswith("v3.6"))
    (clusters.checkout.path / "images.txt").write_text(IMAGES.format(etcd=etcd))
    return clusters


def write(clusters, *, workers=1, upstream=None, **more):
    # The address of the upstream's container, without Docker's proxy: that one would answer.
    upstream = upstream or f"http://{address_of(clusters.upstream)}:5000"
    cluster = {
        "workers": workers,
        "cidr": CIDR,
        "talosVersion": "v1.13.0",
        "kubernetesVersion": "v1.36.0",
        "warm": "@images.txt",
        "workerMemory": "1GiB",
    }
    config = stack_config(STACK, clusters.upstream, cluster, base_port=PORT) | more
    config["upstreams"] = {host: {"remoteUrl": upstream} for host in HOSTS}
    clusters.checkout.write_stack(STACK, **config)


def address_of(upstream):
    info = upstream.client.api.inspect_container(upstream.name)
    return info["NetworkSettings"]["IPAddress"]


def nodes(count):
    return {f"{NAME}-controlplane-1"} | {f"{NAME}-worker-{n + 1}" for n in range(count)}


def wait_until_ready(clusters, workers):
    stories.wait_until_ready(clusters, STACK, nodes(workers))


def in_shell(clusters):
    """In a shell that has evaluated `make setup`: clusters are found by where state is kept."""
    return {"check": True, "env": clusters.checkout.shell_env(STACK)}


def as_after_a_reboot(clusters):
    """The cluster is gone, Docker has no node image, the caches have just been started."""
    clusters.checkout.make("cluster-down", STACK)
    clusters.checkout.client.images.remove(NODE_IMAGE)
    for name in clusters.checkout.containers(STACK):
        clusters.checkout.client.api.restart(name, timeout=1)


def test_a_preview_shows_that_the_caches_are_filled_first(stack):
    write(stack, workers=3)
    shown = stack.checkout.make("preview", STACK).stdout
    assert shown.index("cluster-warm") < shown.index("cluster-command")


def test_four_nodes_after_warm_cost_the_upstream_every_byte_once(stack):
    before = bytes_sent(stack.upstream)
    stack.checkout.make("up", STACK)
    wait_until_ready(stack, 3)
    report = json.loads(
        stack.checkout.ops(
            "verify", STACK, "--json", "--deep", "--cluster", NAME, check=True
        ).stdout
    )
    assert report["complete"] is True
    # The node image has no list of its own in the file: cluster.warm adds it.
    assert NODE_IMAGE in {entry["image"] for entry in report["images"]}
    # Layers that two images share are in the caches once: their blobs are the unique bytes.
    unique = held_bytes(stack)
    ratio = (bytes_sent(stack.upstream) - before) / unique
    print(f"{unique / GIGABYTE:.2f} GB, upstream bytes / unique bytes with 4 nodes: {ratio:.4f}")
    assert ratio <= 1.01


def held_bytes(clusters):
    total = 0
    for name in clusters.checkout.containers(STACK):
        script = "cd /var/lib/registry && find . -name data -exec busybox stat -c %s {} +"
        said = in_container(clusters.checkout.client, name, script)
        total += sum(map(int, said.split()))
    return total


def test_what_the_nodes_have_is_complete_in_the_caches(stack):
    report = json.loads(
        stack.checkout.ops("verify", STACK, "--json", "--nodes", NAME, **in_shell(stack)).stdout
    )
    assert report["complete"] is True
    assert len(report["images"]) >= 6


def test_a_cluster_boots_while_the_upstream_swallows_packets(stack):
    write(stack)
    with swallowing(stack):
        as_after_a_reboot(stack)
        stack.checkout.make("cluster-up", STACK)
        wait_until_ready(stack, 1)


def swallowing(clusters):
    """All packets to the upstream are dropped, in the network namespace of its container."""
    info = clusters.checkout.client.api.inspect_container(clusters.upstream.name)
    enter = ["nsenter", "--net", "--target", str(info["State"]["Pid"]), "iptables", "--wait"]

    class Swallowing:
        def __enter__(self):
            rule = ("--append", "INPUT", "--in-interface", "eth0", "--protocol", "tcp")
            run(*enter, *rule, "--jump", "DROP")
            with pytest.raises(requests.RequestException):
                requests.get(f"{clusters.upstream.local_url}/v2/", timeout=2)

        def __exit__(self, *_):
            run(*enter, "--flush", "INPUT")

    return Swallowing()


def run(*argv):
    subprocess.run(argv, check=True, capture_output=True, timeout=30)


def test_a_cluster_boots_while_the_name_of_the_upstream_leads_nowhere(stack):
    write(stack, upstream="http://upstream.invalid:5000")
    as_after_a_reboot(stack)
    stack.checkout.make("up", STACK)
    wait_until_ready(stack, 1)


def test_a_cluster_boots_offline(stack):
    write(stack, offline=True)
    as_after_a_reboot(stack)
    before = bytes_sent(stack.upstream)
    stack.checkout.make("up", STACK)
    wait_until_ready(stack, 1)
    assert bytes_sent(stack.upstream) == before, "the upstream is up, and not asked"


def test_a_cluster_boots_from_an_archive_on_a_machine_without_network(stack, tmp_path):
    archive = tmp_path / "all.tar.zst"
    stack.checkout.ops("export", STACK, str(archive), "--no-boot-assets", check=True)
    stack.checkout.make("down", STACK)
    stack.checkout.client.images.remove(NODE_IMAGE)
    for name in stack.checkout.volumes(NAME):
        remove_volume(stack.checkout.client, name)
    write(stack, workers=0, offline=True)  # a container that is stopped has no address
    stack.upstream.stop()
    try:
        stack.checkout.ops("import", STACK, str(archive), check=True)
        stack.checkout.make("cluster-up", STACK)
        wait_until_ready(stack, 0)
    finally:
        stack.upstream.plug_in()


def test_an_incomplete_list_fails_before_the_cluster_is_made(stack):
    stack.checkout.make("cluster-down", STACK)
    list_ = stack.checkout.path / "images.txt"
    list_.write_text(f"{list_.read_text()}ghcr.io/siderolabs/nothing:v9\n")
    done = stack.checkout.make("up", STACK, check=False)
    assert done.returncode != 0
    assert "ghcr.io/siderolabs/nothing:v9" in done.stdout + done.stderr
    assert stack.nodes(NAME) == {}
