"""Images through the double's proxy caches: pulled with tokens, and verified by what is listed."""

import hashlib
from dataclasses import replace

import httpx
import pytest

from ops import fetching
from ops.harbor import held, work
from ops.harbor.client import Client, HarborError
from ops.harbor.pull import pull, source
from plan.images import ImageReference, Platform
from plan.store import MISSING
from tests.harbor import tls
from tests.harbor.api import Harbor
from tests.harbor.conftest import LARGE, QUAY, ROBOT_SECRET, SHARED
from tests.harbor.server import Handler, Server

AMD64 = Platform(os="linux", architecture="amd64")
ARM64 = Platform(os="linux", architecture="arm64")
S390X = Platform(os="linux", architecture="s390x")


def image(tag, repository="team/app", digest=""):
    return ImageReference(host="quay.io", repository=repository, tag=tag, digest=digest)


@pytest.fixture
def robot(made, plan):
    return source(plan.url, "proxy-quay.io", plan.robot, ROBOT_SECRET)


def pulled(registry, *images, platform=AMD64):
    came = []
    done = pull(registry, images, platform, 4, came.append)
    return done, sum(came)


def of(client, *images, platform=AMD64):
    return held.held(client, "proxy-quay.io", images, platform)


class TestPull:
    def test_what_was_pulled_is_held(self, robot, client, plan):
        (before,) = of(client, image("v1"))
        done, _ = pulled(robot, image("v1"))
        (after,) = of(client, image("v1"))
        assert done.said == {}
        assert [fault.part for fault in before.faults] == ["tag"]
        assert after.faults == ()
        assert after.size > len(SHARED) + len(LARGE)

    def test_every_byte_is_counted_once(self, robot, made):
        done, blobs = pulled(robot, image("v1"), image("v2"), image("v1"))
        assert done.transferred == made.upstream_bytes
        assert len(SHARED) + len(LARGE) < blobs < len(SHARED) + len(LARGE) + 1000

    def test_a_second_pull_asks_the_upstream_for_no_blob_again(self, robot, made):
        pulled(robot, image("v1"))
        first = made.upstream_bytes
        pulled(robot, image("v1"))
        assert made.upstream_bytes - first < len(SHARED), "manifests of tags only"

    def test_each_repository_has_its_own(self, robot, client):
        pulled(robot, image("v1"), image("v1", "team/other"))
        assert not any(one.faults for one in of(client, image("v1"), image("v1", "team/other")))

    def test_the_one_platform_is_fetched(self, robot, client):
        pulled(robot, image("v1"), platform=ARM64)
        assert of(client, image("v1"), platform=ARM64)[0].faults == ()
        (fault,) = of(client, image("v1"))[0].faults
        assert (fault.part, fault.problem) == ("platform", MISSING)

    def test_what_is_not_there_is_said_and_the_rest_comes(self, robot, client):
        gone, odd = image("v9"), image("v1", "team/single")
        done, _ = pulled(robot, gone, odd, image("v1"))
        assert "404 repo team/app, tag v9 not found" in done.said[gone]
        assert set(done.said) == {gone}
        assert of(client, odd, image("v1"))[1].faults == ()

    def test_a_platform_that_there_is_not(self, robot):
        done, _ = pulled(robot, image("v1"), platform=S390X)
        assert "there is none for linux/s390x" in done.said[image("v1")]

    def test_a_blob_that_does_not_come_fails_its_images(self, robot, made):
        digest = f"sha256:{hashlib.sha256(LARGE).hexdigest()}"
        file = made.harbor.store.blob(digest)
        file.write_bytes(b"damaged")
        number = made.harbor.project("proxy-quay.io")["project_id"]
        made.harbor.store.repository(number, "team/app").blobs.add(digest)
        done, _ = pulled(robot, image("v1"), image("v2"))
        assert set(done.said) == {image("v1")}
        assert "what came has another digest" in done.said[image("v1")]

    def test_an_upstream_that_breaks_off_is_no_success(self, robot, made, monkeypatch):
        def broken(handler, answer, there, digest):
            yield b"the start"
            raise httpx.ReadError("broken off")

        monkeypatch.setattr(Handler, "_stored", broken)
        done, _ = pulled(robot, image("v1"))
        assert set(done.said) == {image("v1")}


class TestTokens:
    def test_one_token_for_a_repository(self, robot, made):
        pulled(robot, image("v1"))
        assert len(made.tokens) == 1

    def test_a_token_that_has_run_out_is_replaced(self, robot, made):
        pulled(robot, image("v1"))
        for token in made.tokens.values():
            token.ends = 0
        done, _ = pulled(robot, image("v2"))
        assert done.said == {}
        assert len(made.tokens) >= 2

    @pytest.mark.parametrize(
        ("username", "password"), [("robot$talos-mine", "Wrong-pass-1"), ("", "")]
    )
    def test_who_may_not_pull_is_told(self, made, plan, username, password):
        registry = source(plan.url, "proxy-quay.io", username, password)
        done, _ = pulled(registry, image("v1"))
        why = done.said[image("v1")]
        assert "401 unauthorized to access repository: proxy-quay.io/team/app, action: pull" in why
        assert "Wrong-pass-1" not in why

    def test_the_robot_opens_its_projects_only(self, made, plan, client, known):
        other = replace(plan, owner="ba9876543210", robot="robot$other")
        mine = (replace(plan.projects[1], name="private", registry_name="private"),)
        work.bring_about(client, replace(other, projects=mine), {})
        registry = source(plan.url, "private", plan.robot, ROBOT_SECRET)
        assert "401" in pulled(registry, image("v1"))[0].said[image("v1")]

    def test_everybody_pulls_what_is_public(self, plan, client, index):
        work.bring_about(client, replace(plan, public=True, robot=""), {})
        registry = source(plan.url, "proxy-quay.io", "", "")
        assert pulled(registry, image("v1"))[0].said == {}

    def test_a_password_goes_to_no_other_server(self, robot, made):
        made.realm = "http://127.0.0.2:1/service/token"
        why = pulled(robot, image("v1"))[0].said[image("v1")]
        assert "it sends for a token to http://127.0.0.2:1" in why
        assert made.tokens == {}

    def test_a_project_that_there_is_not(self, made, plan):
        registry = source(plan.url, "nothing", plan.robot, ROBOT_SECRET)
        assert "project nothing not found" in pulled(registry, image("v1"))[0].said[image("v1")]


class TestHeld:
    def test_of_a_list_each_in_its_place(self, robot, client):
        pulled(robot, image("v2"))
        wanted = (image("v1"), image("v2"), image("v1", "team/other"))
        results = of(client, *wanted)
        assert tuple(one.image for one in results) == wanted
        assert [bool(one.faults) for one in results] == [True, False, True]

    def test_what_is_not_held_has_no_size(self, made, client):
        assert of(client, image("v1"))[0].size == 0

    def test_an_index_of_which_platforms_are_missing_has_another_digest(self, robot, client, index):
        by_digest = image("", digest=index)
        pulled(robot, image("v1"))
        (fault,) = of(client, by_digest)[0].faults
        assert (fault.part, fault.digest) == ("manifest", index)
        pulled(robot, image("v1"), platform=ARM64)
        assert of(client, by_digest)[0].faults == ()

    def test_one_platform_by_its_digest(self, robot, client, registry):
        pulled(robot, image("v1", "team/single"))
        (result,) = of(client, image("v1", "team/single"))
        assert result.faults == ()
        artifact = client.get(
            f"{work.repository_path('proxy-quay.io', 'team/single')}/artifacts/v1"
        )
        (child,) = artifact["references"]
        one = image("", "team/single", child["child_digest"])
        (result,) = of(client, one)
        assert (result.faults, result.size > 3) == ((), True)

    def test_what_is_held_is_served_without_the_upstream(self, robot, client, known):
        pulled(robot, image("v1"))
        known.upstreams[QUAY] = "http://127.0.0.1:1"
        assert of(client, image("v1"))[0].faults == ()
        assert pulled(robot, image("v1"))[0].said == {}
        assert "404" in pulled(robot, image("v2"))[0].said[image("v2")]

    def test_after_a_pull_it_waits_for_what_is_stored_later(self, robot, client, monkeypatch):
        looks = []

        def later(*arguments):
            looks.append(arguments)
            if len(looks) == 3:
                pulled(robot, image("v1"))
            return real(*arguments)

        real = held.held
        monkeypatch.setattr(held, "held", later)
        monkeypatch.setattr(held, "POLL_SECONDS", 0.01)
        (result,) = held.settled(client, "proxy-quay.io", [image("v1")], AMD64, 30)
        assert (result.faults, len(looks)) == ((), 3)

    def test_but_not_for_ever(self, made, client):
        (result,) = held.settled(client, "proxy-quay.io", [image("v1")], AMD64, 0.05)
        assert result.faults

    def test_who_may_not_read_is_told(self, made, plan):
        with (
            Client(plan.url, plan.robot, ROBOT_SECRET) as robot,
            pytest.raises(HarborError, match="403"),
        ):
            of(robot, image("v1"))


def test_through_tls_of_a_private_ca(plan, index, registry, tmp_path):
    ca, certificate, key = tls.certificates(tmp_path / "tls")
    blobs = tmp_path / "blobs-of-it"
    blobs.mkdir()
    server = Server(Harbor(blobs, {QUAY: registry.url}), tls=(certificate, key)).start()
    secure = replace(plan, url=server.url, ca_pem=ca.read_text(), projects=plan.projects[1:])
    with Client(secure.url, secure.username, secure.password, secure.ca_pem) as harbor:
        work.bring_about(harbor, secure, {})
        trusted = source(secure.url, "proxy-quay.io", plan.robot, ROBOT_SECRET, secure.ca_pem)
        assert pulled(trusted, image("v1"))[0].said == {}
        assert of(harbor, image("v1"))[0].faults == ()
    untrusting = source(secure.url, "proxy-quay.io", plan.robot, ROBOT_SECRET)
    assert "certificate verify failed" in pulled(untrusting, image("v1"))[0].said[image("v1")]
    server.stop()


def test_images_of_one_word_are_found_in_library(robot, made, plan, client, registry):
    registry.image("library/busybox", "v1", b"busybox", platforms=("amd64",))
    hub = source(plan.url, "proxy-docker.io", "admin", plan.password)
    content = fetching.manifest(hub, "library/busybox", "v1")
    assert fetching.manifest(
        hub, "library/busybox", f"sha256:{hashlib.sha256(content).hexdigest()}"
    )
    # Only an administrator's token opens both names.
    assert fetching.manifest(hub, "busybox", "v1") == content
