"""A checkout below a folder whose name means something to shells, URLs and the kernel."""

import pytest

from tests.checkout import checked_out
from tests.real.caches.conftest import embedded
from tests.real.caches.sweep import PREFIX

STACK = "paths"
NAME = f"{PREFIX}-{STACK}"
BASE_PORT = 15870


@pytest.fixture(scope="module")
def checkout(tmp_path_factory, docker_client):
    folder = tmp_path_factory.mktemp("paths") / "a path with space & more, 50% of it #1? it's $HOME"
    folder.mkdir()
    with checked_out(folder, docker_client) as made:
        yield made


def test_the_whole_way_there_and_back(checkout, embedded_upstream):
    upstreams = embedded(embedded_upstream, ["docker.io"])
    config = {"prefix": NAME, "basePort": BASE_PORT, "cache": {"onDestroy": "delete"}}
    checkout.write_stack(STACK, upstreams=upstreams, **config)
    checkout.make("up", STACK)
    assert f"{NAME}-docker.io" in checkout.containers(STACK)
    checkout.pulumi("preview", "--expect-no-changes", stack=STACK)
    assert "0 problems" in checkout.make("doctor", STACK).stdout
    assert "caches" in checkout.make("outputs", STACK).stdout
    checkout.make("down", STACK)
    assert checkout.containers(STACK) == {}
