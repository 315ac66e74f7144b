"""Upstreams of whole stacks, as `up`, `doctor` and `warm` ask them, and caches that are cut off."""

import json
import re
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import httpx
import pytest

from ops.docker import docker_config
from ops.engine import cli
from ops.errors import OpsError
from ops.registry import ping, readiness, upstream_credentials, upstream_transport, upstreams_asked
from ops.registry.fetch import NO_BLOB, NOBODYS
from ops.registry.upstreams_asked import Found
from ops.registry.verdicts import Question
from ops.stack import stack_files
from plan.settings.credentials import Credentials
from plan.traffic.rate_limit import RateLimit
from tests.fakes.web_server import answering
from tests.real.private import registry_process
from tests.real.private.upstream_answers import (
    JSON,
    NOT_FOUND,
    OPEN,
    WANTS_LOGIN,
    bearer,
    of,
    put_at,
    refusing,
    silent,
    wants_token,
    with_login,
    with_token,
)
from tests.unit.plan.shapes import planned

HOST = "team.example.com"
WHO = {"username": "me", "password": "hunter2"}
LOGIN = Credentials(**WHO)
SECRET = {"secure": "v1:abc"}
SECRET_LOGIN = {"username": SECRET, "password": SECRET}
SICK = (503, JSON, b"")
OF_DOCKER = {"credentialsFrom": "docker-config"}


@pytest.fixture(autouse=True)
def not_loopback(monkeypatch):
    """The servers of these tests are on loopback; a stack's never are."""
    monkeypatch.setattr("plan.loopback.is_loopback", lambda _: False)


@pytest.fixture
def stack(monkeypatch, tmp_path):
    """Write the stack's file: of these upstreams, each with a cache, and more."""

    def make(upstreams, **more):
        hosts = {
            host: {"port": 5010 + number, **what}
            for number, (host, what) in enumerate(upstreams.items())
        }
        config = {"upstreams": hosts, **more} if hosts else more
        file = tmp_path / "Pulumi.mine.yaml"
        named = {f"talos-cache:{key}": value for key, value in config.items()}
        file.write_text(json.dumps({"config": named}))
        monkeypatch.setattr(stack_files, "path_of", lambda _: file)

    return make


@pytest.fixture
def locked(monkeypatch):
    """Call it, and nothing can be decrypted."""

    def refuse(*_):
        raise OpsError("incorrect passphrase")

    return lambda: monkeypatch.setattr(cli, "output", refuse)


class TestUp:
    """What `readiness.not_ready` says, for caches that answer: why it fails, and its warnings."""

    @pytest.fixture(autouse=True)
    def caches_answer(self, monkeypatch):
        monkeypatch.setattr(readiness, "wait_for_answer", lambda *_: None)

    def said(self, url, **more):
        config = {"upstreams": {HOST: {"remoteUrl": url, "port": 5010}}, **more}
        told = []
        return readiness.not_ready(planned(config).caches, told.append), told

    def test_all_is_well(self):
        with answering(of(v2=OPEN)) as upstream:
            assert self.said(upstream.url) == (None, [])

    @pytest.mark.parametrize(
        ("answer", "warned"),
        [
            (SICK, "503"),
            ((307, [("Location", "/v2/")], b""), f"nothing can be pulled from {HOST}: "),
            (
                (307, [("Location", "ftp://127.0.0.1/")], b""),
                f"nothing can be pulled from {HOST}: ",
            ),
        ],
        ids=["sick", "to itself", "to no registry"],
    )
    def test_what_is_not_is_a_warning(self, answer, warned):
        with answering(answer) as upstream:
            failed, (warning,) = self.said(upstream.url)
        assert failed is None
        assert warned in warning

    def test_so_is_silence(self, monkeypatch):
        monkeypatch.setattr(upstream_transport, "STEP_SECONDS", 0.5)
        with silent() as at:
            failed, (warning,) = self.said(f"https://{at}")
        assert failed is None
        assert "does not answer within 0.5 s; wait" in warning, "without a network no one connects"

    def test_no_network_is_worth_a_word_only_where_there_are_credentials(self):
        with refusing() as at:
            assert self.said(f"http://{at}") == (None, [])
            failed, (warning,) = self.said(f"http://{at}", credentials={HOST: WHO})
        assert failed is None
        assert "refused" in warning

    def test_wrong_credentials_fail(self):
        with answering(WANTS_LOGIN) as upstream:
            failed, told = self.said(upstream.url, credentials={HOST: WHO})
        assert "refuses the credentials" in failed
        assert failed.endswith('; correct credentials["team.example.com"]')
        assert told == []

    def test_wrong_credentials_of_dockers_fail(self):
        with answering(WANTS_LOGIN) as upstream:
            hosts = {HOST: {"remoteUrl": upstream.url, "port": 5010, **OF_DOCKER}}
            caches = planned({"upstreams": hosts}).caches
            caches = [replace(plan, credentials=LOGIN) for plan in caches]
            failed = readiness.not_ready(caches, pytest.fail)
        assert failed.endswith("; run docker login team.example.com")

    def test_offline_asks_nobody(self):
        with answering(OPEN) as upstream:
            assert self.said(upstream.url, offline=True) == (None, [])
        assert upstream.asked == []


@pytest.mark.parametrize("login", [False, True], ids=["nobody", "login"])
def test_an_up_that_changes_nothing_asks_each_upstream_one_question(monkeypatch, login):
    hosts = {"docker.io": {}, HOST: {}, "harbor.example.com": {"pathPrefix": "proxy-docker.io"}}
    with ExitStack() as running:
        answers = of(v2=with_token(OPEN))
        upstreams = {host: running.enter_context(answering(answers)) for host in hosts}
        caches = {host: running.enter_context(answering(WANTS_LOGIN)) for host in hosts}
        put_at(monkeypatch, "docker.io", upstreams["docker.io"].url)
        config = {
            host: {
                "remoteUrl": upstreams[host].url,
                "port": caches[host].server_address[1],
                **more,
            }
            for host, more in hosts.items()
        }
        secrets = {"credentials": dict.fromkeys(hosts, WHO)} if login else {}
        plans = planned({"upstreams": config, **secrets}).caches
        assert readiness.not_ready(plans, pytest.fail) is None
    v2, token = ("GET", "/v2/"), ("GET", "/token")
    manifest = ("HEAD", "/v2/ratelimitpreview/test/manifests/latest")
    blob = ("HEAD", f"/v2/proxy-docker.io/{NO_BLOB}")
    assert {host: upstream.asked for host, upstream in upstreams.items()} == {
        "docker.io": [v2, token, v2, manifest],
        HOST: [v2, token, v2, ("HEAD", "/v2/talos-cache/question/manifests/latest")],
        "harbor.example.com": [v2, token, v2, blob],
    }
    assert [cache.asked for cache in caches.values()] == [[v2]] * len(hosts)


class TestReasons:
    @pytest.fixture(autouse=True)
    def is_locked(self, locked):
        locked()

    def test_only_what_is_not_well(self, stack):
        with answering(of(v2=OPEN)) as well, answering(SICK) as sick:
            urls = {"a.example.com": sick.url, "b.example.com": well.url, "c.example.com": sick.url}
            stack({host: {"remoteUrl": url} for host, url in urls.items()})
            assert list(upstreams_asked.found("mine").sick) == ["a.example.com", "c.example.com"]
            found = upstreams_asked.found("mine", ["b.example.com", "c.example.com"])
            (reason,) = found.sick.values()
        assert "503" in reason

    @pytest.mark.parametrize(("more", "hosts"), [({"offline": True}, None), ({}, [])])
    def test_offline_and_of_none_nobody_is_asked(self, stack, more, hosts):
        stack({}, **more)
        assert upstreams_asked.found("mine", hosts) == Found()

    @pytest.mark.parametrize(
        ("other", "more"),
        [
            ({}, {"credentials": {"b.example.com": SECRET_LOGIN}, "cacheLogin": SECRET_LOGIN}),
            (OF_DOCKER, {}),
        ],
        ids=["credentials", "docker"],
    )
    def test_credentials_of_others_keep_nobody_from_being_asked(
        self, stack, monkeypatch, other, more
    ):
        def missing(host):
            raise OpsError(f"no login for {host}")

        monkeypatch.setattr(docker_config, "credentials_for", missing)
        with answering(SICK) as sick:
            at = {"remoteUrl": sick.url}
            stack({"a.example.com": at, "b.example.com": {**at, **other}}, **more)
            assert list(upstreams_asked.found("mine", ["a.example.com"]).sick) == ["a.example.com"]
            with pytest.raises(OpsError):
                upstreams_asked.found("mine")

    def test_what_to_do_about_a_login_of_dockers(self, stack, monkeypatch):
        monkeypatch.setattr(docker_config, "credentials_for", lambda _: LOGIN)
        with answering(WANTS_LOGIN) as upstream:
            stack({HOST: {"remoteUrl": upstream.url, **OF_DOCKER}})
            reason = upstreams_asked.found("mine").sick[HOST]
        assert reason.endswith("(401): Unauthorized; run docker login team.example.com")


@pytest.fixture
def deaf(tmp_path, monkeypatch, stack):
    """A real cache, first of an upstream that wants a login, then of what became of it."""
    helper = tmp_path / "anonymous"
    helper.write_text('#!/bin/sh\necho \'{"ServerURL":"x","Username":"","Secret":""}\'\n')
    helper.chmod(0o755)
    moods = {"now": wants_token}

    def opened(password):
        """The stack's secret, decrypted."""
        value = json.dumps({"username": "me", "password": password})
        shown = json.dumps({"talos-cache:cacheLogin": {"value": value, "secret": True}})
        monkeypatch.setattr(cli, "output", lambda *_: shown)

    @contextmanager
    def cache(asked_before=True, login=None, knows="", tls=None, now=NOT_FOUND):
        auth = login and registry_process.htpasswd(tmp_path / "htpasswd", {"me": login})
        with answering(lambda request: moods["now"](request)) as upstream:
            proxy = {"remoteurl": upstream.url, "exec": {"command": str(helper)}}
            more = {"auth": auth, "tls": tls, "sections": {"proxy": proxy}}
            with registry_process.running(tmp_path / "cache", **more) as running:
                if asked_before:
                    url = f"{running.url}/v2/team/app/manifests/1"
                    auth = ("me", login) if login else None
                    httpx.get(url, auth=auth, verify=False)  # it is on loopback
                moods["now"] = of(v2=OPEN, blob=now, token=NOT_FOUND)
                settings = {"cache": {"tls": True}} if tls else {}
                if login:
                    opened(knows or login)
                    settings["cacheLogin"] = SECRET_LOGIN
                stack({HOST: {"remoteUrl": upstream.url, "port": running.port}}, **settings)
                upstream.asked.clear()
                yield upstream

    return cache


LIMITS = [("ratelimit-limit", "100;w=21600"), ("ratelimit-remaining", "9;w=21600")]
LIMITED = of(v2=OPEN, manifest=(200, [*JSON, *LIMITS], b""))


class TestForecast:
    """Docker Hub is a double here, with the headers that its documentation names."""

    @pytest.fixture
    def hub(self, stack):
        with answering(LIMITED) as upstream:
            stack({host: {"remoteUrl": upstream.url} for host in ("docker.io", "quay.io")})
            yield upstream

    @pytest.mark.parametrize(
        ("pulls", "start", "end"),
        [
            (9, "docker.io: needs 9 pulls; 9 of 100", "are left"),
            (14, "docker.io: needs 14 pulls, but only 9 of 100", "at the latest)"),
        ],
    )
    def test_what_is_missing_is_compared_with_what_is_left(self, hub, pulls, start, end):
        (line,) = upstreams_asked.forecast("mine", {"docker.io": pulls})
        assert line.startswith(start)
        assert line.endswith(end)

    def test_only_who_counts_pulls_is_asked(self, hub):
        assert upstreams_asked.forecast("mine", {"quay.io": 5, "docker.io": 0}) == ()
        assert hub.asked == []

    def test_who_has_no_limit_says_nothing(self, stack):
        with answering(of(v2=OPEN, manifest=OPEN)) as upstream:
            stack({"docker.io": {"remoteUrl": upstream.url}})
            assert upstreams_asked.forecast("mine", {"docker.io": 5}) == ()
        assert upstream.asked

    def test_who_is_away_says_nothing(self, stack):
        with refusing() as at:
            stack({"docker.io": {"remoteUrl": f"http://{at}"}})
            assert upstreams_asked.forecast("mine", {"docker.io": 5}) == ()

    def test_doctor_is_told_what_is_left(self, hub):
        limit = RateLimit(limit=100, remaining=9, seconds=21600)
        assert upstreams_asked.found("mine").limits == dict.fromkeys(
            ("docker.io", "quay.io"), limit
        )


class TestCutOff:
    """Real caches, whose upstreams are healthy."""

    @pytest.mark.parametrize("login", [None, "hunter2"])
    @pytest.mark.parametrize("tls", [False, True])
    def test_one_that_remembers_how_its_upstream_once_wanted_a_login(
        self, deaf, authority, login, tls
    ):
        with deaf(login=login, tls=authority.server("127.0.0.1") if tls else None):
            found = upstreams_asked.found("mine")
        assert found.sick == {}
        assert re.match("[45][0-9][0-9] ", found.cut_off[HOST]), found

    @pytest.mark.parametrize("login", [None, "hunter2"])
    def test_one_that_is_well_costs_its_upstream_one_head(self, deaf, login):
        with deaf(asked_before=False, login=login) as upstream:
            assert upstreams_asked.found("mine") == Found()
        of_blobs = [method for method, path in upstream.asked if "/blobs/" in path]
        assert of_blobs == ["HEAD"]

    def test_an_upstream_that_refuses_this_machine_as_well_is_not_the_caches_fault(self, deaf):
        with deaf(now=(403, JSON, b"")):
            assert upstreams_asked.found("mine") == Found()

    def test_what_another_login_says_is_not_the_upstreams(self, deaf):
        """The stack has it already, but `up` has not been run yet."""
        with deaf(login="hunter2", knows="hunter3"):
            assert upstreams_asked.found("mine") == Found()

    def test_one_that_is_not_there_is_not_asked(self, deaf, monkeypatch):
        monkeypatch.setattr(ping, "status", lambda *_: (_ for _ in ()).throw(OSError))
        with deaf():
            assert upstreams_asked.found("mine") == Found()

    def test_a_login_that_can_not_be_read_keeps_no_upstream_from_being_asked(self, deaf, locked):
        with deaf(login="hunter2") as upstream:
            locked()
            assert upstreams_asked.found("mine") == Found(unasked="incorrect passphrase")
        assert upstream.asked

    def test_a_repository_that_is_known_to_be_there(self, deaf):
        with deaf() as upstream:
            found = upstreams_asked.found("mine", [HOST], {HOST: "team/other"})
        assert list(found.cut_off) == [HOST]
        blobs = [path for _, path in upstream.asked if "/blobs/" in path]
        assert blobs
        assert all(path.startswith("/v2/team/other/") for path in blobs)


LACKS = of(v2=OPEN, blob=NOT_FOUND)
LACKS_WITH_LOGIN = of(v2=with_login(OPEN), blob=with_login(NOT_FOUND))
LACKS_WITH_TOKEN = of(v2=with_token(OPEN), blob=with_token(NOT_FOUND))


class TestWhoLacksNobodysBlob:
    @pytest.mark.parametrize(
        ("answers", "more"),
        [
            (LACKS, {}),
            (LACKS, {"path_prefix": "proxy"}),
            (LACKS_WITH_LOGIN, {"credentials": LOGIN}),
            (LACKS_WITH_TOKEN, {}),
            (LACKS_WITH_TOKEN, {"credentials": LOGIN}),
        ],
        ids=["open", "below a path", "basic", "nobody's token", "token"],
    )
    def test_where_images_come_from(self, answers, more):
        with answering(answers) as upstream:
            question = Question(host=HOST, remote_url=upstream.url, **more)
            assert upstream_credentials.lacks_nobodys_blob(question, "team/app")
        prefix = f"{question.path_prefix}/" if question.path_prefix else ""
        assert upstream.asked[-1] == ("HEAD", f"/v2/{prefix}team/app/blobs/{NOBODYS}")
        tokens = [path for path, _ in upstream.seen if path.startswith("/token")]
        assert all("scope=repository%3Ateam%2Fapp%3Apull" in path for path in tokens)

    @pytest.mark.parametrize(
        "answers",
        [
            LACKS_WITH_LOGIN,
            of(v2=bearer("http://tokens.example.org/"), blob=with_token(NOT_FOUND)),
            of(v2=with_token(OPEN), token=(403, JSON, b""), blob=with_token(NOT_FOUND)),
            (500, JSON, b""),
            (307, [("Location", "/v2/")], b""),
        ],
        ids=["no login", "service elsewhere", "no token", "sick", "redirects"],
    )
    def test_from_which_nothing_comes(self, answers):
        with answering(answers) as upstream:
            question = Question(host=HOST, remote_url=upstream.url)
            assert not upstream_credentials.lacks_nobodys_blob(question, "team/app")
