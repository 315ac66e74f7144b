"""Images behind the double: what `verify` and `warm` say of what its API lists."""

import re
from dataclasses import replace

import pytest

from ops import priming
from ops.harbor import command, images, pull, stored_images
from ops.harbor.client import Client, HarborError
from ops.harbor.pull import source
from plan.harbor.reconcile import Step
from tests.fakes.harbor import api, tls
from tests.fakes.harbor.api import Harbor
from tests.fakes.harbor.server import Server
from tests.fakes.harbor.store import digest_of
from tests.real.private.harbor.conftest import (
    LARGE,
    PACE,
    PROJECT,
    QUAY,
    ROBOT_SECRET,
    SHARED,
    access_of,
)
from tests.real.private.harbor.failures import internal, not_found
from tests.real.private.harbor.pulls import (
    AMD64,
    ARM64,
    BUSYBOX,
    OTHER,
    SINGLE,
    V1,
    V2,
    image,
    index_of,
    nested,
    pulled,
    why_not,
)


def of(client, *wanted, platform=AMD64):
    lists = stored_images.StoredImages(client, lambda host: f"proxy-{host}", platform)
    return tuple(lists.of(one) for one in wanted)


@pytest.fixture
def impatient(access, monkeypatch):
    """The same, where nothing comes in the end."""
    monkeypatch.setattr(stored_images, "TAG_SECONDS", 120 * PACE)
    return access


def warm(access, *wanted, platform=AMD64):
    return images.HarborBackend(access).fill(wanted, platform, 4)


def why_not_warm(access, one=V1, platform=AMD64):
    """Why an image is not there in the end."""
    [(failed, (why,))] = warm(access, one, platform=platform).failures
    assert failed == one
    return why


def missing(access, *wanted):
    """Parts of each image that are missing."""
    results = images.HarborBackend(access).status(wanted, AMD64, deep=False).results
    return [[fault.part for fault in one.faults] for one in results]


class TestHeld:
    def test_of_a_list_each_in_its_place(self, asked, client):
        asked.tagged("v1")
        asked.wait()
        wanted = (V2, V1, OTHER)
        results = of(client, *wanted)
        assert tuple(one.image for one in results) == wanted
        assert [[fault.part for fault in one.faults] for one in results] == [["tag"], [], ["tag"]]
        assert [one.size for one in results if one.faults] == [0, 0]
        assert results[1].size > len(SHARED) + len(LARGE)

    def test_an_index_by_its_digest_is_not_held_even_when_all_of_it_is(self, asked, client, index):
        manifest = asked.tagged("v1")
        asked.wait()
        stored, child = asked.artifact("v1")["digest"], manifest["manifests"][0]["digest"]
        both, alone, again = of(
            client, image("v1", digest=index), image("", digest=index), image("", digest=stored)
        )
        for one in (both, alone):
            assert [(fault.part, fault.digest) for fault in one.faults] == [("manifest", index)]
        assert f"another digest: {stored}" in both.advice
        assert f"the digest of linux/amd64: {child}" in both.advice
        assert alone.advice.startswith("fetch it with warm")
        assert (again.faults, again.advice) == ((), "")
        assert of(client, image("", digest=child))[0].faults == ()

    def test_who_may_not_read_is_told(self, made, plan):
        with (
            Client(plan.url, plan.robot, ROBOT_SECRET) as robot,
            pytest.raises(HarborError, match=r"artifact:read .*repository:pull"),
        ):
            of(robot, V1)


class TestSettled:
    """Harbor's API fails now and then, also in the eight minutes that it is asked after a pull."""

    def settled(self, client, known, robot, monkeypatch, failures, seconds):
        monkeypatch.setattr(stored_images, "POLL_SECONDS", 0.05)
        done, _ = pulled(robot, SINGLE)

        def fails(method, path):
            if "/artifacts/" in path and failures:
                failures.pop()
                raise internal()

        known.meanwhile = fails
        lists = stored_images.StoredImages(client, lambda host: f"proxy-{host}", AMD64)
        [result] = lists.wait_until_stored(done.delivered, lambda _: None, seconds)
        return result

    def test_what_it_does_not_say_it_is_asked_again(self, client, known, robot, monkeypatch):
        failures = [True] * 7
        result = self.settled(client, known, robot, monkeypatch, failures, 5000 * PACE)
        assert (result.faults, result.advice, failures) == ((), "", [])

    def test_until_the_time_is_up(self, client, known, robot, monkeypatch):
        result = self.settled(client, known, robot, monkeypatch, [True] * 10**6, 0.5)
        assert result.faults
        assert result.advice.startswith("delivered, but it is unknown whether")
        assert "500 internal server error" in result.advice


class TestWarm:
    def test_all_of_it_is_served_with_the_upstream_away(self, access, asked, registry):
        registry.manifest("team/artifact", registry.single("team/artifact", b"a"), "v1")
        wanted = (V1, V2, SINGLE, image("v1", "team/artifact"), BUSYBOX)
        filled = warm(access, *wanted)
        assert (filled.failures, filled.complete_before) == ((), 0)
        assert missing(access, *wanted) == [[]] * 5
        asked.known.upstreams.clear()
        for one in wanted[:3]:
            asked.index("v1", repository=one.repository)
        asked.image("v1", "team/artifact")
        again = warm(access, *wanted)
        assert (again.complete_before, again.transferred) == (5, 0)

    def test_nothing_stays_open(self, access, monkeypatch):
        opened = []

        def source(*arguments):
            opened.append(pull_source(*arguments))
            return opened[-1]

        pull_source = pull.source
        monkeypatch.setattr(pull, "source", source)
        assert warm(access, SINGLE).failures == ()
        assert [one.client.is_closed for one in opened] == [True]

    def test_what_another_tool_asked_for_by_tag_is_told_with_what_helps(
        self, impatient, access, asked, made, index
    ):
        asked.index("v1")  # as skopeo does
        asked.wait()
        made.sent_bytes = 0
        why = why_not_warm(impatient)
        assert "doesn't set the tag" in why
        assert made.sent_bytes < len(SHARED), "nothing of it is fetched again"
        forget(asked.known, why)
        assert warm(access, V1).failures == ()

    def test_several_tags_of_one_index_come_together(self, impatient, registry):
        for tag in ("v1", "v1.0", "latest"):
            digest = registry.image("team/tags", tag, b"tags")
        wanted = [image(tag, "team/tags") for tag in ("v1", "v1.0")]
        by_digest = image("v1", "team/tags", digest)
        filled = warm(impatient, by_digest, *wanted)
        assert [one for one, _ in filled.failures] == [by_digest]
        why = why_not_warm(impatient, image("latest", "team/tags"))
        assert "doesn't set the tag: for 7 days" in why
        assert "by another tag or by digest" in why

    def test_so_is_an_index_that_came_without_the_platform(self, impatient, access, asked, index):
        asked.one_platform("v1")
        assert warm(impatient, V1).complete_before == 1
        why = why_not_warm(impatient, platform=ARM64)
        assert "index has no linux/arm64" in why
        forget(asked.known, why)
        assert warm(access, V1, platform=ARM64).failures == ()

    def test_an_index_by_its_digest_never_comes(self, impatient, asked, index):
        why = why_not_warm(impatient, image("", digest=index))
        chosen = re.search(r"the digest of linux/amd64: (sha256:\w+)$", why)[1]
        assert why.startswith("Harbor has rewritten this index")
        assert warm(impatient, image("", digest=chosen)).complete_before == 1

    def test_what_goes_over_the_quota_is_told_once_the_time_is_up(self, access, made, monkeypatch):
        monkeypatch.setattr(priming, "LEAST_SECONDS", 1)
        made.harbor.background.pace = 0.001
        for quota in made.harbor.quotas.values():
            quota["storage"] = 1
        failures = warm(access, SINGLE, BUSYBOX).failures
        assert [one for one, _ in failures] == [SINGLE, BUSYBOX]
        for _, (why,) in failures:
            assert "not stored after 1 s: check the project's quota" in why

    def test_who_wants_a_platform_that_there_is_not_spoils_no_index(self, access, asked, registry):
        one = image("v1", "team/arm")
        index_of(registry, one.repository, arm64=b"arm only")
        assert "there is none for linux/amd64" in why_not_warm(access, one)
        asked.wait()
        assert warm(access, one, platform=ARM64).complete_before == 1

    @pytest.mark.parametrize("lacks", ["blob", "api"])
    def test_nor_does_who_wants_one_that_does_not_come(self, access, asked, known, registry, lacks):
        known.background.pace = 0.02
        one = image("v1", f"team/lacks-{lacks}")
        children = index_of(registry, one.repository, amd64=b"lost", arm64=b"there")
        if lacks == "blob":
            registry.file_of(digest_of(b"lost")).unlink()
        else:
            known.meanwhile = lambda _, path: fail_for(path, children[0])
        assert why_not_warm(access, one)
        asked.wait()
        known.meanwhile = None
        assert warm(access, one, platform=ARM64).complete_before == 1

    def test_an_entry_without_a_platform_comes_and_harbor_gives_it_one_that_no_node_takes(
        self, access, asked, registry
    ):
        entry = registry.entry("team/bare", registry.single("team/bare", b"bare"))
        registry.index("team/bare", "v1", entry)
        one = image("v1", "team/bare")
        assert "index has no linux/amd64" in why_not_warm(access, one)
        stored = asked.artifact("v1", "team/bare")["references"]
        assert stored[0]["child_digest"] == entry["digest"]
        assert missing(access, one) == [["platform"]]

    def test_so_does_an_index_in_an_index(self, access, registry):
        nested(registry, "team/nested")
        one = image("v1", "team/nested")
        assert "index has no linux/amd64" in why_not_warm(access, one)
        assert missing(access, one) == [["platform"]]

    def test_another_platform_that_does_not_come_is_no_failure(self, access, made, registry):
        made.harbor.background.pace = 0.02
        one = image("v1", "team/partly")
        index_of(registry, one.repository, amd64=b"whole", arm64=b"gone")
        gone = digest_of(b"gone")
        registry.file_of(gone).unlink()
        assert warm(access, one).failures == ()
        why = why_not_warm(access, one, platform=ARM64)
        assert f"/team/partly/blobs/{gone}: 404 blob {gone} not found" in why

    def test_what_is_awaited_of_all_upstreams_is_told_at_once(self, access, known, monkeypatch):
        told = []

        def not_yet(method, path):
            if path.endswith("/artifacts/v1") and not told:
                raise not_found("the artifact")

        known.meanwhile = not_yet
        monkeypatch.setattr(images.progress_bar, "tell", told.append)
        assert warm(access, SINGLE, BUSYBOX).failures == ()
        assert "250 s" in told[0]
        assert told[0].endswith(": 1 of quay.io, 1 of docker.io")

    def test_a_robot_that_may_read_does_it_as_well(self, access, plan, client, made):
        made.harbor.robots.clear()
        namespace = {"kind": "project", "namespace": PROJECT, "access": [api.PULL, api.READ]}
        body = {"name": "reader", "level": "system", "duration": -1, "permissions": [namespace]}
        number = client.do(Step(does="create", what="", method="POST", path="/robots", body=body))
        password = made.harbor.robots[number]["secret"]
        reader = access_of(plan, "robot$reader", password)
        assert warm(reader, SINGLE).failures == ()


def fail_for(path, digest):
    if digest in path.replace("%3A", ":"):
        raise internal()


def forget(known, why):
    """Do on the double what the line says."""
    (keys,) = re.findall(r"redis-cli del (\S+ \S+) on Harbor's Redis", why)
    for key in keys.split():
        known.store.forget(key)


def test_through_tls_of_a_private_ca(plan, index, registry, tmp_path, monkeypatch):
    ca, certificate, key = tls.certificates(tmp_path / "tls")
    blobs = tmp_path / "blobs-of-it"
    blobs.mkdir()
    server = Server(Harbor(blobs, {QUAY: registry.url}, pace=PACE), tls=(certificate, key)).start()
    monkeypatch.setattr(stored_images, "POLL_SECONDS", 0.05)
    secure = replace(plan, url=server.url, ca_pem=ca.read_text(), projects=plan.projects[1:])
    with Client(secure.url, secure.username, secure.password, secure.ca_pem) as harbor:
        command.bring_about(harbor, secure, {})
    assert warm(access_of(secure), V1).failures == ()
    untrusting = source(secure.url, PROJECT, plan.robot, ROBOT_SECRET)
    assert "certificate verify failed" in why_not(untrusting)
    server.stop()
