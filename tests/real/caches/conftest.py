"""A checkout of its own for each module of tests: real engine, real Docker, real registry.

The project is copied to a temporary folder and used through `make` and `pulumi`, as a user would.
Everything made carries the prefix `talos-cache-test`, and is removed at the end of the module.
"""

import os
import time

import pytest

from demo import images
from demo.upstream import Upstream
from host.locks import only_one
from ops.docker import api
from plan.settings.keys import DEFAULTS
from tests.checkout import checked_out
from tests.real.caches.sweep import PREFIX

UPSTREAM_PORT = 15190
HEALTHY_SECONDS = 60
# Two workers run modules side by side; each has an upstream of its own.
WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))


@pytest.fixture(scope="module")
def checkout(tmp_path_factory, docker_client):
    folder = tmp_path_factory.mktemp("checkout")
    with checked_out(folder, docker_client, looks_again=True) as made:
        yield made


@pytest.fixture(scope="module")
def docker_stack_lock(tmp_path_factory):
    """Held by whoever uses the committed stack `docker`, whose ports are the same everywhere."""
    with only_one(tmp_path_factory.getbasetemp().parent / "docker-stack.lock"):
        yield


IMAGES = (
    images.single("docker.io", "library/hello", "1", b"hello\n" * 1000),
    images.multi_platform("registry.k8s.io", "two-platforms", "v1", b"for each platform"),
    images.artifact("ghcr.io", "artifact", "v1", b"not an image\n"),
)


@pytest.fixture(scope="session")
def embedded_upstream(docker_client):
    """A registry on this machine that holds IMAGES; unplugged only inside a test."""
    upstream = Upstream(
        client=docker_client,
        name=f"{PREFIX}-upstream-{WORKER}",
        image=str(DEFAULTS["cache.image"]),
        address=api.bridge_gateway(docker_client),
        port=UPSTREAM_PORT + WORKER,
    )
    upstream.start()
    for image in IMAGES:
        upstream.push(image)
    yield upstream
    upstream.remove()


def embedded(upstream, hosts):
    """The key `upstreams` for these hosts, all served by the embedded upstream."""
    return {host: {"remoteUrl": upstream.url} for host in hosts}


def wait_until_healthy(checkout, names):
    deadline = time.monotonic() + HEALTHY_SECONDS
    for name in names:
        while (health := health_of(checkout, name)) != "healthy":
            assert time.monotonic() < deadline, f"{name} is {health}"
            time.sleep(0.5)


def health_of(checkout, name):
    return checkout.client.containers.get(name).attrs["State"]["Health"]["Status"]
