"""Images through the double's proxy caches: pulled with tokens, and verified by what is listed."""

import hashlib
import json
import re
from dataclasses import replace

import httpx
import pytest

from ops import priming
from ops.halt import Halt
from ops.harbor import busy, command, images, pull, stored_images
from ops.harbor.client import Client, HarborError
from ops.harbor.images import Access
from ops.harbor.pull import source
from ops.registry import fetch
from ops.registry.tokens import TokenAuth
from plan.harbor.reconcile import Step
from plan.images.manifests import INDEX_TYPES, MANIFEST_TYPES
from plan.images.reference import ImageReference, Platform
from plan.settings.harbor import HarborSettings
from tests import ctrl_c
from tests.fakes.harbor import api, tls
from tests.fakes.harbor.api import Harbor
from tests.fakes.harbor.proxy import ACCEPT, TOO_MANY, Proxy, UpstreamError, written_anew
from tests.fakes.harbor.server import Handler, Server
from tests.real.private.harbor.conftest import LARGE, PACE, PROJECT, QUAY, ROBOT_SECRET, SHARED
from tests.real.private.harbor.failures import FailedError, internal, not_found

AMD64 = Platform(os="linux", architecture="amd64")
ARM64 = Platform(os="linux", architecture="arm64")
S390X = Platform(os="linux", architecture="s390x")


def image(tag, repository="team/app", digest="", host="quay.io"):
    return ImageReference(host=host, repository=repository, tag=tag, digest=digest)


@pytest.fixture
def robot(made, plan):
    return source(plan.url, PROJECT, plan.robot, ROBOT_SECRET)


def pulled(registry, *wanted, platform=AMD64, has=lambda *_: False):
    came = []
    done = pull.pull({"quay.io": registry}, wanted, platform, 4, has, came.append)
    return done, sum(came)


def of(client, *wanted, platform=AMD64):
    lists = stored_images.StoredImages(client, lambda host: f"proxy-{host}", platform)
    return tuple(lists.of(one) for one in wanted)


def access_of(plan, username="admin", password="Harbor12345"):
    settings = HarborSettings(
        url=plan.url,
        ca_file="",
        project_prefix="proxy-",
        public=False,
        retention_days=None,
        quota_bytes=None,
        robot="",
        admin=None,
        login=None,
    )
    return Access(harbor=settings, ca_pem=plan.ca_pem, username=username, password=password)


@pytest.fixture
def access(plan, made, monkeypatch):
    """Harbor as `warm` asks it, looked at often, and waited for longer than it needs."""
    monkeypatch.setattr(stored_images, "POLL_SECONDS", 0.05)
    monkeypatch.setattr(stored_images, "TAG_SECONDS", 500 * PACE)
    monkeypatch.setattr(images, "SETTLE_SECONDS", 5000 * PACE)
    return access_of(plan)


@pytest.fixture
def impatient(access, monkeypatch):
    """The same, where nothing comes in the end."""
    monkeypatch.setattr(stored_images, "TAG_SECONDS", 120 * PACE)
    return access


def warm(access, *wanted, platform=AMD64):
    return images.HarborBackend(access).fill(wanted, platform, 4)


class TestPull:
    def test_every_byte_is_counted_once_and_no_layer_is_sent_here(self, robot):
        answers = []
        robot.client.event_hooks["response"].append(answers.append)
        done, blobs = pulled(robot, image("v1"), image("v2"), image("v1"))
        assert blobs < done.transferred < blobs + 10_000, "manifests come on top"
        of_blobs = [one for one in answers if "/blobs/" in one.url.path and one.is_success]
        assert {one.request.method for one in of_blobs} == {"GET", "HEAD"}
        assert sum(one.num_bytes_downloaded for one in of_blobs) == 0
        assert len(SHARED) + len(LARGE) < blobs < len(SHARED) + len(LARGE) + 1000

    def test_no_tag_is_asked_for_but_by_head_and_that_comes_first(self, robot, made, index):
        tagged = image("v1")
        pulled(robot, image("", digest=index), image("", "team/other", index), tagged)
        asked = [f"{method} {path.rpartition('/')[2]}" for method, path in made.pulls]
        assert "GET v1" not in asked
        assert asked.index("HEAD v1") < asked.index(f"GET {index}")

    def test_what_has_tag_and_digest_is_fetched_by_digest_and_gets_its_tag(
        self, robot, asked, index
    ):
        pulled(robot, image("v1", digest=index))
        asked.wait()
        assert asked.artifact("v1") is not None
        done, _ = pulled(robot, image("gone", digest=index))
        assert done.said == {}, "the tag is only a name"

    def test_all_platforms_come(self, robot, asked):
        (delivered,) = pulled(robot, image("v1"))[0].delivered.values()
        asked.wait()
        assert len(asked.artifact("v1")["references"]) == 2
        assert delivered.chosen in delivered.platforms
        assert all(asked.artifact(digest) for digest in delivered.platforms)

    @pytest.mark.parametrize("by", ["index", "manifest"])
    def test_what_is_stored_is_not_fetched_again(self, robot, made, registry, by):
        if by == "manifest":
            registry.manifest("team/flat", manifest_of(registry, "team/flat", b"flat"), "v1")
        one = image("v1", "team/flat" if by == "manifest" else "team/app")
        done, blobs = pulled(robot, one, has=lambda *_: True)
        assert (done.said, blobs) == ({}, 0)

    def test_a_blob_that_is_there_already_is_not_counted(self, robot):
        pulled(robot, image("v1"))
        done, blobs = pulled(robot, image("v1"))
        assert blobs == 0
        assert done.transferred < len(SHARED), "of manifests only"

    def test_what_took_longer_than_harbor_waits_is_asked_for_again(self, robot, made, monkeypatch):
        monkeypatch.setattr(pull, "PATIENCE_SECONDS", -1)
        pulled(robot, image("v1"))
        asked = [method for method, path in made.pulls if path.endswith("/v1")]
        assert asked == ["HEAD", "HEAD", "HEAD"], "also for those that had to wait"
        blobs = [path for method, path in made.pulls if "/blobs/" in path and method == "GET"]
        assert sorted(blobs) == sorted(set(blobs))

    def test_what_is_not_there_is_said_and_the_rest_comes(self, robot):
        gone = image("v9")
        done, _ = pulled(robot, gone, image("v1"))
        assert "team/app/manifests/v9: 404 Not Found" in done.said[gone]
        assert (set(done.said), set(done.delivered)) == ({gone}, {image("v1")})

    def test_a_platform_that_there_is_not(self, robot):
        done, _ = pulled(robot, image("v1"), platform=S390X)
        assert "there is none for linux/s390x" in done.said[image("v1")]

    def test_nor_is_there_in_an_index_below_the_index(self, robot, registry):
        nested(registry, "team/nested")
        one = image("v1", "team/nested")
        done, _ = pulled(robot, one, platform=S390X)
        assert "there is none for linux/s390x" in done.said[one]

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
        done, _ = pulled(robot, image("v1"), image("v2"))
        assert set(done.said) == {image("v1")}
        assert "not stored after" in done.said[image("v1")]

    def test_an_upstream_without_a_blob_is_told_at_once(self, robot, monkeypatch):
        def gone(proxy, digest):
            raise UpstreamError("gone")

        monkeypatch.setattr(Proxy, "_passed_on", gone)
        done, _ = pulled(robot, image("v1"))
        assert set(done.said) == {image("v1")}
        assert "500 internal server error" in done.said[image("v1")]

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
        done, _ = pulled(robot, image("v1", "team/single"))
        assert done.said == {}
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
        wanted = image("v1", "team/single")
        why = pulled(robot, wanted)[0].said[wanted]
        assert re.search("not stored after 1 s: requested again, .*: 403 not any more", why)
        assert "quota" not in why

    def test_harbor_says_no_more_of_what_it_has_stored_for_one_image(self, robot):
        def has(one, digest):
            if one.tag == "v1":
                raise HarborError("Harbor does not answer")
            return False

        done, _ = pulled(robot, image("v1"), image("v2"), has=has)
        assert done.said == {image("v1"): "Harbor does not answer"}
        assert set(done.delivered) == {image("v2")}

    def test_once_one_has_failed_the_others_are_waited_for_no_longer_than_harbor_does(
        self, robot, made, monkeypatch
    ):
        monkeypatch.setattr(pull, "INDEX_SECONDS", -1)
        asked = []

        def has(_, digest):
            asked.append(digest)
            raise HarborError("Harbor does not answer")

        done, _ = pulled(robot, image("v1"), has=has)
        assert done.said == {image("v1"): "Harbor does not answer"}
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
        done, _ = pulled(robot, image("v1"))
        assert (done.said, waits) == ({}, [2])
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
        done, _ = pulled(robot, image("v1", "team/single"))
        assert (done.said, waits) == ({}, [2])

    def test_for_as_long_as_it_wants(self, robot, refuse, waits):
        refuse("GET", "/blobs/", **{"Retry-After": "70"})
        done, _ = pulled(robot, image("v1"))
        assert (done.said, waits) == ({}, [70])

    def test_one_that_wants_too_much_is_given_up(self, robot, refuse, waits, capsys):
        refuse("HEAD", "/manifests/v1", **{"Retry-After": "3600"})
        done, _ = pulled(robot, image("v1"))
        assert "/manifests/v1: 429 Too Many Requests" in done.said[image("v1")]
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
        done, _ = pulled(robot, image("v1"))
        assert list(done.said) == [image("v1")]
        assert pulled(robot, image("v1"))[0].said == {}
        assert waits == [2, 4]

    def test_one_that_stays_busy_is_given_up_before_an_index_is_spoilt(
        self, access, made, refuse, waits, capsys, monkeypatch
    ):
        refuse("GET", "/blobs/", times=10**6)
        monkeypatch.setattr(images, "SETTLE_SECONDS", 0)
        many = [image("v1"), image("v2"), image("v1", "team/other")]
        filled = images.HarborBackend(access).fill(many, AMD64, 1)
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

    @pytest.mark.parametrize("waiting_for", ["a busy upstream", "a blob"])
    def test_nothing_more_is_asked_for(
        self, robot, made, refuse, monkeypatch, by_then, waiting_for
    ):
        if waiting_for == "a blob":
            monkeypatch.setattr(Proxy, "_put_blob", lambda *_: None)
        else:
            refuse("GET", "/blobs/", times=10**6)
        wanted = [image("v1"), image("v2"), image("v1", "team/other")]
        with pytest.raises(KeyboardInterrupt):
            pull.pull({"quay.io": robot}, wanted, AMD64, 1, lambda *_: False, len)
        assert by_then
        assert made.pulls == by_then


class TestTokens:
    def test_one_token_for_a_repository(self, robot, made):
        pulled(robot, image("v1", "team/single"))
        assert len(made.tokens) == 1

    def test_a_token_that_has_run_out_is_replaced(self, robot, made):
        pulled(robot, image("v1"))
        for token in made.tokens.values():
            token.ends = 0
        done, _ = pulled(robot, image("v2"))
        assert done.said == {}
        assert len(made.tokens) >= 2

    def test_who_may_not_pull_is_told_by_harbor(self, made, plan):
        registry = source(plan.url, PROJECT, "robot$talos-mine", "Wrong-pass-1")
        done, _ = pulled(registry, image("v1"))
        why = done.said[image("v1")]
        assert why.startswith(
            f"Harbor at {plan.url}: the user robot$talos-mine may not pull from the project "
            f"{PROJECT}"
        )
        assert "correct harborLogin" in why
        assert "Wrong-pass-1" not in why

    def test_so_is_nobody(self, made, plan):
        done, _ = pulled(source(plan.url, PROJECT, "", ""), image("v1"))
        why = done.said[image("v1")]
        assert why.startswith(f"{plan.url}: no one may pull from {PROJECT} without a login")
        assert "set harborLogin" in why

    def test_a_name_that_may_be_a_secret_is_not_told(self, made, plan):
        keys = 'credentials["quay.io"]'
        auth = TokenAuth("robot$talos-mine", "Wrong-pass-1", keys)
        registry = fetch.source(f"{plan.url}/v2/{PROJECT}", auth=auth)
        why = pulled(registry, image("v1"))[0].said[image("v1")]
        assert f"the user of {keys} may not pull from the project {PROJECT}" in why
        assert "robot$talos-mine" not in why

    def test_the_robot_opens_its_projects_only(self, made, plan, client, known):
        other = replace(plan, owner="ba9876543210", robot="robot$other")
        mine = (replace(plan.projects[1], name="private", registry_name="private"),)
        command.bring_about(client, replace(other, projects=mine), {})
        registry = source(plan.url, "private", plan.robot, ROBOT_SECRET)
        why = pulled(registry, image("v1"))[0].said[image("v1")]
        assert "may not pull from the project private" in why

    def test_everybody_pulls_what_is_public(self, plan, client, index):
        command.bring_about(client, replace(plan, public=True, robot=""), {})
        registry = source(plan.url, PROJECT, "", "")
        assert pulled(registry, image("v1"))[0].said == {}

    def test_a_password_goes_to_no_other_server(self, robot, made):
        made.realm = "http://127.0.0.2:1/service/token"
        why = pulled(robot, image("v1"))[0].said[image("v1")]
        assert "token service http://127.0.0.2:1" in why
        assert made.tokens == {}

    def test_a_project_that_there_is_not(self, made, plan):
        registry = source(plan.url, "nothing", plan.robot, ROBOT_SECRET)
        why = pulled(registry, image("v1"))[0].said[image("v1")]
        assert "the project nothing, or there is none" in why


class TestHeld:
    def test_of_a_list_each_in_its_place(self, asked, client):
        asked.tagged("v2")
        asked.wait()
        wanted = (image("v1"), image("v2"), image("v1", "team/other"))
        results = of(client, *wanted)
        assert tuple(one.image for one in results) == wanted
        assert [[fault.part for fault in one.faults] for one in results] == [["tag"], [], ["tag"]]

    def test_sizes(self, asked, client):
        asked.tagged("v1")
        asked.wait()
        held_one, other = of(client, image("v1"), image("v2"))
        assert held_one.size > len(SHARED) + len(LARGE)
        assert other.size == 0

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
            of(robot, image("v1"))


class TestSettled:
    """Harbor's API fails now and then, also in the eight minutes that it is asked after a pull."""

    def settled(self, client, known, robot, monkeypatch, failures, seconds):
        monkeypatch.setattr(stored_images, "POLL_SECONDS", 0.05)
        done, _ = pulled(robot, image("v1", "team/single"))

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


def manifest_of(registry, repository, layer):
    kind = "application/vnd.oci.image"
    return {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPES[0],
        "config": {"mediaType": f"{kind}.config.v1+json", **registry.blob(repository, b"{}")},
        "layers": [{"mediaType": f"{kind}.layer.v1.tar", **registry.blob(repository, layer)}],
    }


def index_of(registry, repository, **layers):
    """Make an index as `v1`, of one layer for each architecture; the digests of its manifests."""
    entries = []
    for architecture, layer in layers.items():
        platform = {"os": "linux", "architecture": architecture}
        child = registry.manifest(repository, manifest_of(registry, repository, layer))
        entries.append({"mediaType": MANIFEST_TYPES[0], **child, "platform": platform})
    registry.manifest(repository, index_type() | {"manifests": entries}, "v1")
    return [one["digest"] for one in entries]


def index_type(kind=INDEX_TYPES[0]):
    return {"schemaVersion": 2, "mediaType": kind}


def nested(registry, repository, beside=None):
    """Make an index as `v1`, with another in it that Harbor leaves as it is; what is in that.

    Args:
        registry: upstream.
        repository: to make it in.
        beside: layer of a manifest for amd64 beside the index; None for none.
    """
    children = index_of(registry, repository, amd64=b"inner amd64", arm64=b"inner arm64")
    given = httpx.get(f"{registry.url}/v2/{repository}/manifests/v1", headers=ACCEPT).json()
    content = written_anew(given["manifests"])
    inner = json.loads(content)
    address = f"{registry.url}/v2/{repository}/manifests/{digest_of(content)}"
    headers = {"Content-Type": inner["mediaType"]}
    httpx.put(address, content=content, headers=headers).raise_for_status()
    entry = {"mediaType": inner["mediaType"], "digest": digest_of(content), "size": len(content)}
    entries = [entry]
    if beside is not None:
        child = registry.manifest(repository, manifest_of(registry, repository, beside))
        platform = {"os": "linux", "architecture": "amd64"}
        entries.append({"mediaType": MANIFEST_TYPES[0], **child, "platform": platform})
    registry.manifest(repository, index_type() | {"manifests": entries}, "v1")
    return children


def digest_of(content):
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


class TestWarm:
    def test_all_of_it_is_served_with_the_upstream_away(self, access, asked, registry):
        registry.image("library/busybox", "v1", b"busybox")
        registry.manifest("team/artifact", manifest_of(registry, "team/artifact", b"a"), "v1")
        wanted = (
            image("v1"),
            image("v2"),
            image("v1", "team/single"),
            image("v1", "team/artifact"),
            image("v1", "library/busybox", host="docker.io"),
        )
        filled = warm(access, *wanted)
        assert (filled.failures, filled.complete_before) == ((), 0)
        assert not any(
            one.faults
            for one in images.HarborBackend(access).status(wanted, AMD64, deep=False).results
        )
        asked.known.upstreams.clear()
        for one in wanted[:3]:
            asked.index("v1", repository=one.repository)
        asked.image("v1", "team/artifact")
        again = warm(access, *wanted)
        assert (again.complete_before, again.transferred) == (5, 0)

    def test_nothing_stays_open(self, access, asked, registry, monkeypatch):
        opened = []

        def source(*arguments):
            opened.append(pull_source(*arguments))
            return opened[-1]

        pull_source = pull.source
        monkeypatch.setattr(pull, "source", source)
        assert warm(access, image("v1", "team/single")).failures == ()
        assert [one.client.is_closed for one in opened] == [True]

    def test_what_another_tool_asked_for_by_tag_is_told_with_what_helps(
        self, impatient, access, asked, made, index
    ):
        asked.index("v1")  # as skopeo does
        asked.wait()
        made.sent_bytes = 0
        [(failed, (why,))] = warm(impatient, image("v1")).failures
        assert failed == image("v1")
        assert "doesn't set the tag" in why
        assert made.sent_bytes < len(SHARED), "nothing of it is fetched again"
        forget(asked.known, why)
        assert warm(access, image("v1")).failures == ()

    def test_several_tags_of_one_index_come_together(
        self, access, impatient, registry, monkeypatch
    ):
        for tag in ("v1", "v1.0", "latest"):
            digest = registry.image("team/tags", tag, b"tags")
        wanted = [image(tag, "team/tags") for tag in ("v1", "v1.0")]
        by_digest = image("v1", "team/tags", digest)
        filled = warm(impatient, by_digest, *wanted)
        assert [one for one, _ in filled.failures] == [by_digest]
        [(_, (why,))] = warm(impatient, image("latest", "team/tags")).failures
        assert "doesn't set the tag: for 7 days" in why
        assert "by another tag or by digest" in why

    def test_so_is_an_index_that_came_without_the_platform(self, impatient, access, asked, index):
        asked.one_platform("v1")
        assert warm(impatient, image("v1")).complete_before == 1
        [(_, (why,))] = warm(impatient, image("v1"), platform=ARM64).failures
        assert "index has no linux/arm64" in why
        forget(asked.known, why)
        assert warm(access, image("v1"), platform=ARM64).failures == ()

    def test_an_index_by_its_digest_never_comes(self, impatient, asked, index):
        [(_, (why,))] = warm(impatient, image("", digest=index)).failures
        chosen = re.search(r"the digest of linux/amd64: (sha256:\w+)$", why)[1]
        assert why.startswith("Harbor has rewritten this index")
        assert warm(impatient, image("", digest=chosen)).complete_before == 1

    def test_what_goes_over_the_quota_is_told_once_the_time_is_up(
        self, access, made, monkeypatch, registry
    ):
        monkeypatch.setattr(priming, "LEAST_SECONDS", 1)
        made.harbor.background.pace = 0.001
        registry.image("library/busybox", "v1", b"busybox")
        for quota in made.harbor.quotas.values():
            quota["storage"] = 1
        wanted = (image("v1", "team/single"), image("v1", "library/busybox", host="docker.io"))
        failures = dict(warm(access, *wanted).failures)
        for one in wanted:
            (why,) = failures[one]
            assert "not stored after 1 s: check the project's quota" in why

    def test_who_wants_a_platform_that_there_is_not_spoils_no_index(self, access, asked, registry):
        index_of(registry, "team/arm", arm64=b"arm only")
        [(_, (why,))] = warm(access, image("v1", "team/arm")).failures
        assert "there is none for linux/amd64" in why
        asked.wait()
        assert warm(access, image("v1", "team/arm"), platform=ARM64).complete_before == 1

    @pytest.mark.parametrize("lacks", ["blob", "api"])
    def test_nor_does_who_wants_one_that_does_not_come(self, access, asked, known, registry, lacks):
        known.background.pace = 0.02
        repository = f"team/lacks-{lacks}"
        children = index_of(registry, repository, amd64=b"lost", arm64=b"there")
        if lacks == "blob":
            registry.file_of(digest_of(b"lost")).unlink()
        else:
            known.meanwhile = lambda _, path: fail_for(path, children[0])
        assert len(warm(access, image("v1", repository)).failures) == 1
        asked.wait()
        known.meanwhile = None
        assert warm(access, image("v1", repository), platform=ARM64).complete_before == 1

    def test_an_entry_without_a_platform_comes_and_harbor_gives_it_one_that_no_node_takes(
        self, access, asked, registry
    ):
        child = registry.manifest("team/bare", manifest_of(registry, "team/bare", b"bare"))
        entries = [{"mediaType": MANIFEST_TYPES[0], **child}]
        registry.manifest("team/bare", index_type() | {"manifests": entries}, "v1")
        one = image("v1", "team/bare")
        [(_, (why,))] = warm(access, one).failures
        assert "index has no linux/amd64" in why
        assert asked.artifact("v1", "team/bare")["references"][0]["child_digest"] == child["digest"]
        (result,) = images.HarborBackend(access).status([one], AMD64, deep=False).results
        assert [fault.part for fault in result.faults] == ["platform"]

    def test_so_does_an_index_in_an_index(self, access, asked, registry):
        nested(registry, "team/nested")
        one = image("v1", "team/nested")
        [(_, (why,))] = warm(access, one).failures
        assert "index has no linux/amd64" in why
        (result,) = images.HarborBackend(access).status([one], AMD64, deep=False).results
        assert [fault.part for fault in result.faults] == ["platform"]

    def test_another_platform_that_does_not_come_is_no_failure(self, access, made, registry):
        made.harbor.background.pace = 0.02
        repository = "team/partly"
        index_of(registry, repository, amd64=b"whole", arm64=b"gone")
        gone = digest_of(b"gone")
        registry.file_of(gone).unlink()
        assert warm(access, image("v1", repository)).failures == ()
        [(_, (why,))] = warm(access, image("v1", repository), platform=ARM64).failures
        assert f"/{repository}/blobs/{gone}: 404 blob {gone} not found" in why

    def test_what_is_awaited_of_all_upstreams_is_told_at_once(
        self, access, known, registry, monkeypatch
    ):
        told = []

        def not_yet(method, path):
            if path.endswith("/artifacts/v1") and not told:
                raise not_found("the artifact")

        known.meanwhile = not_yet
        monkeypatch.setattr(images.progress_bar, "tell", told.append)
        registry.image("library/busybox", "v1", b"busybox")
        wanted = (image("v1", "team/single"), image("v1", "library/busybox", host="docker.io"))
        assert warm(access, *wanted).failures == ()
        assert "250 s" in told[0]
        assert told[0].endswith(": 1 of quay.io, 1 of docker.io")

    def test_a_robot_that_may_read_does_it_as_well(self, access, plan, client, made):
        made.harbor.robots.clear()
        namespace = {"kind": "project", "namespace": PROJECT, "access": [api.PULL, api.READ]}
        body = {"name": "reader", "level": "system", "duration": -1, "permissions": [namespace]}
        number = client.do(Step(does="create", what="", method="POST", path="/robots", body=body))
        password = made.harbor.robots[number]["secret"]
        reader = access_of(plan, "robot$reader", password)
        assert warm(reader, image("v1", "team/single")).failures == ()


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
    assert warm(access_of(secure), image("v1")).failures == ()
    untrusting = source(secure.url, PROJECT, plan.robot, ROBOT_SECRET)
    assert "certificate verify failed" in pulled(untrusting, image("v1"))[0].said[image("v1")]
    server.stop()


def test_images_of_one_word_are_found_in_library(made, plan, registry):
    digest = registry.image("library/busybox", "v1", b"busybox", platforms=("amd64",))
    hub = source(plan.url, "proxy-docker.io", "admin", plan.password)
    # Only an administrator's token opens both names.
    assert fetch.head(hub, "busybox", "v1") == fetch.head(hub, "library/busybox", "v1") == digest
    content = fetch.manifest(hub, "busybox", digest)
    assert json.loads(content)["schemaVersion"] == 2


@pytest.mark.parametrize("digest", ["", "none"])
def test_a_server_that_names_no_digest(digest):
    def answer(request):
        return httpx.Response(200, headers={"Docker-Content-Digest": digest})

    client = httpx.Client(transport=httpx.MockTransport(answer))
    with pytest.raises(fetch.FetchError, match="it answers without a digest"):
        fetch.head(fetch.Source(url="http://x/v2", client=client), "team/app", "v1")
