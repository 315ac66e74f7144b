"""Ports that move from one cache of a stack to another: `make up` makes room, `pulumi up` says so.

The engine removes what is gone last, and a port that is still held can't be published.
"""

import pytest

from demo.client import pull
from tests.real.caches.conftest import IMAGES, PREFIX, embedded

STACK = "moving"
NAME = f"{PREFIX}-moving"
BASE_PORT = 15340
OTHER = BASE_PORT + 8
DOCKER, KUBERNETES = IMAGES[0], IMAGES[1]


@pytest.fixture
def two(checkout, embedded_upstream):
    """Two caches, both with an image; nothing of them is up afterwards."""
    configure(checkout, embedded_upstream, {"docker.io": BASE_PORT, "registry.k8s.io": OTHER})
    checkout.make("up", STACK)
    pull_at(BASE_PORT, DOCKER)
    pull_at(OTHER, KUBERNETES)
    yield checkout
    checkout.make("down", STACK)


def configure(checkout, upstream, ports, **more):
    upstreams = embedded(upstream, ports)
    for host, port in ports.items():
        upstreams[host]["port"] = port
    checkout.write_stack(STACK, prefix=NAME, basePort=BASE_PORT, upstreams=upstreams, **more)


def pull_at(port, image):
    pull(f"http://127.0.0.1:{port}", image, by_digest=False)


def settled(checkout):
    """What a preview shows afterwards, and whether the engine has all containers in its state."""
    return checkout.changes(STACK), set(checkout.containers(STACK))


def test_a_new_upstream_gets_the_port_of_one_that_goes_in_the_same_up(two, embedded_upstream):
    before = two.containers(STACK)
    configure(two, embedded_upstream, {"docker.io": BASE_PORT, "ghcr.io": OTHER})
    done = two.make("up", STACK)
    gone = f"{NAME}-registry.k8s.io"
    assert f"removed the container {gone}: its port {OTHER} goes to the cache of ghcr.io" in (
        done.stderr
    )
    assert settled(two) == (set(), {f"{NAME}-docker.io", f"{NAME}-ghcr.io"})
    kept = f"{NAME}-docker.io"
    assert two.containers(STACK)[kept] == before[kept], "what keeps its port is left alone"
    assert gone in two.volumes(NAME), "its images stay"
    pull_at(OTHER, IMAGES[2])


def test_two_upstreams_swap_their_ports_and_keep_their_images(two, embedded_upstream):
    configure(two, embedded_upstream, {"docker.io": OTHER, "registry.k8s.io": BASE_PORT})
    two.make("up", STACK)
    assert settled(two) == (set(), {f"{NAME}-docker.io", f"{NAME}-registry.k8s.io"})
    embedded_upstream.stop()
    try:
        pull_at(OTHER, DOCKER)
        pull_at(BASE_PORT, KUBERNETES)
    finally:
        embedded_upstream.plug_in()


def test_plain_pulumi_says_what_is_in_the_way_before_it_changes_anything(two, embedded_upstream):
    before = two.containers(STACK)
    configure(two, embedded_upstream, {"docker.io": BASE_PORT, "ghcr.io": OTHER})
    holder = f"{NAME}-registry.k8s.io"
    words = (
        f"Port {OTHER} of 127.0.0.1, for the cache of ghcr.io, is still used by this stack's own "
        f"container {holder}"
    )
    shown = two.make("preview", STACK)
    assert words in shown.stdout + shown.stderr, "a preview warns, and shows what make up will do"
    assert "ghcr-io-container" in shown.stdout
    for _ in range(2):
        refused = two.pulumi("up", "--yes", "--skip-preview", stack=STACK, check=False)
        assert refused.returncode != 0
        assert "Nothing was changed" in refused.stdout + refused.stderr
        assert words in refused.stdout + refused.stderr
        assert two.containers(STACK) == before
    two.client.containers.get(holder).remove(force=True, v=True)  # as it says
    two.pulumi("up", "--yes", "--skip-preview", stack=STACK)
    assert settled(two) == (set(), {f"{NAME}-docker.io", f"{NAME}-ghcr.io"})


def test_nothing_is_removed_while_something_else_is_in_the_way(two, embedded_upstream):
    before = two.containers(STACK)
    image = two.client.containers.get(f"{NAME}-docker.io").attrs["Config"]["Image"]
    stranger = two.client.containers.run(
        image, name=f"{PREFIX}-stranger", detach=True, ports={"5000/tcp": ("127.0.0.1", OTHER + 1)}
    )
    ports = {"docker.io": OTHER, "registry.k8s.io": OTHER + 1}
    configure(two, embedded_upstream, ports)
    try:
        refused = two.make("up", STACK, check=False)
    finally:
        stranger.remove(force=True, v=True)
    assert refused.returncode != 0
    assert f"{PREFIX}-stranger" in refused.stdout + refused.stderr
    assert two.containers(STACK) == before
    two.make("up", STACK)
    assert settled(two)[0] == set()


def test_another_prefix_moves_no_port(two, embedded_upstream):
    ports = {"docker.io": BASE_PORT, "registry.k8s.io": OTHER}
    upstreams = embedded(embedded_upstream, ports)
    upstreams["registry.k8s.io"]["port"] = OTHER
    two.write_stack(STACK, prefix=f"{NAME}-b", basePort=BASE_PORT, upstreams=upstreams)
    two.pulumi("up", "--yes", "--skip-preview", stack=STACK)
    assert settled(two) == (set(), {f"{NAME}-b-docker.io", f"{NAME}-b-registry.k8s.io"})
