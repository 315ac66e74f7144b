"""Docker is restarted, as by a reboot, with caches in it and their upstream away.

A second Docker daemon is: the machine's own has containers of other tests. Its containers reach the
upstream, which the machine's own Docker has, by the address of its bridge.
"""

import os
import subprocess
import time

import pytest
import requests

from demo.client import PullError, pull
from demo.upstream import Upstream
from ops.registry.ping import wait_for_answer
from plan.settings.keys import DEFAULTS
from tests.real.caches.conftest import IMAGES, PREFIX
from tests.real.offline.second_docker import second_docker

STACK = "restarted"
NAME = f"{PREFIX}-{STACK}"
BASE_PORT = 15280
UPSTREAM_PORT = 15289
PORTS = {"docker.io": 0, "registry.k8s.io": 1, "ghcr.io": 4}
IMAGE = str(DEFAULTS["cache.image"])
BACK_SECONDS = 60


@pytest.fixture(scope="module")
def other(docker_client, tmp_path_factory):
    if os.geteuid() != 0:
        pytest.skip("only root runs a Docker daemon")
    # A socket's path is at most 107 bytes long.
    with second_docker(tmp_path_factory.mktemp("d"), network=88) as made:
        made.client().images.load(docker_client.images.get(IMAGE).save(named=IMAGE))
        yield made


@pytest.fixture(scope="module")
def upstream(docker_client, other):
    """In the machine's own Docker, reached from the other by its bridge's address."""
    made = Upstream(
        client=docker_client,
        name=f"{PREFIX}-{STACK}-upstream",
        image=IMAGE,
        address=other.address,
        port=UPSTREAM_PORT,
    )
    made.start()
    for image in IMAGES:
        made.push(image)
    yield made
    made.remove()


@pytest.fixture(scope="module")
def up(checkout, other, upstream):
    checkout.env["DOCKER_HOST"] = other.host
    write(checkout, upstream.url)
    checkout.make("up", STACK)
    try:
        pull_all()
        yield checkout
    finally:
        checkout.make("down", STACK)
        del checkout.env["DOCKER_HOST"]


def write(checkout, remote_url, **more):
    upstreams = {host: {"remoteUrl": remote_url} for host in PORTS}
    config = {"prefix": NAME, "basePort": BASE_PORT, "cache": {"onDestroy": "delete"}, **more}
    checkout.write_stack(STACK, upstreams=upstreams, **config)


def endpoints():
    return {host: f"http://127.0.0.1:{BASE_PORT + shift}" for host, shift in PORTS.items()}


def pull_all(again_for=0):
    """Each once; what fails again for so many seconds, as nodes do."""
    deadline = time.monotonic() + again_for
    for image in IMAGES:
        while True:
            try:
                pull(endpoints()[image.host], image, by_digest=False)
                break
            except PullError:
                if time.monotonic() >= deadline:
                    raise


def serves_after_a_restart(other, again_for=0):
    """Docker ends with all its containers and comes back: caches are up by themselves."""
    before = started(other)
    other.stop()
    for url in endpoints().values():
        with pytest.raises(requests.RequestException):
            requests.get(f"{url}/v2/", timeout=5)
    other.start()
    for url in endpoints().values():
        assert wait_for_answer(url, BACK_SECONDS) is None
    pull_all(again_for)
    after = started(other)
    assert before.keys() == after.keys()
    assert all(before[name] != after[name] for name in before), "each was started anew"


def started(other):
    """Container -> when it was started the last time."""
    api = other.client().api
    names = {f"{NAME}-{host}" for host in PORTS}
    return {name: api.inspect_container(name)["State"]["StartedAt"] for name in names}


def test_with_the_upstream_refusing(up, other, upstream):
    upstream.stop()
    try:
        serves_after_a_restart(other)
    finally:
        upstream.plug_in()


def test_with_the_upstream_swallowing_packets(up, other, upstream):
    info = upstream.client.api.inspect_container(upstream.name)
    enter = ["nsenter", "--net", "--target", str(info["State"]["Pid"]), "iptables", "--wait"]
    rule = ("INPUT", "--in-interface", "eth0", "--protocol", "tcp", "--jump", "DROP")
    subprocess.run([*enter, "--append", *rule], check=True)
    try:
        with pytest.raises(requests.Timeout):
            requests.get(f"{upstream.url}/v2/", timeout=2)
        # It is known by its address. An attempt to connect ends after 3 s, and what has waited for
        # 4 s, as on a busy machine, is broken off (docs/adr/0013).
        serves_after_a_restart(other, again_for=BACK_SECONDS)
    finally:
        subprocess.run([*enter, "--delete", *rule], check=True)


def test_with_a_name_of_the_upstream_that_nobody_knows(up, other, upstream):
    write(up, f"http://upstream.invalid:{UPSTREAM_PORT}")
    up.make("up", STACK)
    try:
        serves_after_a_restart(other)
    finally:
        write(up, upstream.url)


def test_offline(up, other, upstream):
    write(up, upstream.url, offline=True)
    up.make("up", STACK)
    serves_after_a_restart(other)
