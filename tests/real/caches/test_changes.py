"""What a preview says, and what an `up` then does, when a stack file or the machine changes."""

import json

import pytest
import requests

from demo.client import pull
from ops.docker import temporary_container
from tests.checkout import REGISTRY_IMAGE
from tests.real.caches.conftest import IMAGES, PREFIX, embedded
from tests.upstream_log import requests_answered

STACK = "changes"
NAME = f"{PREFIX}-changes"
HOSTS = ("docker.io", "registry.k8s.io", "ghcr.io")
BASE_PORT = 15110


@pytest.fixture(scope="module")
def up(checkout, embedded_upstream):
    """The stack with three upstreams, up, every image pulled once."""
    configure(checkout, embedded(embedded_upstream, HOSTS))
    checkout.make("up", STACK)
    for image in IMAGES:
        pull(endpoint(image.host), image, by_digest=False)
    return checkout


@pytest.fixture
def three(up, embedded_upstream):
    """The stack as it was, whatever the test before did to it."""
    yield up
    configure(up, embedded(embedded_upstream, HOSTS))
    up.make("up", STACK)


def configure(checkout, upstreams, **more):
    config = {"prefix": NAME, "basePort": BASE_PORT, "upstreams": upstreams, **more}
    checkout.write_stack(STACK, **config)


def endpoint(host, base=BASE_PORT):
    offset = {"docker.io": 0, "registry.k8s.io": 1, "quay.io": 2, "ghcr.io": 4}[host]
    return f"http://127.0.0.1:{base + offset}"


def container_inputs(checkout, host):
    container = checkout.client.containers.get(f"{NAME}-{host}")
    return container.attrs["HostConfig"]["PortBindings"]


def test_a_preview_right_after_up_shows_no_changes(up):
    assert up.changes(STACK) == set()


def test_reordering_the_upstreams_shows_no_changes(up, embedded_upstream):
    configure(up, embedded(embedded_upstream, reversed(HOSTS)))
    assert up.changes(STACK) == set(), "resources are named after hosts, not after positions"


def test_one_upstream_more_is_a_component_a_volume_and_a_container(three, embedded_upstream):
    before = three.containers(STACK)
    configure(three, embedded(embedded_upstream, ("quay.io", *HOSTS)))
    assert three.changes(STACK) == {
        ("create", "talos-cache:index:PullThroughCache", "quay-io"),
        ("create", "docker:index/volume:Volume", "quay-io-volume"),
        ("create", "docker:index/container:Container", "quay-io-container"),
    }
    three.make("up", STACK)
    after = three.containers(STACK)
    assert {name: after[name] for name in before} == before, "no other container is touched"
    assert set(after) - set(before) == {f"{NAME}-quay.io"}


def test_one_upstream_less_takes_its_container_and_leaves_its_volume(three, embedded_upstream):
    before = three.containers(STACK)
    configure(three, embedded(embedded_upstream, ("docker.io", "ghcr.io")))
    three.make("up", STACK)
    assert set(before) - set(three.containers(STACK)) == {f"{NAME}-registry.k8s.io"}
    assert f"{NAME}-registry.k8s.io" in three.volumes(NAME)


def test_a_volume_left_behind_is_adopted_again_with_its_data(three, embedded_upstream):
    configure(three, embedded(embedded_upstream, ("docker.io", "ghcr.io")))
    three.make("up", STACK)
    configure(three, embedded(embedded_upstream, HOSTS))
    three.make("up", STACK)
    with Unplugged(embedded_upstream):
        pull(endpoint("registry.k8s.io"), IMAGES[1], by_digest=False)


def test_a_changed_port_replaces_only_that_container_and_keeps_its_data(three, embedded_upstream):
    before = three.containers(STACK)
    upstreams = embedded(embedded_upstream, HOSTS)
    upstreams["ghcr.io"]["port"] = BASE_PORT + 9
    configure(three, upstreams)
    changes = three.changes(STACK)
    assert {name for _, _, name in changes} == {"ghcr-io-container"}
    assert {op for op, _, _ in changes} <= {"replace", "create-replacement", "delete-replaced"}
    three.make("up", STACK)
    after = three.containers(STACK)
    assert {name for name in before if before[name] != after[name]} == {f"{NAME}-ghcr.io"}
    with Unplugged(embedded_upstream):
        pull(f"http://127.0.0.1:{BASE_PORT + 9}", IMAGES[2], by_digest=False)


@pytest.mark.parametrize("by_hand", ["removed", "stopped"])
def test_a_container_taken_away_by_hand_is_back_after_up_with_its_data(
    three, embedded_upstream, by_hand
):
    container = three.client.containers.get(f"{NAME}-docker.io")
    container.stop(timeout=1)
    if by_hand == "removed":
        container.remove(v=True)
    three.pulumi("up", "--yes", "--skip-preview", stack=STACK)
    with Unplugged(embedded_upstream):
        pull(endpoint("docker.io"), IMAGES[0], by_digest=False)
    assert three.changes(STACK) == set()


def test_a_volume_made_by_hand_is_adopted_and_never_replaced(three, embedded_upstream):
    three.make("down", STACK)
    name = f"{NAME}-quay.io"
    for earlier in three.client.volumes.list(filters={"name": name}):
        earlier.remove()  # that of another test, with our label
    three.client.volumes.create(name)
    configure(three, embedded(embedded_upstream, ("docker.io", "quay.io")))
    three.make("up", STACK)
    assert three.changes(STACK) == set(), "its missing label is no reason to replace it"


def test_destroy_keeps_the_volumes_and_deletes_them_when_asked(three, embedded_upstream):
    three.make("down", STACK)
    kept = three.volumes(NAME)
    assert kept >= {f"{NAME}-{host}" for host in HOSTS}
    configure(three, embedded(embedded_upstream, HOSTS), cache={"onDestroy": "delete"})
    three.make("up", STACK)
    with Unplugged(embedded_upstream):
        pull(endpoint("docker.io"), IMAGES[0], by_digest=False)
    config = three.client.api.create_host_config(binds=[f"{NAME}-ghcr.io:/volumes:ro"])
    # As a command leaves it that is killed before it starts it.
    with temporary_container.container(three.client, REGISTRY_IMAGE, host_config=config):
        three.make("down", STACK)
    left = three.volumes(NAME)
    assert left.isdisjoint({f"{NAME}-{host}" for host in HOSTS})


class Unplugged:
    """The upstream is away inside the block."""

    def __init__(self, upstream):
        self.upstream = upstream

    def __enter__(self):
        self.upstream.stop()

    def __exit__(self, *_):
        self.upstream.plug_in()


def test_offline_serves_what_is_cached_and_asks_nobody(three, embedded_upstream):
    upstreams = embedded(embedded_upstream, HOSTS)
    for image in IMAGES:  # other tests of this module delete volumes
        pull(endpoint(image.host), image, by_digest=False)
    configure(three, upstreams, offline=True)
    replaced = {
        (op, name) for op, typ, name in three.changes(STACK) if typ.endswith("container:Container")
    }
    names = {"docker-io-container", "registry-k8s-io-container", "ghcr-io-container"}
    assert {name for _, name in replaced} == names, "preview shows the switch"
    volumes = three.volumes(NAME)
    three.make("up", STACK)
    asked = requests_answered(embedded_upstream)
    for image in IMAGES:
        pull(endpoint(image.host), image, by_digest=False)
        pull(endpoint(image.host), image, by_digest=True)
    base = f"{endpoint('docker.io')}/v2/library/never-pulled"
    assert requests.get(f"{base}/manifests/1", timeout=10).status_code == 404
    assert requests.post(f"{base}/blobs/uploads/", timeout=10).status_code == 405
    shown = json.loads(three.ops("status", STACK, "--json", check=True).stdout)["caches"]
    assert {cache["mode"] for cache in shown} == {"offline"}
    assert sum(cache["manifests"]["misses"] for cache in shown) == 0
    assert sum(cache["manifests"]["hits"] for cache in shown) >= 2 * len(IMAGES)
    assert requests_answered(embedded_upstream) == asked, "the upstream is up, and not asked"

    configure(three, upstreams)
    three.make("up", STACK)
    assert three.volumes(NAME) == volumes
    before = requests_answered(embedded_upstream)
    assert requests.get(f"{base}/manifests/1", timeout=10).status_code == 404
    assert requests_answered(embedded_upstream) > before, "back again, the upstream is asked"
