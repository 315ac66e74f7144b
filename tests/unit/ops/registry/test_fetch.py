"""Fetching, from a real registry as a pull-through cache of another."""

import hashlib

import pytest

from ops.registry import fetch
from ops.registry.fetch import FetchError
from plan.caches.cache import Cache
from tests.real_registry import running

LAYER, OTHER = b"x" * 3_000_000, b"y" * 100_000
DIGEST, OTHER_DIGEST = (f"sha256:{hashlib.sha256(one).hexdigest()}" for one in (LAYER, OTHER))


@pytest.fixture(scope="module")
def upstream(tmp_path_factory):
    with running(tmp_path_factory.mktemp("upstream")) as registry:
        registry.image("team/a", "v1", LAYER, OTHER, platforms=("amd64",))
        yield registry


@pytest.fixture
def cache(tmp_path, upstream):
    with running(tmp_path, REGISTRY_PROXY_REMOTEURL=upstream.url) as registry:
        yield fetch.source(f"{registry.url}/v2")


@pytest.fixture
def damaged(upstream):
    """The layer's first byte is another one upstream."""
    file = upstream.file_of(DIGEST)
    file.write_bytes(b"X" + LAYER[1:])
    yield
    file.write_bytes(LAYER)


def test_a_manifest_by_tag_and_by_digest(cache):
    content = fetch.manifest(cache, "team/a", "v1")
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    assert fetch.manifest(cache, "team/a", digest) == content


def test_a_blob_is_counted_as_it_comes(cache):
    chunks = []
    fetch.blob(cache, "team/a", DIGEST, chunks.append)
    assert (sum(chunks), len(chunks) > 1) == (len(LAYER), True)


def test_what_does_not_exist_is_an_error_with_the_registrys_message(cache):
    with pytest.raises(FetchError, match="/v2/team/a/manifests/v9: 404 manifest unknown"):
        fetch.manifest(cache, "team/a", "v9")
    with pytest.raises(FetchError, match="404 blob unknown"):
        fetch.blob(cache, "team/a", f"sha256:{'0' * 64}", len)


def test_a_damaged_blob_is_an_error_and_the_next_is_not(cache, damaged):
    # The cache can't store it, and resets the connection that it was sent on.
    for _ in range(3):
        with pytest.raises(FetchError, match="another digest"):
            fetch.blob(cache, "team/a", DIGEST, lambda _: None)
        fetch.blob(cache, "team/a", OTHER_DIGEST, lambda _: None)


def test_a_cache_of_this_machine_is_reached_without_the_environments_proxy(upstream, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.delenv("NO_PROXY", raising=False)
    cache = Cache(host="quay.io", name="x", local_endpoint=upstream.url, image="")
    assert fetch.manifest(fetch.of_cache(cache), "team/a", "v1")


def test_one_that_is_not_up_is_an_error():
    cache = Cache(host="quay.io", name="x", local_endpoint="http://127.0.0.1:1", image="")
    with pytest.raises(FetchError, match="Connection refused"):
        fetch.manifest(fetch.of_cache(cache), "team/a", "v1")
