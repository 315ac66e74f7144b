"""What a real cache logs, counts and stores, held to its upstream's own log."""

import time
from contextlib import contextmanager
from functools import partial
from itertools import count
from random import Random

import httpx
import pytest

from plan.images.storage import ROOT
from plan.images.volume_images import File
from plan.traffic import counters, hits
from plan.traffic.hits import FAILED, HIT, MISS, Judge
from plan.traffic.request_log import BLOBS, MANIFESTS, requests
from plan.traffic.stored import stored
from tests.fakes.web_server import free_port
from tests.real.private import registry_process
from tests.real_registry import MANIFEST, Registry

ACCEPT = {"Accept": MANIFEST}
SETTLED_SECONDS = 30
SIZES = (3_000_000, 70_000, 1)


@contextmanager
def cached(folder, *layers):
    """A registry with an image of these layers, and a cache of it; yields them and a Pulled."""
    address = f"127.0.0.1:{free_port()}"
    debug = {"debug": {"addr": address, "prometheus": {"enabled": True}}}
    with registry_process.running(folder / "upstream") as upstream:
        pushed = Registry(upstream.url, folder / "upstream")
        image = pushed.single("team/app", *layers)
        digest = pushed.manifest("team/app", image, "v1")["digest"]
        before = len(upstream.log)
        with registry_process.running(
            folder / "cache",
            environment={"REGISTRY_LOG_LEVEL": "info"},
            sections={"http": debug, "proxy": {"remoteurl": upstream.url, "ttl": "0"}},
        ) as cache:
            blobs = [part["digest"] for part in (image["config"], *image["layers"])]
            look = partial(settled, cache, upstream, before, folder / "cache/data", address)
            yield f"{cache.url}/v2/team/app", digest, blobs, look


@pytest.fixture(scope="module")
def pulled(tmp_path_factory):
    """An image pulled three times through a real cache, and one that is not there."""
    layers = [bytes([number]) * size for number, size in zip(count(1), SIZES, strict=False)]
    with cached(tmp_path_factory.mktemp("traffic"), *layers) as (url, manifest, blobs, look):
        for times in range(3):
            # A client has its last byte before that is stored.
            look(asked=times * (2 + len(blobs)))
            httpx.head(f"{url}/manifests/v1", headers=ACCEPT).raise_for_status()
            httpx.get(f"{url}/manifests/{manifest}", headers=ACCEPT).raise_for_status()
            for blob in blobs:
                httpx.get(f"{url}/blobs/{blob}").raise_for_status()
        assert httpx.get(f"{url}/manifests/v2", headers=ACCEPT).status_code == 404
        yield look(asked=3 * (2 + len(blobs)) + 1)


def settled(cache, upstream, before, data, debug, *, asked):
    """What there is to see when all has been logged, which follows an answer."""
    deadline = time.monotonic() + SETTLED_SECONDS
    while True:
        seen = Pulled(cache, upstream, before, data, debug)
        sent = [one for one in seen.upstream if one.kind == BLOBS and not one.is_head]
        if len(seen.served) == asked and len(sent) == seen.counters.blobs.misses:
            return seen
        assert time.monotonic() < deadline, (seen.served, seen.upstream)
        time.sleep(0.05)


class Pulled:
    def __init__(self, cache, upstream, before, data, debug):
        self.served = list(
            hits.served(requests(cache.log.splitlines()), Judge(stored(files(data))))
        )
        self.upstream = list(requests(upstream.log[before:].splitlines()))
        self.counters = counters.parse(httpx.get(f"http://{debug}/metrics").text)

    def results(self, kind):
        return [one.result for one in self.served if one.request.kind == kind]


def files(data):
    root = data / ROOT
    found = {path: path.stat() for path in root.rglob("*") if path.is_file()}
    return {
        str(path.relative_to(root)): File(size=stat.st_size, written=int(stat.st_mtime))
        for path, stat in found.items()
    }


def test_each_part_is_a_miss_once_and_then_a_hit(pulled):
    assert pulled.results(BLOBS) == [*[MISS] * 4, *[HIT] * 8]
    assert pulled.results(MANIFESTS) == [MISS, *[HIT] * 5, FAILED]


def test_the_cache_counts_the_same(pulled):
    for kind, counted in ((BLOBS, pulled.counters.blobs), (MANIFESTS, pulled.counters.manifests)):
        results = pulled.results(kind)
        assert (counted.hits, counted.misses) == (results.count(HIT), results.count(MISS))
    bodies = [one.request.size for one in pulled.served if one.request.kind == BLOBS]
    assert pulled.counters.blobs.served == sum(bodies) == 3 * pulled.counters.blobs.fetched


def test_the_requests_for_manifests_are_those_that_the_upstream_answered(pulled):
    """It is asked for each look-up of a tag, and for the content of what is missing."""
    asked = [one for one in pulled.upstream if one.kind == MANIFESTS and one.is_well]
    by_tag = [one.request for one in pulled.served if one.request.by_tag and one.request.is_well]
    assert [one.reference for one in asked if one.is_head] == [one.reference for one in by_tag]
    assert sum(not one.is_head for one in asked) == pulled.counters.manifests.misses == 1


def test_the_bytes_of_misses_are_those_that_the_upstream_sent(pulled):
    sent = [one for one in pulled.upstream if one.kind == BLOBS and not one.is_head]
    missed = [one.request for one in pulled.served if one.result == MISS]
    assert sum(one.size for one in sent) == sum(one.size for one in missed if one.kind == BLOBS)
    assert len(sent) == 4
    assert pulled.counters.blobs.fetched == sum(one.size for one in sent) == sum(SIZES) + len(b"{}")


def results_of(seen):
    """Of blobs; the bytes that were fetched are the same by log, counters and upstream."""
    sent = sum(one.written for one in seen.upstream if one.kind == BLOBS and not one.is_head)
    counted = seen.counters.blobs
    results = seen.results(BLOBS)
    assert (counted.hits, counted.misses) == (results.count(HIT), results.count(MISS))
    assert sum(one.fetched for one in seen.served) == sent == counted.fetched
    return results


def test_what_several_clients_ask_for_at_once_comes_from_the_upstream_each_time(tmp_path):
    """The registry stores what the first one asks for, and passes the others on meanwhile."""
    large = Random(1).randbytes(30_000_000)
    with cached(tmp_path, large) as (url, _, blobs, look):
        with httpx.stream("GET", f"{url}/blobs/{blobs[1]}") as first:
            pieces = first.iter_raw(1000)
            next(pieces)  # and no more: it is under way until this client takes it
            for _ in range(2):
                assert httpx.get(f"{url}/blobs/{blobs[1]}").content == large
            assert sum(map(len, pieces)) == len(large) - 1000
        look(asked=3)  # its client has the last byte before it is stored
        httpx.get(f"{url}/blobs/{blobs[1]}").raise_for_status()
        assert results_of(look(asked=4)) == [MISS, MISS, MISS, HIT]


def test_a_request_for_the_header_of_a_blob_makes_the_cache_fetch_it(tmp_path):
    with cached(tmp_path, b"a layer" * 1000) as (url, _, blobs, look):
        httpx.head(f"{url}/blobs/{blobs[1]}").raise_for_status()
        look(asked=1)
        httpx.get(f"{url}/blobs/{blobs[1]}").raise_for_status()
        assert results_of(look(asked=2)) == [MISS, HIT]
