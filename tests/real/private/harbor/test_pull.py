"""Pulls through the double's proxy caches: what is asked for, with which tokens, and how often."""

import re
from dataclasses import replace

import httpx
import pytest

from ops import priming
from ops.halt import Halt
from ops.harbor import busy, command, images, pull
from ops.harbor.client import HarborError
from ops.harbor.pull import source
from ops.registry import fetch
from ops.registry.tokens import TokenAuth
from tests import ctrl_c
from tests.fakes.harbor.proxy import TOO_MANY, Proxy, UpstreamError
from tests.fakes.harbor.server import Handler
from tests.fakes.harbor.store import digest_of
from tests.real.private.harbor.conftest import LARGE, PROJECT, ROBOT_SECRET, SHARED
from tests.real.private.harbor.failures import FailedError
from tests.real.private.harbor.pulls import (
    AMD64,
    OTHER,
    S390X,
    SINGLE,
    V1,
    V2,
    comes,
    image,
    index_of,
    nested,
    pulled,
    why_not,
)


class TestPull:
    def test_every_byte_is_counted_once_and_no_layer_is_sent_here(self, robot):
        answers = []
        robot.client.event_hooks["response"].append(answers.append)
        done, blobs = pulled(robot, V1, V2, V1)
        assert blobs < done.transferred < blobs + 10_000, "manifests come on top"
        of_blobs = [one for one in answers if "/blobs/" in one.url.path and one.is_success]
        assert {one.request.method for one in of_blobs} == {"GET", "HEAD"}
        assert sum(one.num_bytes_downloaded for one in of_blobs) == 0
        assert len(SHARED) + len(LARGE) < blobs < len(SHARED) + len(LARGE) + 1000

    def test_no_tag_is_asked_for_but_by_head_and_that_comes_first(self, robot, made, index):
        pulled(robot, image("", digest=index), image("", "team/other", index), V1)
        asked = [f"{method} {path.rpartition('/')[2]}" for method, path in made.pulls]
        assert "GET v1" not in asked
        assert asked.index("HEAD v1") < asked.index(f"GET {index}")

    def test_what_has_both_is_fetched_by_digest_and_gets_its_tag(self, robot, asked, index):
        comes(robot, image("v1", digest=index))
        asked.wait()
        assert asked.artifact("v1") is not None
        comes(robot, image("gone", digest=index))  # the tag is only a name

    def test_all_platforms_come(self, robot, asked):
        (delivered,) = pulled(robot, V1)[0].delivered.values()
        asked.wait()
        assert len(asked.artifact("v1")["references"]) == 2
        assert delivered.chosen in delivered.platforms
        assert all(asked.artifact(digest) for digest in delivered.platforms)

    @pytest.mark.parametrize("repository", ["team/app", "team/flat"], ids=["index", "manifest"])
    def test_what_is_stored_is_not_fetched_again(self, robot, registry, repository):
        registry.manifest("team/flat", registry.single("team/flat", b"flat"), "v1")
        done, blobs = pulled(robot, image("v1", repository), has=lambda *_: True)
        assert (done.said, blobs) == ({}, 0)

    def test_a_blob_that_is_there_already_is_not_counted(self, robot):
        pulled(robot, V1)
        done, blobs = pulled(robot, V1)
        assert blobs == 0
        assert done.transferred < len(SHARED), "of manifests only"

    def test_what_took_longer_than_harbor_waits_is_asked_for_again(self, robot, made, monkeypatch):
        monkeypatch.setattr(pull, "PATIENCE_SECONDS", -1)
        pulled(robot, V1)
        asked = [method for method, path in made.pulls if path.endswith("/v1")]
        assert asked == ["HEAD", "HEAD", "HEAD"], "also for those that had to wait"
        blobs = [path for method, path in made.pulls if "/blobs/" in path and method == "GET"]
        assert sorted(blobs) == sorted(set(blobs))

    def test_what_is_not_there_is_said_and_the_rest_comes(self, robot):
        gone = image("v9")
        done, _ = pulled(robot, gone, V1)
        assert "team/app/manifests/v9: 404 Not Found" in done.said[gone]
        assert (set(done.said), set(done.delivered)) == ({gone}, {V1})

    @pytest.mark.parametrize("repository", ["team/app", "team/nested"])
    def test_a_platform_that_there_is_not(self, robot, registry, repository):
        """Nor in an index below the index."""
        nested(registry, "team/nested")
        why = why_not(robot, image("v1", repository), platform=S390X)
        assert "there is none for linux/s390x" in why

    def test_what_fails_below_an_index_that_is_not_wanted_is_left_out(self, robot, registry):
        children = nested(registry, "team/beside", beside=b"own")
        one = image("v1", "team/beside")

        def has(_, digest):
            if digest == children[1]:
                raise HarborError("Harbor does not answer")
            return False

        (delivered,) = pulled(robot, one, has=has)[0].delivered.values()
        assert delivered.left_out == "Harbor does not answer"

    def test_a_blob_that_is_not_stored_fails_its_images(self, robot, monkeypatch):
        monkeypatch.setattr(priming, "LEAST_SECONDS", 1)
        digest = digest_of(LARGE)
        stored = Proxy._take_blob

        def refused(proxy, found, content):
            if found != digest:
                stored(proxy, found, content)

        monkeypatch.setattr(Proxy, "_take_blob", refused)
        done, _ = pulled(robot, V1, V2)
        assert set(done.said) == {V1}
        assert "not stored after" in done.said[V1]

    def test_an_upstream_without_a_blob_is_told_at_once(self, robot, monkeypatch):
        def gone(proxy, digest):
            raise UpstreamError("gone")

        monkeypatch.setattr(Proxy, "_passed_on", gone)
        assert "500 internal server error" in why_not(robot)

    def test_a_blob_that_harbor_fails_to_fetch_is_asked_for_again(self, robot, monkeypatch, capsys):
        """It has answered by then, so that nobody is told."""
        monkeypatch.setattr(priming, "AGAIN_SECONDS", 0.2)
        stored, failed = Proxy._put_blob, []

        def fails_once(proxy, digest):
            if digest not in failed:
                failed.append(digest)
                raise UpstreamError("broken off")
            stored(proxy, digest)

        monkeypatch.setattr(Proxy, "_put_blob", fails_once)
        comes(robot, SINGLE)
        told = capsys.readouterr().err
        for digest in failed:
            assert f"/team/single/blobs/{digest}: waiting until Harbor has stored it" in told

    def test_what_it_says_to_that_is_why_it_does_not_come(self, robot, monkeypatch):
        monkeypatch.setattr(priming, "AGAIN_SECONDS", 0.2)
        monkeypatch.setattr(priming, "LEAST_SECONDS", 1)
        answered, asked = Proxy._cold_blob, []

        def once(proxy, digest):
            asked.append(digest)
            if asked.count(digest) > 1:
                raise FailedError(403, "DENIED", "not any more")
            return answered(proxy, digest)

        monkeypatch.setattr(Proxy, "_cold_blob", once)
        monkeypatch.setattr(Proxy, "_put_blob", lambda *_: None)
        why = why_not(robot, SINGLE)
        assert re.search("not stored after 1 s: requested again, .*: 403 not any more", why)
        assert "quota" not in why

    def test_harbor_says_no_more_of_what_it_has_stored_for_one_image(self, robot):
        def has(one, digest):
            if one.tag == "v1":
                raise HarborError("Harbor does not answer")
            return False

        done, _ = pulled(robot, V1, V2, has=has)
        assert done.said == {V1: "Harbor does not answer"}
        assert set(done.delivered) == {V2}

    def test_once_one_has_failed_the_others_are_waited_for_no_longer_than_harbor_does(
        self, robot, made, monkeypatch
    ):
        monkeypatch.setattr(pull, "INDEX_SECONDS", -1)
        asked = []

        def has(_, digest):
            asked.append(digest)
            raise HarborError("Harbor does not answer")

        assert why_not(robot, has=has) == "Harbor does not answer"
        assert len(asked) == 1

    def test_a_platform_that_does_not_come_stops_no_other(self, robot, registry, made, asked):
        children = index_of(registry, "team/three", amd64=b"a3", arm64=b"b3", s390x=b"c3")
        registry.file_of(digest_of(b"b3")).unlink()
        one = image("v1", "team/three")
        (delivered,) = pulled(robot, one)[0].delivered.values()
        asked.until_listed(children[0], "team/three")
        asked.until_listed(children[2], "team/three")
        gone = digest_of(b"b3")
        assert f"/team/three/blobs/{gone}: 404 blob {gone} not found" in delivered.left_out


@pytest.fixture
def refuse(monkeypatch):
    """Have Harbor refuse so many of the requests with this method and this in their path."""
    answered = Handler._pull

    def refuse(method, part, status=429, times=1, **headers):
        left = [status] * times

        def instead(handler, *found):
            if left and handler.command == method and part in handler.path:
                error = FailedError(left.pop(), "TOOMANYREQUESTS", str(TOO_MANY))
                error.headers = headers
                raise error
            answered(handler, *found)

        monkeypatch.setattr(Handler, "_pull", instead)

    return refuse


@pytest.fixture
def waits(monkeypatch):
    """Seconds that were waited for; nobody really waits."""
    seen = []
    monkeypatch.setattr(busy, "_sleep", lambda _, seconds: seen.append(seconds))
    return seen


class TestBusy:
    """A refusal that passes must end no image: Harbor remembers an index for seven days."""

    @pytest.mark.parametrize(
        ("method", "part", "status"),
        [
            ("HEAD", "/manifests/v1", 429),
            ("GET", "/manifests/sha256:", 502),
            ("HEAD", "/blobs/", 503),
            ("GET", "/blobs/", 429),
        ],
    )
    def test_it_is_asked_again(self, robot, asked, refuse, waits, capsys, method, part, status):
        refuse(method, part, status)
        comes(robot)
        assert waits == [2]
        told = capsys.readouterr().err
        assert re.search(rf"quay.io is busy \(.*{part}.*: {status} .*\): trying again in 2 s", told)
        asked.wait()
        assert len(asked.artifact("v1")["references"]) == 2

    def test_so_is_its_token_service(self, robot, monkeypatch, waits):
        answered, left = Handler._token, [True]

        def busy_once(handler, query):
            if left:
                left.pop()
                raise FailedError(503, "UNAVAILABLE", "starting")
            answered(handler, query)

        monkeypatch.setattr(Handler, "_token", busy_once)
        comes(robot, SINGLE)
        assert waits == [2]

    def test_for_as_long_as_it_wants(self, robot, refuse, waits):
        refuse("GET", "/blobs/", **{"Retry-After": "70"})
        comes(robot)
        assert waits == [70]

    def test_one_that_wants_too_much_is_given_up(self, robot, refuse, waits, capsys):
        refuse("HEAD", "/manifests/v1", **{"Retry-After": "3600"})
        assert "/manifests/v1: 429 Too Many Requests" in why_not(robot)
        assert waits == []
        assert "quay.io is busy and asks to wait 3600 s: no more" in capsys.readouterr().err

    def test_an_answer_that_breaks_off_is_asked_for_again(self, robot, monkeypatch, waits):
        broken, answered = [], Handler._pull

        def breaks_off(handler, *found):
            if handler.command == "GET" and "/manifests/" in handler.path and len(broken) < 3:
                broken.append(handler.path)
                handler.close_connection = True
            else:
                answered(handler, *found)

        monkeypatch.setattr(Handler, "_pull", breaks_off)
        assert why_not(robot)
        comes(robot)
        assert waits == [2, 4]

    def test_one_that_stays_busy_is_given_up_before_an_index_is_spoilt(
        self, access, made, refuse, waits, capsys, monkeypatch
    ):
        refuse("GET", "/blobs/", times=10**6)
        monkeypatch.setattr(images, "SETTLE_SECONDS", 0)
        filled = images.HarborBackend(access).fill([V1, V2, OTHER], AMD64, 1)
        assert sum(waits) == busy.TOTAL_SECONDS < 400 / 2
        first, *rest = [why for _, (why,) in filled.failures]
        assert "429 too many requests to upstream registry" in first
        assert all(why.startswith("not requested, because of ") for why in rest)
        assert [path for method, path in made.pulls if "other/manifests/sha256" in path] == []
        assert capsys.readouterr().err.count("no more requests to it in this run") == 1


class TestInterrupted:
    @pytest.fixture
    def by_then(self, monkeypatch, made):
        """Press Ctrl-C at the first wait; what Harbor had been asked for by then."""
        asked, waited = [], Halt.wait

        def wait(halt, seconds):
            if seconds and not asked:
                asked.extend(made.pulls)
                ctrl_c.press()
            waited(halt, 60 if seconds else 0)

        monkeypatch.setattr(Halt, "wait", wait)
        with ctrl_c.raising():
            yield asked

    @pytest.mark.parametrize("wait", ["for a busy upstream", "for a blob"])
    def test_nothing_more_is_asked_for(self, robot, made, refuse, monkeypatch, by_then, wait):
        if wait == "for a blob":
            monkeypatch.setattr(Proxy, "_put_blob", lambda *_: None)
        else:
            refuse("GET", "/blobs/", times=10**6)
        with pytest.raises(KeyboardInterrupt):
            pull.pull({"quay.io": robot}, [V1, V2, OTHER], AMD64, 1, lambda *_: False, len)
        assert by_then
        assert made.pulls == by_then


class TestTokens:
    def test_one_token_for_a_repository(self, robot, made):
        pulled(robot, SINGLE)
        assert len(made.tokens) == 1

    def test_a_token_that_has_run_out_is_replaced(self, robot, made):
        pulled(robot, V1)
        for token in made.tokens.values():
            token.ends = 0
        comes(robot, V2)
        assert len(made.tokens) >= 2

    def test_who_may_not_pull_is_told_by_harbor(self, made, plan):
        why = why_not(source(plan.url, PROJECT, "robot$talos-mine", "Wrong-pass-1"))
        said = "the user robot$talos-mine may not pull from the project"
        assert why.startswith(f"Harbor at {plan.url}: {said} {PROJECT}")
        assert "correct harborLogin" in why
        assert "Wrong-pass-1" not in why

    def test_so_is_nobody(self, made, plan):
        why = why_not(source(plan.url, PROJECT, "", ""))
        assert why.startswith(f"{plan.url}: no one may pull from {PROJECT} without a login")
        assert "set harborLogin" in why

    def test_a_name_that_may_be_a_secret_is_not_told(self, made, plan):
        keys = 'credentials["quay.io"]'
        auth = TokenAuth("robot$talos-mine", "Wrong-pass-1", keys)
        why = why_not(fetch.source(f"{plan.url}/v2/{PROJECT}", auth=auth))
        assert f"the user of {keys} may not pull from the project {PROJECT}" in why
        assert "robot$talos-mine" not in why

    def test_the_robot_opens_its_projects_only(self, made, plan, client, known):
        other = replace(plan, owner="ba9876543210", robot="robot$other")
        mine = (replace(plan.projects[1], name="private", registry_name="private"),)
        command.bring_about(client, replace(other, projects=mine), {})
        why = why_not(source(plan.url, "private", plan.robot, ROBOT_SECRET))
        assert "may not pull from the project private" in why

    def test_everybody_pulls_what_is_public(self, plan, client, index):
        command.bring_about(client, replace(plan, public=True, robot=""), {})
        comes(source(plan.url, PROJECT, "", ""))

    def test_a_password_goes_to_no_other_server(self, robot, made):
        made.realm = "http://127.0.0.2:1/service/token"
        why = why_not(robot)
        assert "token service http://127.0.0.2:1" in why
        assert made.tokens == {}

    def test_a_project_that_there_is_not(self, made, plan):
        why = why_not(source(plan.url, "nothing", plan.robot, ROBOT_SECRET))
        assert "the project nothing, or there is none" in why


def test_images_of_one_word_are_found_in_library(made, plan):
    hub = source(plan.url, "proxy-docker.io", "admin", plan.password)
    # Only an administrator's token opens both names.
    digest = fetch.head(hub, "library/busybox", "v1")
    assert fetch.head(hub, "busybox", "v1") == digest
    assert digest_of(fetch.manifest(hub, "busybox", digest)) == digest


@pytest.mark.parametrize("digest", ["", "none"])
def test_a_server_that_names_no_digest(digest):
    answer = httpx.Response(200, headers={"Docker-Content-Digest": digest})
    client = httpx.Client(transport=httpx.MockTransport(lambda _: answer))
    with pytest.raises(fetch.FetchError, match="it answers without a digest"):
        fetch.head(fetch.Source(url="http://x/v2", client=client), "team/app", "v1")
