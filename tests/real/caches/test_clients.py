"""Real clients pull through the caches: skopeo, and ctr with a hosts.toml as Talos writes it."""

import hashlib
import json

import pytest
import requests
import yaml

from demo.client import PullError, pull
from demo.images import Image, Manifest
from tests.real.caches.conftest import IMAGES, PREFIX, embedded
from tests.real.caches.containerd import ctr, hosts_dir, running
from tests.real.offline.volumes import in_container
from tests.upstream_log import settled

STACK = "clients"
BASE_PORT = 15120
HOSTS = ("docker.io", "registry.k8s.io", "ghcr.io")


@pytest.fixture(scope="module")
def endpoints(checkout, embedded_upstream):
    upstreams = embedded(embedded_upstream, HOSTS)
    upstreams["ghcr.io"]["overridePath"] = True
    checkout.write_stack(
        STACK,
        prefix=f"{PREFIX}-clients",
        basePort=BASE_PORT,
        upstreams=upstreams,
        cache={"onDestroy": "delete"},
    )
    checkout.make("up", STACK)
    return json.loads(checkout.pulumi("stack", "output", "--json", stack=STACK).stdout)


@pytest.fixture(scope="module")
def containerd(tmp_path_factory):
    with running(tmp_path_factory.mktemp("containerd")) as address:
        yield address


@pytest.fixture(scope="module")
def talos_hosts(endpoints, tmp_path_factory):
    """hosts.toml files from the machine config patch that the stack exports."""
    documents = list(yaml.safe_load_all(endpoints["machineConfigPatch"]))
    mirrors = [
        (
            document["name"],
            document["endpoints"][0]["url"],
            document["endpoints"][0].get("overridePath", False),
        )
        for document in documents
    ]
    return hosts_dir(tmp_path_factory.mktemp("hosts"), mirrors)


@pytest.mark.parametrize("by_digest", [False, True], ids=["by-tag", "by-digest"])
@pytest.mark.parametrize("image", IMAGES, ids=lambda image: image.reference)
def test_skopeo_gets_every_byte_as_it_was_made(endpoints, image, by_digest):
    pull(endpoints["localEndpoints"][image.host], image, by_digest=by_digest)


def test_the_check_of_arriving_bytes_can_fail(endpoints):
    hello = IMAGES[0]
    other = Manifest(media_type=hello.manifests[0].media_type, content=b"{}")
    changed = Image(
        host=hello.host,
        repository=hello.repository,
        tag=hello.tag,
        manifests=(other,),
        blobs=hello.blobs,
    )
    with pytest.raises(PullError, match="not byte for byte"):
        pull(endpoints["localEndpoints"][hello.host], changed, by_digest=False)


@pytest.mark.parametrize("by_digest", [False, True], ids=["by-tag", "by-digest"])
@pytest.mark.parametrize("image", IMAGES, ids=lambda image: image.reference)
def test_containerd_fetches_through_the_mirrors_nodes_get(
    endpoints, containerd, talos_hosts, image, by_digest
):
    separator = f"@{image.digest}" if by_digest else f":{image.tag}"
    reference = f"{image.host}/{image.repository}{separator}"
    ctr(containerd, "content", "fetch", "--all-platforms", "--hosts-dir", talos_hosts, reference)
    stored = ctr(containerd, "content", "ls", "-q").stdout.split()
    made = {item.digest for item in (*image.manifests, *image.blobs)}
    assert made <= set(stored), "containerd checks every digest as it stores"


def test_containerd_pulls_an_image_as_a_node_does(endpoints, containerd, talos_hosts):
    reference = "docker.io/library/hello:1"
    pulled = ctr(containerd, "images", "pull", "--hosts-dir", talos_hosts, reference)
    assert "done" in pulled.stdout
    listed = ctr(containerd, "images", "ls").stdout
    assert IMAGES[0].digest in listed


def test_the_pulls_went_through_the_cache(endpoints, containerd, talos_hosts, checkout):
    ctr(containerd, "content", "fetch", "--hosts-dir", talos_hosts, "docker.io/library/hello:1")
    log = settled(checkout.client, endpoints["caches"]["docker.io"]["container"])
    assert "?ns=docker.io" in "\n".join(log), "containerd says so in its requests"


def test_an_index_keeps_its_digest(endpoints):
    index = IMAGES[1]
    url = f"{endpoints['localEndpoints'][index.host]}/v2/{index.repository}/manifests/{index.tag}"
    answer = requests.get(url, headers={"Accept": index.manifests[-1].media_type}, timeout=10)
    assert answer.headers["Docker-Content-Digest"] == index.digest
    assert f"sha256:{hashlib.sha256(answer.content).hexdigest()}" == index.digest


def test_metrics_are_readable_inside_the_container_and_not_published(endpoints, checkout):
    container = checkout.client.containers.get(endpoints["caches"]["docker.io"]["container"])
    script = "wget -qO- http://127.0.0.1:5001/metrics"
    assert "registry_proxy" in in_container(checkout.client, container.name, script)
    assert set(container.attrs["NetworkSettings"]["Ports"]) == {"5000/tcp"}


def test_a_client_can_not_push_into_a_cache(endpoints):
    url = f"{endpoints['localEndpoints']['docker.io']}/v2/library/hello/blobs/uploads/"
    assert requests.post(url, timeout=10).status_code in (404, 405)
