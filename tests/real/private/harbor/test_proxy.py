"""The double's proxy caches store what the real ones store, when, and under which digest."""

import time

import httpx

from plan.images.manifests import INDEX_TYPES, MANIFEST_TYPES
from tests.fakes.harbor.proxy import written_anew
from tests.fakes.harbor.store import digest_of
from tests.real.private.harbor.conftest import APP, LARGE, PROJECT, SHARED


def test_a_get_by_tag_is_answered_without_a_digest_and_sets_no_tag(asked, index):
    answer = asked.ask("GET", "manifests/v1")
    names = ("Docker-Content-Digest", "Etag")
    assert [answer.headers[name] for name in names] == ["", ""]
    asked.index("v1")
    asked.wait()
    assert digest_of(answer.content) == index
    assert asked.artifact("v1") is None
    assert asked.artifact(digest_of(written_anew(answer.json()["manifests"]))) is not None


def test_a_head_by_tag_and_then_a_get_by_digest_sets_the_tag(asked, index):
    head = asked.ask("HEAD", "manifests/v1")
    assert head.headers["Docker-Content-Digest"] == head.headers["Etag"] == index
    asked.index(index)
    asked.wait()
    assert len(asked.artifact("v1")["references"]) == 2


def test_an_index_that_is_remembered_never_gets_its_tag(asked, index):
    asked.index("v1")
    asked.wait()
    assert asked.ask("HEAD", "manifests/v1").headers["Docker-Content-Digest"] == index
    assert asked.index(index) == asked.index("v1")
    asked.wait()
    assert asked.artifact("v1") is None
    asked.known.store.forget(f"cache:manifestlist:{PROJECT}/{APP}:{index}")
    asked.tagged("v1")
    asked.wait()
    assert asked.artifact("v1") is not None


def test_nor_in_a_project_of_the_same_name_that_is_made_anew(asked, index, run, plan):
    asked.index("v1")
    asked.wait()
    assert run("delete", plan).returncode == run("create", plan).returncode == 0
    asked.tagged("v1")
    asked.wait()
    assert asked.artifact("v1") is None


def test_an_index_waits_for_its_platforms_but_not_for_ever(asked):
    asked.one_platform("v1")
    assert len(asked.artifact("v1")["references"]) == 1


def test_one_of_which_no_platform_comes_is_not_stored_but_remembered(asked, index):
    asked.known.background.pace = 0.001
    started = time.monotonic()
    asked.tagged("v1", 0)
    asked.wait()
    assert time.monotonic() - started >= 400 * 0.001
    assert asked.artifact("v1") is None
    assert (f"{PROJECT}/{APP}", index) in asked.known.store.remembered


def test_an_oci_index_is_written_anew(asked, index):
    content = asked.tagged("v1")
    asked.wait()
    digest = asked.artifact("v1")["digest"]
    assert digest == digest_of(written_anew(content["manifests"])) != index
    assert asked.artifact(index) is None
    assert b'\n   "schemaVersion": 2' in written_anew(content["manifests"])


def test_one_that_has_that_form_keeps_its_digest(asked, registry):
    config = registry.blob("team/docker", b"{}")
    image = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPES[1],
        "config": {"mediaType": "application/vnd.docker.container.image.v1+json", **config},
        "layers": [],
    }
    entry = {
        "mediaType": MANIFEST_TYPES[1],
        **registry.manifest("team/docker", image),
        "platform": {"architecture": "amd64", "os": "linux"},
    }
    content = written_anew([entry])
    url = f"{registry.url}/v2/team/docker/manifests/v1"
    httpx.put(url, content=content, headers={"Content-Type": INDEX_TYPES[1]}).raise_for_status()
    asked.ask("HEAD", "manifests/v1", "team/docker")
    asked.index(digest_of(content), 1, "team/docker")
    asked.wait()
    assert asked.artifact("v1", "team/docker")["digest"] == digest_of(content)


def test_an_image_of_one_platform_gets_its_tag_in_any_order(asked, registry):
    for repository in ("team/first", "team/second"):
        image = registry.single(repository, SHARED)
        registry.manifest(repository, image, "v1")
    asked.image("v1", "team/first")
    digest = asked.ask("HEAD", "manifests/v1", "team/second").headers["Docker-Content-Digest"]
    asked.image(digest, "team/second")
    asked.wait()
    for repository in ("team/first", "team/second"):
        assert asked.artifact("v1", repository)["digest"] == digest


def test_blobs_that_nobody_asks_for_are_fetched_in_the_end(asked, registry):
    asked.known.background.pace = 0.001
    registry.manifest("team/lazy", registry.single("team/lazy", SHARED), "v1")
    started = time.monotonic()
    asked.ask("GET", "manifests/v1", "team/lazy")
    asked.wait()
    assert time.monotonic() - started >= 200 * 0.001
    assert asked.artifact("v1", "team/lazy") is not None


def test_a_blob(asked):
    digest = digest_of(SHARED)
    assert asked.ask("HEAD", f"blobs/{digest}").status_code == 404
    cold = asked.ask("GET", f"blobs/{digest}", Range="bytes=2-5")
    assert (cold.status_code, cold.content) == (200, SHARED)
    assert cold.headers["Content-Type"] == "application/octet-stream"
    asked.wait()
    assert asked.ask("HEAD", f"blobs/{digest}").status_code == 200
    part = asked.ask("GET", f"blobs/{digest}", Range="bytes=2-5")
    assert (part.status_code, part.content) == (206, SHARED[2:6])
    assert part.headers["Content-Range"] == f"bytes 2-5/{len(SHARED)}"
    assert asked.double.upstream_bytes == 2 * len(SHARED), "once for the client, once for itself"


def test_what_is_over_the_quota_is_delivered_and_not_stored(asked, index):
    for quota in asked.known.quotas.values():
        quota["storage"] = len(SHARED) + len(LARGE) // 2
    asked.ask("HEAD", "manifests/v1")
    asked.known.background.pace = 0.001
    asked.index(index)
    asked.wait()
    assert asked.artifact("v1") is None


def test_with_the_upstream_away_what_is_held_is_served(asked, index):
    asked.tagged("v1")
    asked.wait()
    asked.known.upstreams.clear()
    held = asked.artifact("v1")["digest"]
    for method in ("HEAD", "GET"):
        answer = asked.ask(method, "manifests/v1")
        assert (answer.status_code, answer.headers["Docker-Content-Digest"]) == (200, held)
    assert asked.ask("GET", f"manifests/{index}").status_code == 404, "it has another digest"
    assert asked.ask("GET", "manifests/v2").status_code == 404
    assert asked.ask("GET", "tags/list").json()["tags"] == ["v1"]


def test_the_tags_are_its_own_and_the_upstreams(asked):
    assert asked.ask("GET", "tags/list").json() == {
        "name": f"{PROJECT}/{APP}",
        "tags": ["v1", "v2"],
    }
