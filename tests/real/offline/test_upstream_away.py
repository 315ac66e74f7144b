"""Upstreams that go away: what is cached is served by a default containerd, and they come back."""

import json
import time
from datetime import datetime

import pytest

from tests.real.caches.conftest import PREFIX, WORKER
from tests.real.offline.away import AWAY, BACK, TAGS, AwayCaches, fill, named_upstream, prove

STACK = "upstream-away"
BASE_PORT = 15150


@pytest.fixture(scope="module")
def upstream(docker_client, tmp_path_factory):
    name = f"{PREFIX}-away-upstream-{WORKER}"
    with named_upstream(docker_client, name, tmp_path_factory.mktemp("upstream")) as made:
        yield made


@pytest.fixture(scope="module")
def caches(checkout, upstream):
    made = AwayCaches(checkout, STACK, BASE_PORT, upstream)
    fill(made)
    return made


@pytest.fixture(autouse=True)
def back_again(upstream):
    yield
    upstream.come_back()


def test_an_upstream_that_refuses(caches, upstream, tmp_path):
    print(prove(caches, tmp_path, upstream.refuse, uncached=TAGS))


def test_an_upstream_that_swallows_packets_right_after_pulls(caches, upstream, tmp_path):
    fill(caches, 3)
    print(prove(caches, tmp_path, upstream.swallow, uncached=TAGS + 2))
    caches.wait_for_log(BACK)


def test_names_that_get_no_answer_after_a_restart(caches, upstream, tmp_path):
    caches.restart()
    print(prove(caches, tmp_path, upstream.swallow_names, uncached=TAGS + 4))
    caches.wait_for_log(BACK)


def test_an_upstream_that_swallows_packets_after_a_restart(caches, upstream, tmp_path):
    upstream.swallow()
    caches.restart()
    print(prove(caches, tmp_path, upstream.swallow, uncached=TAGS + 6))
    caches.wait_for_log(BACK)


def test_names_that_are_refused(caches, upstream, tmp_path):
    # Connections that are open need no name.
    caches.restart()
    print(prove(caches, tmp_path, upstream.fail_names, uncached=TAGS + 8))


def test_a_watch_that_is_killed_is_started_again(caches, upstream):
    caches.restart()
    caches.wait_for_log(BACK)
    upstream.swallow()
    fill(caches, 1)
    caches.wait_for_log(AWAY)
    caches.kill_watches()
    upstream.come_back()
    caches.wait_for_log(BACK)


def test_status_says_since_when_it_is_away(caches, upstream):
    def shown(key):
        printed = caches.checkout.ops("status", STACK, "--json", check=True).stdout
        return [cache[key] for cache in json.loads(printed)["caches"]]

    caches.restart()
    caches.wait_for_log(BACK)
    assert set(shown("mode")) == {"through"}
    assert set(shown("awaySince")) == {None}
    before = int(time.time())
    upstream.swallow()
    fill(caches, 1)
    caches.wait_for_log(AWAY)
    assert set(shown("mode")) == {"upstream away"}
    for since in shown("awaySince"):
        assert before <= datetime.fromisoformat(since).timestamp() <= time.time()
    upstream.come_back()
    caches.wait_for_log(BACK)
    assert set(shown("mode")) == {"through"}


def test_nothing_is_sent_while_all_is_well(caches, upstream):
    caches.restart()
    caches.wait_for_log(BACK)
    upstream.count_requests()
    time.sleep(5)
    assert upstream.requests_counted() == 0
    fill(caches, 1)
    counted = upstream.requests_counted()
    assert counted > 0, "the count counts"
    # With connections that are kept for a while, the watch looks at what the registry waits for.
    time.sleep(5)
    assert upstream.requests_counted() == counted
