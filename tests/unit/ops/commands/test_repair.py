"""What `repair` reports of a damaged blob; tests/real/offline damages real ones."""

import time
from contextlib import contextmanager

import pytest

from ops.commands import repair
from ops.docker import volume_hashes
from ops.errors import OpsError
from ops.registry import fetch
from plan.caches.cache import Cache
from plan.images.storage import MISSING, ROOT, Repository, Store, parse_listing
from tests.fakes import busy_upstream
from tests.real_registry import running

CACHE = Cache(host="docker.io", name="registry-docker.io", local_endpoint="", image="registry")
MANIFEST, LAYER, ORPHAN = (f"sha256:{letter * 64}" for letter in "abc")
HELD = Store(
    blobs={MANIFEST: 5, LAYER: 7, ORPHAN: 9},
    repositories={
        "team/a": Repository(tags={}, revisions=frozenset(), layers=frozenset()),
        "team/b": Repository(tags={}, revisions=frozenset([MANIFEST]), layers=frozenset([LAYER])),
    },
)


class VolumesDouble:
    """A double of the volumes: each look into them finds the next of these sets of blobs."""

    def __init__(self, *found):
        self.found = list(found)
        self.ran = []

    def stores(self):
        blobs = self.found.pop(0) if len(self.found) > 1 else self.found[0]
        return {"docker.io": Store(blobs=dict.fromkeys(blobs, 7), repositories=HELD.repositories)}

    def run(self, *argv):
        self.ran.append(argv)


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(repair, "POLL_SECONDS", 0)
    monkeypatch.setattr(repair, "SETTLE_SECONDS", 0.05)


@pytest.fixture(autouse=True)
def damaged_blobs(monkeypatch):
    """What hashing finds damaged of what is there; a double of the hashing."""
    found = set()

    def damaged(volumes, stores, digests):
        there = set(digests.get("docker.io", ())) & stores["docker.io"].blobs.keys()
        return {"docker.io": frozenset(there & found)}

    monkeypatch.setattr(volume_hashes, "damaged", damaged)
    return found


@pytest.fixture
def requested(monkeypatch):
    """What is requested from the cache; a double of a cache that has everything."""
    seen = []
    monkeypatch.setattr(fetch, "manifest", lambda cache, name, digest: seen.append((name, digest)))

    def blob(cache, name, digest, progress):
        seen.append((name, digest))
        progress(7)

    monkeypatch.setattr(fetch, "blob", blob)
    return seen


def fetched(digest, why_not=None, told=lambda size: None):
    return repair._fetched(CACHE, HELD, digest, why_not, told)


def repaired(digest, why_not, *found):
    """What is reported of one blob that was removed, if the volume has `found` afterwards."""
    said = {("docker.io", digest): why_not}
    [one] = repair._outcomes(VolumesDouble(*found), {"docker.io": HELD}, said)
    return one, repair._report([one], {"docker.io": HELD}, (0, 0))


@pytest.mark.parametrize("digest", [MANIFEST, LAYER])
def test_what_an_image_needs_is_fetched_where_it_is_linked(requested, digest):
    assert fetched(digest) is None
    assert requested == [("team/b", digest)]


def test_received_bytes_move_the_bar(requested):
    received = []
    fetched(LAYER, told=received.append)
    assert received == [7]


def test_what_no_image_needs_is_not_requested_and_not_called_fetched(requested):
    for why_not in (None, "the stack is offline"):
        assert fetched(ORPHAN, why_not) == why_not
        found, said = repaired(ORPHAN, why_not, ())
        assert (found.fetched, found.why_not) == (False, "")
        assert "no image needs it" in said
        assert said.endswith("3 blobs hashed, 1 damaged, 0 missing")
    assert requested == []


def test_a_cache_that_can_not_fetch_gets_no_request(requested):
    assert fetched(LAYER, "the stack is offline") == "the stack is offline"
    assert requested == []
    found, said = repaired(LAYER, "the stack is offline", ())
    assert (found.fetched, found.why_not) == (False, "the stack is offline")
    assert "not fetched again: the stack is offline\n" in said


def test_why_a_fetch_failed_is_reported(monkeypatch):
    def fail(*_):
        raise fetch.FetchError("502 bad gateway")

    monkeypatch.setattr(fetch, "blob", fail)
    assert fetched(LAYER) == "502 bad gateway"


def test_it_is_called_fetched_when_the_volume_holds_it_which_may_take_a_moment():
    found, said = repaired(LAYER, None, (), (), (LAYER,))
    assert (found.fetched, found.why_not) == (True, "")
    assert "removed, fetched again\n" in said


def test_what_came_and_was_not_stored_is_not_called_fetched():
    found, said = repaired(LAYER, None, ())
    assert found.fetched is False
    assert "not fetched again: it was delivered, but not stored" in said


def test_what_is_damaged_again_is_not_called_fetched(damaged_blobs):
    damaged_blobs.add(LAYER)
    found, said = repaired(LAYER, None, (LAYER,))
    assert found.fetched is False
    assert f"{LAYER}  not repaired: " in said


GONE = Store(blobs={MANIFEST: 5}, repositories=HELD.repositories)


def test_a_blob_that_is_linked_and_not_there_is_missing():
    assert HELD.gone == frozenset()
    assert GONE.gone == {LAYER}
    looks = VolumesDouble((MANIFEST,))
    assert repair._missing(looks, {"docker.io": GONE}) == {"docker.io": frozenset([LAYER])}


def test_what_was_only_just_stored_is_not_missing():
    looks = VolumesDouble((MANIFEST, LAYER))
    assert repair._missing(looks, {"docker.io": GONE}) == {"docker.io": frozenset()}


def test_without_missing_blobs_volumes_are_listed_once():
    assert repair._missing(None, {"docker.io": HELD}) == {"docker.io": frozenset()}


def test_what_has_expired_is_not_missing(tmp_path):
    """In a real cache that keeps content for a while (cache.ttl): it leaves links behind."""
    root = tmp_path / "data" / ROOT
    deadline = time.monotonic() + 120
    with busy_upstream.running() as upstream:
        settings = {"REGISTRY_PROXY_REMOTEURL": upstream.url, "REGISTRY_PROXY_TTL": "2s"}
        with running(tmp_path, REGISTRY_STORAGE_DELETE_ENABLED="true", **settings) as cache:
            held = expired(cache, root, deadline)
            while not linked_in(held):  # one was stored only after the other had expired
                held = expired(cache, root, deadline)
    assert not linked_in(held) & held.blobs.keys()
    assert held.gone == frozenset()


def expired(cache, root, deadline):
    """What a cache holds when an image of two repositories has come, and has expired."""
    source = fetch.source(f"{cache.url}/v2")
    blobs = [busy_upstream.digest_of(one) for one in (busy_upstream.CONFIG, busy_upstream.LAYER)]
    for name in ("team/a", "team/b"):
        fetch.manifest(source, name, "v1")
        for digest in blobs:
            fetch.blob(source, name, digest, lambda size: None)
    while True:
        held = held_in(root)
        revisions = [one for repo in held.repositories.values() for one in repo.revisions]
        if held.repositories and not revisions and not held.blobs.keys() & set(blobs):
            return held
        assert time.monotonic() < deadline, "it does not expire"
        time.sleep(0.1)


def linked_in(held):
    return frozenset[str]().union(*(one.layers for one in held.repositories.values()))


def held_in(root):
    """What a registry's folder holds."""
    listed = [(str(one.relative_to(root)), size_of(one)) for one in root.rglob("*")]
    return parse_listing(((path, size) for path, size in listed if size is not None), {})


def size_of(path):
    """In bytes; None where it is no file, or none any more."""
    try:
        return path.stat().st_size if path.is_file() else None
    except FileNotFoundError:
        return None


def test_a_blob_that_was_missing_is_told_apart_from_a_damaged_one():
    said = {("docker.io", LAYER): ""}
    [one] = repair._outcomes(VolumesDouble((LAYER,)), {"docker.io": GONE}, said)
    assert (one.problem, one.size, one.fetched) == (MISSING, 0, True)
    blob, counts, downloads = repair._report([one], {"docker.io": GONE}, (2, 700)).splitlines()
    assert blob == f"docker.io  {LAYER}  its file was gone, fetched again"
    assert counts == "1 blobs hashed, 0 damaged, 1 missing"
    assert downloads.startswith("2 unfinished downloads removed (700 bytes)")


def removed(monkeypatch, *, ran=True, not_back=None, error=None):
    """What comes of removing, in the middle of a `stopped` that is a double."""
    order = []
    volumes = VolumesDouble(())

    @contextmanager
    def stopped(client, cache, stack):
        order.append("stop")
        yield ran
        order.append("start")

    def run(*argv):
        order.append("remove")
        if error:
            raise error

    monkeypatch.setattr(repair, "stopped", stopped)
    monkeypatch.setattr(repair, "not_back", lambda cache: not_back)
    volumes.run = run
    return repair._removed(None, volumes, CACHE, [LAYER], "docker"), order


def test_blobs_go_while_the_cache_is_stopped(monkeypatch):
    assert removed(monkeypatch) == (None, ["stop", "remove", "start"])


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"ran": False}, "its cache is not running"),
        ({"not_back": "it does not answer"}, "it does not answer"),
        ({"error": OpsError("the disk is full")}, "the disk is full"),
    ],
)
def test_what_goes_wrong_with_one_cache_is_returned_and_not_raised(monkeypatch, how, said):
    assert removed(monkeypatch, **how)[0] == said
