"""Upstreams that answer connections and are sick all the same; with names, and by their address."""

import concurrent.futures
import functools
import json
import os
import time
from collections import defaultdict
from contextlib import suppress

import pytest
import requests

from demo import images
from tests.real.caches.conftest import PREFIX, WORKER
from tests.real.caches.containerd import running
from tests.real.offline.away import (
    ANONYMOUS,
    AWAY,
    BACK,
    BACK_SECONDS,
    CACHED_SECONDS,
    TAGS,
    TOKENS,
    AwayCaches,
    Node,
    fill,
    image,
    named_upstream,
    said,
)

STACK = "upstream-sick"
BASE_PORT = 15890
ADDRESS = "address.test"
ADDRESS_TOKENS = "address-tokens.test"
WANTS_LOGIN = "wants a user name and a password"
SLOW_PULLS = 3
COUNTED_SECONDS = 20
SECOND = "/dev/shm/talos-cache-second-pid"


@pytest.fixture(scope="module")
def upstream(docker_client, tmp_path_factory):
    name = f"{PREFIX}-sick-upstream-{WORKER}"
    with named_upstream(docker_client, name, tmp_path_factory.mktemp("upstream")) as made:
        yield made


@pytest.fixture(scope="module")
def caches(checkout, upstream):
    remote_urls = {
        ANONYMOUS: f"http://{ANONYMOUS}:5002",
        TOKENS: f"http://{TOKENS}:5001",
        ADDRESS: f"http://{upstream.ip_address}:5002",
        ADDRESS_TOKENS: f"http://{upstream.ip_address}:5001",
    }
    made = AwayCaches(checkout, STACK, BASE_PORT, upstream, remote_urls)
    fill(made)
    # Whether the watches have said that the names are found is a matter of when they looked.
    made.said_before = {one.name: len(said(one)) for one in made.containers.values()}
    return made


@pytest.fixture(autouse=True)
def back_again(upstream):
    yield
    upstream.come_back()


def prove(caches, folder, mood, words, uncached, doctor_says, connections=None):
    """Make the upstream sick; cached tags come, and new ones when it is well again.

    A pull that is the first to wait may be broken off: nodes try again.

    Args:
        connections: how many each cache may open to its upstream while that is sick.
    """
    with running(folder) as address, concurrent.futures.ThreadPoolExecutor() as side_by_side:
        node = Node(caches, address, folder)

        def cached(host):
            started = time.monotonic()
            for number in range(TAGS):
                node.wait_until_pulled(host, number)
            return time.monotonic() - started

        def back(host):
            return node.wait_until_pulled(host, uncached)

        hosts = list(caches.urls)
        mood()
        took = list(side_by_side.map(cached, hosts))
        assert max(took) < CACHED_SECONDS, took
        caches.wait_for_log(words)
        found = doctor(caches)
        for host in hosts:
            assert [text for text in found[f"cache of {host}"] if doctor_says in text], found
        for host in hosts:
            asked_in_vain = node.pull(host, uncached, check=False)
            assert asked_in_vain.returncode != 0, "it would not tell whether that is remembered"
        if connections:
            caches.upstream.count_requests()
            time.sleep(COUNTED_SECONDS)
            counted = caches.upstream.requests_counted("tcp")
            assert 0 < counted <= connections * len(hosts)
        caches.upstream.come_back()
        returned = list(side_by_side.map(back, hosts))
        assert max(returned) < BACK_SECONDS, returned
        caches.wait_for_log(BACK)
        for host in hosts:
            node.pull(host, uncached + 1)
    print({"cached": took, "back": returned})


def doctor(caches):
    """What it warns of, by what it looked at."""
    argv, shell = ("doctor", caches.stack, "--json"), caches.checkout.shell_env(caches.stack)
    report = json.loads(caches.checkout.ops(*argv, env=shell).stdout)
    texts = defaultdict(list)
    for finding in report["findings"]:
        if finding["state"] == "warning":
            texts[finding["about"]].append(finding["text"])
    return texts


def test_an_upstream_that_takes_requests_and_never_answers(caches, upstream, tmp_path):
    says = "its upstream gives no answer"
    hangs = functools.partial(upstream.become, "hangs")
    # A question takes 6 s and two connections, and 3 s lie between two.
    prove(caches, tmp_path, hangs, AWAY, uncached=TAGS, doctor_says=says, connections=6)


def test_an_upstream_that_hangs_on_manifests_alone(caches, upstream, tmp_path):
    says = "its upstream gives no answer"
    hangs = functools.partial(upstream.become, "hangs on manifests")
    prove(caches, tmp_path, hangs, AWAY, uncached=TAGS + 10, doctor_says=says)


def test_a_watch_that_is_killed_while_it_asks_asks_again(caches, upstream):
    upstream.become("hangs")
    with concurrent.futures.ThreadPoolExecutor(2 * len(caches.urls)) as side_by_side:
        ended = [side_by_side.submit(look_up, url) for url in caches.urls.values()]
        for container in caches.containers.values():
            wait_until(functools.partial(asks, container))
        caches.kill_watches()
        # Those that wait for a token end by themselves, 15 s after they began.
        ended += [side_by_side.submit(look_up, url) for url in caches.urls.values()]
        caches.wait_for_log(AWAY)
        # What waited was broken off.
        concurrent.futures.wait(ended)
    upstream.come_back()
    caches.wait_for_log(BACK)


def look_up(url):
    with suppress(requests.ConnectionError):
        requests.get(f"{url}/v2/team/image-0/manifests/1", timeout=BACK_SECONDS)


def asks(container):
    """Whether its watch asks its upstream a question at this moment."""
    return container.exec_run(["busybox", "test", "-e", SECOND]).exit_code == 0


def wait_until(is_so):
    deadline = time.monotonic() + BACK_SECONDS
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_an_upstream_that_once_wants_a_login(caches, upstream, tmp_path):
    # A cache that has learnt that it needs a token asks for nothing else.
    for container in caches.containers.values():
        container.exec_run(["busybox", "sh", "-c", ": >/dev/shm/talos-cache-again"])
        container.exec_run(["busybox", "sh", "-c", "kill $(cat /dev/shm/talos-cache-pid)"])
    basic = functools.partial(upstream.become, "basic")
    # 6 s lie between two questions, each of two connections.
    prove(
        *(caches, tmp_path, basic, WANTS_LOGIN),
        **{"uncached": TAGS + 2, "doctor_says": WANTS_LOGIN, "connections": 8},
    )


def test_an_upstream_by_its_address_that_swallows_packets(caches, upstream, tmp_path):
    says = "doesn't answer it"
    prove(caches, tmp_path, upstream.swallow, AWAY, uncached=TAGS + 4, doctor_says=says)


def test_one_that_is_only_slow_is_left_alone(caches, upstream):
    caches.wait_for_log(BACK)
    upstream.become("slow")
    before = {host: said(container) for host, container in caches.containers.items()}
    with concurrent.futures.ThreadPoolExecutor() as side_by_side:
        list(side_by_side.map(get_all, caches.urls.values()))
    after = {host: said(container) for host, container in caches.containers.items()}
    assert after == before


def get_all(url):
    for number in range(TAGS + 6, TAGS + 6 + SLOW_PULLS):
        made = image(number)
        headers = {"Accept": made.manifests[-1].media_type}
        base = f"{url}/v2/{made.repository}"
        requests.get(f"{base}/manifests/1", headers=headers, timeout=60).raise_for_status()
        for blob in made.blobs:
            requests.get(f"{base}/blobs/{blob.digest}", timeout=60).raise_for_status()


def test_a_download_that_goes_on_is_not_broken_off(caches, upstream):
    """Whatever else waits: as where it fills the line, or comes from another server."""
    made = images.single("upstream.test", "team/large", "1", os.urandom(2**22))
    upstream.push(made)
    (layer,) = (blob for blob in made.blobs if len(blob.content) > 2**21)
    upstream.become("slow")
    with concurrent.futures.ThreadPoolExecutor() as side_by_side:
        urls = [f"{url}/v2/team/large/blobs/{layer.digest}" for url in caches.urls.values()]
        begun = list(side_by_side.map(begin, urls))
        upstream.become("hangs")
        ended = [side_by_side.submit(look_up, url) for url in caches.urls.values()]
        for body in side_by_side.map(whole, begun):
            assert body == layer.content
        caches.wait_for_log(AWAY)
        concurrent.futures.wait(ended)
    upstream.come_back()
    caches.wait_for_log(BACK)


def begin(url):
    return requests.get(url, stream=True, timeout=BACK_SECONDS)


def whole(response):
    return response.raw.read()
