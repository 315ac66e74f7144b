"""Upstreams that are asked without credentials: what is not well is named, with what to do."""

import json
import socket

import pytest

from ops import readiness, upstream_login, upstreams_asked
from ops.upstream_login import Accepted, Question, Unreachable, Untrusted, Useless, ask, ask_all
from tests.plan.shapes import planned
from tests.private import registry_process, token_service
from tests.private.test_upstream_login import answering, bearer
from tests.private.token_service import TokenService

HOST = "team.example.com"
SET = """pulumi config set --secret --path 'credentials["team.example.com"].username'"""
JSON = [("Content-Type", "application/json")]
PAGE = [("Content-Type", "text/html; charset=utf-8")]
OPEN = (200, JSON, b"{}")
NOT_FOUND = (404, JSON, b'{"errors":[{"code":"NAME_UNKNOWN"}]}')
TOKEN = b'{"token":"a-token"}'


def verdict_on(url, host=HOST, **more):
    return ask(Question(host=host, remote_url=url, **more))


def of(**answers):
    """Answers by what is asked for: `v2`, `token` or `manifest`; the last is not there else."""

    def answer(request):
        kind = "v2" if request.path == "/v2/" else request.path.split("/")[1].partition("?")[0]
        if "/manifests/" in request.path:
            kind = "manifest"
        said = answers.get(kind, NOT_FOUND)
        return said(request) if callable(said) else said

    return answer


def wants_token(request):
    return bearer(f"http://{request.headers['Host']}/token")


def with_token(answer):
    """`answer` to who has one."""
    return lambda request: answer if request.headers.get("Authorization") else wants_token(request)


class TestWell:
    @pytest.mark.parametrize("manifest", [NOT_FOUND, OPEN])
    def test_open(self, manifest):
        with answering(of(v2=OPEN, manifest=manifest)) as upstream:
            assert verdict_on(upstream.url) == Accepted(host=HOST)
        manifest = "/v2/talos-cache/question/manifests/latest"
        assert upstream.asked == [("GET", "/v2/"), ("HEAD", manifest)]

    @pytest.mark.parametrize("status", [400, 403, 405, 500])
    def test_a_name_that_an_upstream_calls_wrong_says_nothing_of_others(self, status):
        with answering(of(v2=OPEN, manifest=(status, JSON, b""))) as upstream:
            assert verdict_on(upstream.url) == Accepted(host=HOST)
            assert isinstance(verdict_on(upstream.url, "registry.k8s.io"), Useless), "it is there"

    def test_open_and_real(self, tmp_path):
        with registry_process.running(tmp_path) as registry:
            assert verdict_on(registry.url) == Accepted(host=HOST)

    def test_tokens_for_anybody(self):
        token = (200, JSON, TOKEN)
        with answering(of(v2=with_token(OPEN), token=token)) as upstream:
            assert verdict_on(upstream.url) == Accepted(host=HOST)
        assert upstream.asked == [("GET", "/v2/"), ("GET", "/token"), ("GET", "/v2/")]
        assert "scope=repository%3Atalos-cache%2Fquestion%3Apull" in upstream.seen[1][0]
        assert upstream.seen[1][1] is None

    def test_docker_hub_is_asked_for_nothing_that_it_counts(self):
        answers = of(v2=wants_token, token=(200, JSON, TOKEN), manifest=OPEN)
        with answering(answers) as upstream:
            assert verdict_on(upstream.url, "docker.io") == Accepted(host="docker.io")
        manifest = "/v2/ratelimitpreview/test/manifests/latest"
        assert upstream.asked == [("GET", "/v2/"), ("GET", "/token"), ("HEAD", manifest)]
        assert upstream.seen[2][1] == "Bearer a-token"

    def test_a_harbor_is_asked_for_no_manifest(self):
        with answering(of(v2=OPEN)) as upstream:
            assert verdict_on(upstream.url, path_prefix="proxy-docker.io") == Accepted(host=HOST)
        assert upstream.asked == [("GET", "/v2/")], "Harbor would fetch it"


class TestUseless:
    def useless(self, answers, host=HOST, **more):
        with answering(answers) as upstream:
            verdict = verdict_on(upstream.url, host, **more)
        assert isinstance(verdict, Useless)
        assert str(verdict) == f"nothing can be pulled from {host}: {verdict.reason}; {verdict.fix}"
        return verdict

    @pytest.mark.parametrize("limited", ["v2", "manifest"])
    def test_too_many_requests(self, limited):
        said = json.dumps({"errors": [{"message": "You have reached your pull rate limit."}]})
        answers = {"v2": OPEN, limited: (429, JSON, said.encode())}
        verdict = self.useless(of(**answers))
        assert "(429)" in verdict.reason
        assert "account" in verdict.fix
        assert SET in verdict.fix

    def test_too_many_requests_behind_tokens(self):
        answers = of(v2=wants_token, token=(200, JSON, TOKEN), manifest=(429, JSON, b""))
        verdict = self.useless(answers, "docker.io")
        assert "(429)" in verdict.reason
        assert 'credentials["docker.io"]' in verdict.fix

    def test_too_many_requests_for_who_has_an_account(self):
        verdict = self.useless((429, JSON, b""), username="me", password="hunter2")
        assert "pulumi" not in verdict.fix

    @pytest.mark.parametrize("status", [500, 502, 503])
    def test_sick(self, status):
        verdict = self.useless((status, PAGE, b"<title>Down</title><p>for maintenance"))
        assert verdict.reason == f"it answers with status {status}: Down for maintenance"

    def test_forbidden(self):
        said = b'{"errors":[{"code":"DENIED","message":"not from your country"}]}'
        verdict = self.useless((403, JSON, said))
        assert verdict.reason == "it refuses this machine (403): not from your country"
        assert "upstreamProxy" in verdict.fix
        assert SET in verdict.fix

    @pytest.mark.parametrize("status", [200, 403])
    @pytest.mark.parametrize(
        ("headers", "body"), [(PAGE, b"Welcome"), ([], b"\n<!doctype html><title>Log in</title>")]
    )
    def test_a_login_page(self, status, headers, body):
        verdict = self.useless((status, headers, body))
        assert "web page" in verdict.reason
        assert "log in to your network" in verdict.fix
        assert f"upstreams.{HOST}.remoteUrl" in verdict.fix

    def test_a_redirect_to_a_login_page(self):
        with answering((200, PAGE, b"<html>who are you?</html>")) as portal:
            verdict = self.useless((302, [("Location", f"{portal.url}/login")], b""))
            where = portal.url.removeprefix("http://")
        assert f"(from {where})" in verdict.reason

    def test_a_login_page_instead_of_manifests(self):
        assert "web page" in self.useless(of(v2=OPEN, manifest=(200, PAGE, b""))).reason

    def test_a_login_page_for_who_has_an_account(self):
        verdict = self.useless((200, PAGE, b"<html>"), username="me", password="hunter2")
        assert "web page" in verdict.reason

    def test_basic(self):
        challenge = [("WWW-Authenticate", 'Basic realm="team"')]
        verdict = self.useless((401, challenge, b'{"errors":[{"message":"who are you?"}]}'))
        assert verdict.reason == "it wants a login (401): who are you?"
        assert verdict.fix.startswith(f"the stack has no credentials for it: {SET}")

    @pytest.mark.parametrize("status", [401, 403])
    def test_no_token_for_nobody(self, status):
        answers = of(v2=wants_token, token=(status, JSON, b'{"details":"log in first"}'))
        verdict = self.useless(answers)
        said = f"its token service gives no token without a login ({status}): log in first"
        assert verdict.reason == said
        assert SET in verdict.fix

    def test_a_token_that_opens_nothing(self):
        answers = of(v2=wants_token, token=(200, JSON, TOKEN), manifest=wants_token)
        verdict = self.useless(answers, "docker.io")
        assert "(401)" in verdict.reason
        assert 'credentials["docker.io"]' in verdict.fix

    def test_a_token_service_elsewhere(self):
        verdict = self.useless(bearer("https://tokens.example.org/token"))
        assert "https://tokens.example.org is not in its own domain" in verdict.reason
        assert "asks for no token there" in verdict.reason
        assert "pulumi config" not in verdict.fix, "credentials would not help"

    def test_another_way_to_log_in(self):
        verdict = self.useless((401, [("WWW-Authenticate", "Negotiate")], b""))
        assert "negotiate" in verdict.reason
        assert "pulumi config" not in verdict.fix

    @pytest.mark.parametrize("login", [{}, {"username": "me", "password": "hunter2"}])
    def test_a_login_for_manifests_only(self, login):
        verdict = self.useless(of(v2=OPEN, manifest=wants_token), **login)
        assert "at manifests, and not at /v2/" in verdict.reason
        assert ("credentials are not used" in verdict.reason) is bool(login)
        assert "pulumi config" not in verdict.fix


def test_a_ca_that_nobody_has_named(tmp_path, authority):
    tls = authority.server("127.0.0.1")
    with registry_process.running(tmp_path, tls=tls) as registry:
        verdict = verdict_on(registry.url)
        assert isinstance(verdict, Untrusted)
        assert verdict.fix == f"name the CA that it is from with upstreams.{HOST}.ca"
        assert verdict_on(registry.url, ca_pem=authority.pem) == Accepted(host=HOST)


def test_a_real_token_service_that_knows_nobody(tmp_path):
    with token_service.running(tmp_path, TokenService(accounts={})) as upstream:
        assert "no token without a login (401)" in str(verdict_on(upstream.url))


class TestPatience:
    def test_nobody_waits_long_for_one_who_says_nothing(self, monkeypatch):
        monkeypatch.setattr(upstream_login, "PATIENCE_SECONDS", 0.3)
        monkeypatch.setattr(upstream_login, "TIMEOUT_SECONDS", 3600)
        wait, deadlines = upstream_login._Asked.verdict, set()

        def verdict(one, deadline):
            deadlines.add(deadline)
            return wait(one, deadline)

        monkeypatch.setattr(upstream_login._Asked, "verdict", verdict)
        with socket.create_server(("127.0.0.1", 0)) as listening:
            url = f"http://127.0.0.1:{listening.getsockname()[1]}"
            questions = [Question(host=f"{n}.example.com", remote_url=url) for n in range(40)]
            verdicts = ask_all(questions)
        reason = "no answer within 0.3 s"
        assert verdicts == tuple(Unreachable(host=one.host, reason=reason) for one in questions)
        assert len(deadlines) == 1, "of all of them together"

    def test_what_goes_wrong_is_raised(self):
        with pytest.raises(ValueError, match="no certificates"):
            ask_all([Question(host=HOST, remote_url="https://127.0.0.1:1", ca_pem="nothing")])


class TestUp:
    """What `readiness.unready` says, for caches that answer."""

    @pytest.fixture(autouse=True)
    def caches_answer(self, monkeypatch):
        monkeypatch.setattr(readiness, "wait_for_answer", lambda *_: "")

    def said(self, url, **more):
        config = {"upstreams": {HOST: {"remoteUrl": url, "port": 5010}}, **more}
        told = []
        return readiness.unready(planned(config).caches, told.append), told

    @pytest.fixture(autouse=True)
    def not_loopback(self, monkeypatch):
        """The servers of these tests are there; a stack's never are."""
        monkeypatch.setattr("plan.loopback.is_loopback", lambda _: False)

    def test_all_is_well(self):
        with answering(of(v2=OPEN)) as upstream:
            assert self.said(upstream.url) == ("", [])
        assert [method for method, path in upstream.asked if "manifests" in path] == ["HEAD"]
        assert len(upstream.asked) == 2, "one question"

    def test_what_is_not_is_a_warning(self):
        with answering((503, JSON, b"")) as upstream:
            failed, told = self.said(upstream.url)
        assert failed == ""
        (warning,) = told
        assert "503" in warning

    def test_no_network_is_not_worth_a_word(self):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            url = f"http://127.0.0.1:{taken.getsockname()[1]}"
            assert self.said(url) == ("", [])

    def test_no_network_is_where_there_are_credentials(self):
        login = {HOST: {"username": "me", "password": "hunter2"}}
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            url = f"http://127.0.0.1:{taken.getsockname()[1]}"
            failed, told = self.said(url, credentials=login)
        assert failed == ""
        assert "refused" in told[0]

    def test_wrong_credentials_fail(self):
        login = {HOST: {"username": "me", "password": "hunter2"}}
        challenge = [("WWW-Authenticate", 'Basic realm="team"')]
        with answering((401, challenge, b"")) as upstream:
            failed, told = self.said(upstream.url, credentials=login)
        assert "refuses the credentials" in failed
        assert told == []

    def test_offline_asks_nobody(self):
        with answering(OPEN) as upstream:
            assert self.said(upstream.url, offline=True) == ("", [])
        assert upstream.asked == []


class TestReasons:
    @pytest.fixture
    def stack(self, monkeypatch):
        """Settings as the stack's file has them."""

        def make(config):
            settings = planned(config).settings
            monkeypatch.setattr("ops.secret_settings.settings_of", lambda *_, **__: settings)

        monkeypatch.setattr("plan.loopback.is_loopback", lambda _: False)
        return make

    def test_only_what_is_not_well(self, stack):
        with answering(of(v2=OPEN)) as well, answering((503, JSON, b"")) as sick:
            urls = {"a.example.com": sick.url, "b.example.com": well.url, "c.example.com": sick.url}
            stack(
                {
                    "upstreams": {
                        host: {"remoteUrl": url, "port": 5010 + number}
                        for number, (host, url) in enumerate(urls.items())
                    }
                }
            )
            assert list(upstreams_asked.reasons("dev")) == ["a.example.com", "c.example.com"]
            (reason,) = upstreams_asked.reasons("dev", ["b.example.com", "c.example.com"]).values()
        assert "503" in reason

    def test_offline_asks_nobody(self, stack):
        stack({"offline": True})
        assert upstreams_asked.reasons("dev") == {}

    def test_none_of_these(self, stack):
        stack({})
        assert upstreams_asked.reasons("dev", []) == {}
