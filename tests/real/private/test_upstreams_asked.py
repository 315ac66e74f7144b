"""Upstreams that are asked without credentials: what is wrong is named, with what to do."""

import json
import re
import socket
import threading
import time
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import httpx
import pytest

from ops.docker import docker_config
from ops.engine import cli
from ops.errors import OpsError
from ops.registry import ping, readiness, upstream_credentials, upstream_transport, upstreams_asked
from ops.registry.fetch import NO_BLOB, NOBODYS
from ops.registry.upstream_credentials import ask, ask_all
from ops.registry.upstreams_asked import Found
from ops.registry.verdicts import (
    Accepted,
    Question,
    Refused,
    Unreachable,
    Untrusted,
    Useless,
)
from ops.stack import stack_files
from plan.settings.credentials import Credentials
from plan.upstreams import KNOWN
from tests.fakes import token_service
from tests.fakes.token_service import TokenService
from tests.real.private import registry_process
from tests.real.private.test_upstream_login import answering, bearer
from tests.unit.plan.shapes import planned

HOST = "team.example.com"
SET = """pulumi config set --secret --path 'credentials["team.example.com"].username'"""
JSON = [("Content-Type", "application/json")]
PAGE = [("Content-Type", "text/html; charset=utf-8")]
LOGIN = {"credentials": Credentials(username="me", password="hunter2")}
OPEN = (200, JSON, b"{}")
NOT_FOUND = (404, JSON, b'{"errors":[{"code":"NAME_UNKNOWN"}]}')
TOKEN = b'{"token":"a-token"}'


def verdict_on(url, host=HOST, **more):
    return ask(Question(host=host, remote_url=url, **more))


@pytest.fixture
def known(monkeypatch):
    """Put a known upstream, such as docker.io, at this URL."""

    def at(host, url):
        monkeypatch.setitem(KNOWN, host, replace(KNOWN[host], remote_url=url))

    return at


def of(**answers):
    """Answers by what is asked for: `v2`, `token`, `manifest`, `blob`; others are not found."""

    def answer(request):
        kind = "v2" if request.path == "/v2/" else request.path.split("/")[1].partition("?")[0]
        if "/manifests/" in request.path:
            kind = "manifest"
        if "/blobs/" in request.path:
            kind = "blob"
        said = answers.get(kind, NOT_FOUND)
        return said(request) if callable(said) else said

    return answer


def wants_token(request):
    return bearer(f"http://{request.headers['Host']}/token")


def with_token(answer):
    """`answer` to a request with one."""
    return lambda request: answer if request.headers.get("Authorization") else wants_token(request)


def with_login(answer):
    """`answer` to a request with a user name."""
    asks = (401, [("WWW-Authenticate", 'Basic realm="team"')], b"")
    return lambda request: answer if request.headers.get("Authorization") else asks


def quay(public=(), token=(200, JSON, TOKEN)):
    """Quay's answers, as its `endpoints/v2` makes them, if it has these public repositories.

    To `/v2/` it says `true`, which Flask calls a web page; and how to log in, also at 200. There an
    anonymous token is not a login. What does not exist wants one, and so does what is private.
    """

    def challenge(request, scope=""):
        here = f"http://{request.headers['Host']}"
        asks = f'Bearer realm="{here}/v2/auth",service="quay.example.com"{scope}'
        return [("WWW-Authenticate", asks), ("Docker-Distribution-API-Version", "registry/2.0")]

    def answer(request):
        path = request.path.partition("?")[0]
        who = request.headers.get("Authorization", "")
        if path == "/v2/auth":
            somebody = (200, JSON, b'{"token":"somebodys"}')
            return somebody if who.startswith("Basic ") else token
        if path == "/v2/":
            known = who == "Bearer somebodys"
            return 200 if known else 401, [*PAGE, *challenge(request)], b"true"
        repository = path.removeprefix("/v2/").partition("/manifests/")[0]
        if repository in public:
            return 200, [("Content-Type", "application/vnd.oci.image.index.v1+json")], b"{}"
        said = b'{"errors":[{"code":"UNAUTHORIZED","detail":{},"message":"access to the requested '
        said += b'resource is not authorized"}]}\n'
        return 401, [*JSON, *challenge(request, f',scope="repository:{repository}:pull"')], said

    return answer


class TestWell:
    @pytest.mark.parametrize("host", [HOST, "quay.io"])
    def test_quay_for_who_has_an_account(self, host, known):
        with answering(quay(["prometheus/busybox"])) as upstream:
            known("quay.io", upstream.url)
            verdict = verdict_on(upstream.url, host, **LOGIN)
        assert verdict == Accepted(host=host)

    def test_quays_own_for_everybody(self, known):
        with answering(quay(["prometheus/busybox"])) as upstream:
            known("quay.io", upstream.url)
            assert verdict_on(upstream.url, "quay.io") == Accepted(host="quay.io")

    def test_another_quay_for_everybody(self):
        with answering(quay()) as upstream:
            assert verdict_on(upstream.url) == Accepted(host=HOST)
        methods = [method for method, _ in upstream.asked]
        assert methods == ["GET", "GET", "GET", "HEAD"]

    @pytest.mark.parametrize("status", [403, 404, 405])
    @pytest.mark.parametrize("login", [{}, LOGIN])
    def test_what_serves_images_and_nothing_else(self, status, login, known):
        asks = [("WWW-Authenticate", 'Basic realm="team"')]  # a cache looks at these only at 401
        for headers in (JSON, asks):
            answers = of(v2=(status, headers, b"{}"), manifest=OPEN)
            with answering(answers) as upstream:
                assert verdict_on(upstream.url, **login) == Accepted(host=HOST)
                known("gcr.io", upstream.url)
                assert verdict_on(upstream.url, "gcr.io", **login) == Accepted(host="gcr.io")

    @pytest.mark.parametrize("status", [403, 404, 405])
    def test_what_says_the_same_of_an_image_that_is_not_there(self, status):
        with answering((status, JSON, b"{}")) as upstream:
            assert verdict_on(upstream.url) == Accepted(host=HOST)

    @pytest.mark.parametrize("login", [{}, LOGIN])
    @pytest.mark.parametrize("status", [404, 405])
    def test_a_token_with_which_there_is_nothing_at_v2(self, status, login):
        answers = of(v2=with_token((status, JSON, b"")), token=(200, JSON, TOKEN))
        with answering(answers) as upstream:
            assert verdict_on(upstream.url, **login) == Accepted(host=HOST)

    @pytest.mark.parametrize("status", [401, 403])
    @pytest.mark.parametrize("headers", [JSON, PAGE, [("WWW-Authenticate", "Bearer error=x")]])
    def test_what_refuses_only_an_image_that_is_not_there(self, status, headers):
        answers = of(v2=wants_token, token=(200, JSON, TOKEN), manifest=(status, headers, b""))
        with answering(answers) as upstream:
            assert verdict_on(upstream.url) == Accepted(host=HOST)

    @pytest.mark.parametrize("kind", ["text/html", "text/html; charset=utf-8"])
    @pytest.mark.parametrize("body", [b"true", b"{}", b""])
    @pytest.mark.parametrize("login", [{}, LOGIN])
    def test_what_a_web_framework_calls_a_page(self, kind, body, login):
        answers = of(v2=(200, [("Content-Type", kind)], body))
        with answering(answers) as upstream:
            assert verdict_on(upstream.url, **login) == Accepted(host=HOST)

    def test_a_page_that_says_that_it_is_a_registrys(self):
        shown = [*PAGE, ("Docker-Distribution-Api-Version", "registry/2.0")]
        with answering((200, shown, b"<title>Registry</title>")) as upstream:
            assert verdict_on(upstream.url) == Accepted(host=HOST)

    @pytest.mark.parametrize("manifest", [NOT_FOUND, OPEN])
    def test_open(self, manifest):
        with answering(of(v2=OPEN, manifest=manifest)) as upstream:
            assert verdict_on(upstream.url) == Accepted(host=HOST)
        manifest = "/v2/talos-cache/question/manifests/latest"
        assert upstream.asked == [("GET", "/v2/"), ("HEAD", manifest)]

    @pytest.mark.parametrize("status", [400, 403, 405, 500])
    def test_a_name_that_an_upstream_calls_wrong_says_nothing_of_others(self, status, known):
        with answering(of(v2=OPEN, manifest=(status, JSON, b""))) as upstream:
            assert verdict_on(upstream.url) == Accepted(host=HOST)
            mirror = verdict_on(upstream.url, "registry.k8s.io")
            assert mirror == Accepted(host="registry.k8s.io"), "a mirror may have other images"
            known("registry.k8s.io", upstream.url)
            assert isinstance(verdict_on(upstream.url, "registry.k8s.io"), Useless), "it is there"

    def test_open_and_real(self, tmp_path):
        with registry_process.running(tmp_path) as registry:
            assert verdict_on(registry.url) == Accepted(host=HOST)

    def test_tokens_for_anybody(self):
        token = (200, JSON, TOKEN)
        with answering(of(v2=with_token(OPEN), token=token)) as upstream:
            assert verdict_on(upstream.url) == Accepted(host=HOST)
        manifest = "/v2/talos-cache/question/manifests/latest"
        v2, token = ("GET", "/v2/"), ("GET", "/token")
        assert upstream.asked == [v2, token, v2, ("HEAD", manifest)]
        assert "scope=repository%3Atalos-cache%2Fquestion%3Apull" in upstream.seen[1][0]
        assert upstream.seen[1][1] is None

    def test_docker_hub_is_asked_for_nothing_that_it_counts(self, known):
        self.asks_docker_hub(known)

    def test_nor_for_who_has_an_account(self, known):
        self.asks_docker_hub(known, **LOGIN)

    def asks_docker_hub(self, known, **login):
        answers = of(v2=with_token(OPEN), token=(200, JSON, TOKEN), manifest=OPEN)
        with answering(answers) as upstream:
            known("docker.io", upstream.url)
            verdict = verdict_on(upstream.url, "docker.io", **login)
        assert verdict == Accepted(host="docker.io")
        manifest = ("HEAD", "/v2/ratelimitpreview/test/manifests/latest")
        v2, token = ("GET", "/v2/"), ("GET", "/token")
        assert upstream.asked == [v2, token, v2, manifest]
        assert "scope=repository%3Aratelimitpreview%2Ftest%3Apull" in upstream.seen[1][0]
        assert upstream.seen[3][1] == "Bearer a-token"

    def test_what_gives_nobody_a_token_that_opens_v2(self):
        answers = of(v2=wants_token, token=(200, JSON, TOKEN))
        with answering(answers) as upstream:
            assert verdict_on(upstream.url) == Accepted(host=HOST)
        manifest = "/v2/talos-cache/question/manifests/latest"
        v2 = ("GET", "/v2/")
        assert upstream.asked == [v2, ("GET", "/token"), v2, ("HEAD", manifest)]
        assert upstream.seen[3][1] == "Bearer a-token"

    @pytest.mark.parametrize("v2", [OPEN, wants_token])
    @pytest.mark.parametrize("status", [200, 400, 404, 405, 500])
    def test_below_a_path_no_manifest_is_asked_for(self, v2, status):
        blob = (status, JSON, b"")
        with answering(of(v2=v2, token=(200, JSON, TOKEN), blob=blob)) as upstream:
            assert verdict_on(upstream.url, path_prefix="proxy-docker.io") == Accepted(host=HOST)
        asked = [(method, path) for method, path in upstream.asked if method == "HEAD"]
        assert asked == [("HEAD", f"/v2/proxy-docker.io/{NO_BLOB}")], "Harbor would fetch others"
        if v2 is wants_token:
            scope = "scope=repository%3Aproxy-docker.io%2Flibrary%2Ftalos-cache%3Apull"
            assert scope in upstream.seen[1][0]
            assert len(upstream.asked) == 4


class TestUseless:
    @pytest.fixture(autouse=True)
    def is_known(self, known):
        self.known = known

    def useless(self, answers, host=HOST, what="nothing", **more):
        with answering(answers) as upstream:
            if host in KNOWN:
                self.known(host, upstream.url)
            verdict = verdict_on(upstream.url, host, **more)
        assert isinstance(verdict, Useless)
        assert str(verdict) == f"{what} can be pulled from {host}: {verdict.reason}; {verdict.fix}"
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

    @pytest.mark.parametrize("v2", [with_token(OPEN), with_login(OPEN)], ids=["token", "basic"])
    @pytest.mark.parametrize("limited", ["v2", "manifest"])
    def test_too_many_requests_for_who_has_an_account(self, v2, limited):
        answers = {"v2": v2, "token": (200, JSON, TOKEN), limited: (429, JSON, b"")}
        verdict = self.useless(of(**answers), "docker.io", **LOGIN)
        assert "(429)" in verdict.reason
        assert verdict.fix == "wait, or use an account there that has a higher limit"

    @pytest.mark.parametrize("v2", [with_token(OPEN), with_login(OPEN)], ids=["token", "basic"])
    @pytest.mark.parametrize("status", [401, 403])
    def test_credentials_that_are_right_and_do_not_open_what_anybody_may_pull(self, v2, status):
        answers = of(v2=v2, token=(200, JSON, TOKEN), manifest=(status, JSON, b""))
        verdict = self.useless(answers, "docker.io", "not everything", **LOGIN)
        assert "it accepts the credentials" in verdict.reason
        assert f"refuses ratelimitpreview/test, which is public ({status})" in verdict.reason
        assert verdict.fix.endswith('correct credentials["docker.io"]')

    @pytest.mark.parametrize("status", [401, 403])
    def test_credentials_that_get_no_token_for_what_anybody_may_pull(self, status):
        def token(request):
            return (status, JSON, b"") if "scope" in request.path else (200, JSON, TOKEN)

        answers = of(v2=with_token(OPEN), token=token, manifest=wants_token)
        verdict = self.useless(answers, "docker.io", "not everything", **LOGIN)
        assert "it accepts the credentials" in verdict.reason

    @pytest.mark.parametrize("status", [401, 403])
    def test_credentials_that_are_never_sent(self, status):
        answers = of(v2=OPEN, manifest=(status, JSON, b""))
        verdict = self.useless(answers, "docker.io", **LOGIN)
        assert "the credentials are not used" in verdict.reason

    @pytest.mark.parametrize("status", [500, 502, 503])
    def test_sick(self, status):
        verdict = self.useless((status, PAGE, b"<title>Down</title><p>for maintenance"))
        assert verdict.reason == f'it answers with status {status}: a web page, "Down"'
        assert verdict.fix.startswith("wait")

    def test_forbidden(self):
        said = b'{"errors":[{"code":"DENIED","message":"not from your country"}]}'
        verdict = self.useless((403, JSON, said), "quay.io")
        assert verdict.reason == "it refuses this machine (403): not from your country"
        assert "upstreamProxy" in verdict.fix
        assert 'credentials["quay.io"]' in verdict.fix

    @pytest.mark.parametrize("status", [403, 404, 405])
    def test_neither_v2_nor_images(self, status):
        known = of(v2=(status, JSON, b"{}"), manifest=(503, JSON, b""))
        assert "503" in self.useless(known, "quay.io").reason
        others = of(v2=(status, JSON, b"{}"), manifest=(401, JSON, b""))
        assert "manifests (401)" in self.useless(others).reason

    @pytest.mark.parametrize("status", [403, 404, 405])
    def test_a_page_in_place_of_a_registry(self, status):
        verdict = self.useless((status, PAGE, b"<title>Not here</title>"))
        assert "web page" in verdict.reason

    @pytest.mark.parametrize("status", [200, 401, 403])
    @pytest.mark.parametrize(
        ("headers", "body"),
        [
            (PAGE, b"\xef\xbb\xbf\r\n<p>Welcome"),
            ([], b"\n<!doctype html><title>Log in</title>"),
        ],
    )
    def test_a_login_page(self, status, headers, body):
        verdict = self.useless((status, headers, body))
        assert "web page" in verdict.reason
        assert "open it in a browser and log in" in verdict.fix
        assert f"upstreams.{HOST}.remoteUrl" in verdict.fix

    @pytest.mark.parametrize("login", [{}, LOGIN])
    @pytest.mark.parametrize("body", [b"<title>Log in</title>", b""])
    @pytest.mark.parametrize("sick", ["v2", "manifest"])
    def test_a_network_that_says_that_it_wants_a_login(self, login, body, sick):
        verdict = self.useless(of(**{"v2": OPEN, sick: (511, PAGE, body)}), **login)
        assert "(511)" in verdict.reason or "status 511" in verdict.reason
        assert "open it in a browser and log in" in verdict.fix

    def test_a_login_page_instead_of_tokens(self):
        verdict = self.useless(of(v2=wants_token, token=(200, PAGE, b"<title>Log in</title>")))
        assert "its token service answers with a web page" in verdict.reason
        assert "open it in a browser and log in" in verdict.fix

    def test_the_page_of_a_web_server_that_wants_a_login_is_no_networks(self):
        challenge = [("WWW-Authenticate", 'Basic realm="team"'), *PAGE]
        verdict = self.useless((401, challenge, b"<html><title>401 Authorization Required"))
        assert verdict.reason.startswith("it wants a login (401)")
        assert SET in verdict.fix

    def test_a_redirect_to_a_login_page(self):
        with answering((200, PAGE, b"<html>who are you?</html>")) as portal:
            verdict = self.useless((302, [("Location", f"{portal.url}/login")], b""))
            where = portal.url.removeprefix("http://")
        assert f"(from {where})" in verdict.reason

    def test_a_login_page_instead_of_manifests(self):
        assert "web page" in self.useless(of(v2=OPEN, manifest=(200, PAGE, b""))).reason

    def test_a_login_page_for_who_has_an_account(self):
        verdict = self.useless((200, PAGE, b"<html>"), **LOGIN)
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

    @pytest.mark.parametrize("status", [401, 403])
    def test_a_token_for_nobody_that_does_not_open_what_is_there(self, status):
        refuses = (status, [("WWW-Authenticate", 'Bearer error="insufficient_scope"')], b"")
        answers = of(v2=wants_token, token=(200, JSON, TOKEN), manifest=refuses)
        verdict = self.useless(answers, "registry.k8s.io")
        assert f"({status})" in verdict.reason
        assert 'credentials["registry.k8s.io"]' in verdict.fix

    @pytest.mark.parametrize("host", [HOST, "quay.io"])
    def test_a_quay_that_gives_nobody_a_token(self, host):
        said = b'{"error":"Anonymous access is not allowed"}'
        verdict = self.useless(quay(token=(401, JSON, said)), host)
        assert "its token service gives no token without a login (401)" in verdict.reason

    @pytest.mark.parametrize("v2", [OPEN, wants_token])
    @pytest.mark.parametrize("status", [429, 503, 511])
    def test_sick_below_a_path(self, v2, status):
        answers = of(v2=v2, token=(200, JSON, TOKEN), blob=(status, JSON, b""))
        assert f"{status}" in self.useless(answers, path_prefix="proxy-docker.io").reason

    @pytest.mark.parametrize("status", [401, 403])
    def test_a_login_that_may_not_pull_below_a_path(self, status):
        def v2(request):
            known = request.headers.get("Authorization")
            return OPEN if known else (401, [("WWW-Authenticate", "Basic realm=x")], b"")

        login = {**LOGIN, "path_prefix": "team"}
        with answering(of(v2=v2, blob=(status, JSON, b""))) as upstream:
            verdict = verdict_on(upstream.url, **login)
            assert upstream.seen[-1] == (f"/v2/team/{NO_BLOB}", upstream.seen[1][1])
        assert isinstance(verdict, Refused)
        assert "below team" in verdict.reason
        fix = f'correct credentials["{HOST}"], or correct upstreams.{HOST}.pathPrefix'
        assert verdict.fix == fix
        with answering(of(v2=v2)) as upstream:
            assert verdict_on(upstream.url, **login) == Accepted(host=HOST)

    @pytest.mark.parametrize("login", [{}, LOGIN])
    @pytest.mark.parametrize("status", [401, 403])
    def test_refused_below_a_path_where_v2_is_open(self, status, login):
        answers = of(v2=OPEN, blob=(status, JSON, b""))
        verdict = self.useless(answers, path_prefix="team", **login)
        assert ("credentials are not used" in str(verdict)) is bool(login)

    def test_refused_below_a_path_as_at_v2(self):
        """The cache sends no credentials, because it is not asked for any."""
        refuses = (403, JSON, b"")
        verdict = self.useless(of(v2=refuses, blob=refuses), path_prefix="team", **LOGIN)
        assert "credentials are not used" in verdict.reason

    @pytest.mark.parametrize("v2", [with_token, with_login])
    def test_a_login_that_is_refused_at_v2_only(self, v2):
        answers = of(v2=v2((403, JSON, b"")), token=(200, JSON, TOKEN), manifest=NOT_FOUND)
        with answering(answers) as upstream:
            verdict = verdict_on(upstream.url, **LOGIN)
        assert isinstance(verdict, Refused)
        assert verdict.reason.startswith("(403)")

    def test_a_token_service_elsewhere(self):
        verdict = self.useless(bearer("https://tokens.example.org/token"))
        assert "https://tokens.example.org is not in its own domain" in verdict.reason
        assert "pulumi config" not in verdict.fix, "credentials would not help"

    def test_another_way_to_log_in(self):
        verdict = self.useless((401, [("WWW-Authenticate", "Negotiate")], b""))
        assert "negotiate" in verdict.reason
        assert "pulumi config" not in verdict.fix

    @pytest.mark.parametrize("login", [{}, LOGIN])
    def test_a_login_for_manifests_only(self, login):
        verdict = self.useless(of(v2=OPEN, manifest=wants_token), **login)
        assert "a login for manifests (401) but does not say so at /v2/" in verdict.reason
        assert ("credentials are not used" in verdict.reason) is bool(login)
        assert "pulumi config" not in verdict.fix


def test_a_ca_that_nobody_has_named(tmp_path, authority):
    tls = authority.server("127.0.0.1")
    with registry_process.running(tmp_path, tls=tls) as registry:
        verdict = verdict_on(registry.url)
        assert isinstance(verdict, Untrusted)
        assert f"upstreams.{HOST}.ca" in verdict.fix
        assert verdict_on(registry.url, ca_pem=authority.pem) == Accepted(host=HOST)


def test_a_real_token_service_that_knows_nobody(tmp_path):
    with token_service.running(tmp_path, TokenService(accounts={})) as upstream:
        assert "no token without a login (401)" in str(verdict_on(upstream.url))


class TestPatience:
    def test_no_one_waits_long_for_a_name(self, monkeypatch):
        monkeypatch.setattr(upstream_credentials, "PATIENCE_SECONDS", 0.3)
        over = threading.Event()
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: over.wait(60) and [])
        url = "http://nobody.example.com"
        questions = [Question(host=f"{n}.example.com", remote_url=url) for n in range(40)]
        started = time.monotonic()
        verdicts = ask_all(questions)
        seconds = time.monotonic() - started
        over.set()
        assert [one.host for one in verdicts] == [one.host for one in questions]
        assert {(type(one), one.reason) for one in verdicts} == {
            (Unreachable, "no answer within 0.3 s")
        }
        assert seconds < 5, "side by side"

    @pytest.mark.parametrize("login", [{}, LOGIN])
    def test_a_slow_line_is_not_silence(self, monkeypatch, login):
        for name in ("PATIENCE_SECONDS", "LOGIN_PATIENCE_SECONDS"):
            monkeypatch.setattr(upstream_credentials, name, 0.5)

        def drip(request):
            time.sleep(0.3)
            return OPEN

        with answering(drip) as upstream:
            verdict = ask_all([Question(host=HOST, remote_url=upstream.url, **login)])[0]
        assert isinstance(verdict, Unreachable)
        assert verdict.reason == "no answer within 0.5 s"

    def test_silence_is_noticed_before_patience_ends(self):
        assert upstream_transport.STEP_SECONDS < upstream_credentials.PATIENCE_SECONDS
        assert upstream_transport.LOGIN_STEP_SECONDS < upstream_credentials.LOGIN_PATIENCE_SECONDS

    def test_what_goes_wrong_is_raised(self):
        with pytest.raises(ValueError, match="no certificates"):
            ask_all([Question(host=HOST, remote_url="https://127.0.0.1:1", ca_pem="nothing")])


class TestUp:
    """What `readiness.not_ready` says, for caches that answer."""

    @pytest.fixture(autouse=True)
    def caches_answer(self, monkeypatch):
        monkeypatch.setattr(readiness, "wait_for_answer", lambda *_: None)

    def said(self, url, **more):
        config = {"upstreams": {HOST: {"remoteUrl": url, "port": 5010}}, **more}
        told = []
        return readiness.not_ready(planned(config).caches, told.append), told

    @pytest.fixture(autouse=True)
    def not_loopback(self, monkeypatch):
        """The servers of these tests are on loopback; a stack's never are."""
        monkeypatch.setattr("plan.loopback.is_loopback", lambda _: False)

    def test_all_is_well(self):
        with answering(of(v2=OPEN)) as upstream:
            assert self.said(upstream.url) == (None, [])
        assert [method for method, path in upstream.asked if "manifests" in path] == ["HEAD"]
        assert len(upstream.asked) == 2, "one question"

    def test_what_is_not_is_a_warning(self):
        with answering((503, JSON, b"")) as upstream:
            failed, told = self.said(upstream.url)
        assert failed is None
        (warning,) = told
        assert "503" in warning

    def test_no_network_is_not_worth_a_word(self):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            url = f"http://127.0.0.1:{taken.getsockname()[1]}"
            assert self.said(url) == (None, [])

    @pytest.mark.parametrize("location", ["/v2/", "ftp://127.0.0.1/"])
    def test_one_who_answers_and_can_never_serve_is(self, location):
        with answering((307, [("Location", location)], b"")) as upstream:
            failed, (warning,) = self.said(upstream.url)
        assert failed is None
        assert warning.startswith(f"nothing can be pulled from {HOST}: ")

    def test_so_is_silence(self, monkeypatch):
        monkeypatch.setattr(upstream_transport, "STEP_SECONDS", 0.5)
        with socket.create_server(("127.0.0.1", 0)) as listening:
            failed, (warning,) = self.said(f"https://127.0.0.1:{listening.getsockname()[1]}")
        assert failed is None
        assert "does not answer within 0.5 s; wait" in warning, "without a network no one connects"

    def test_no_network_is_where_there_are_credentials(self):
        login = {HOST: {"username": "me", "password": "hunter2"}}
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            url = f"http://127.0.0.1:{taken.getsockname()[1]}"
            failed, told = self.said(url, credentials=login)
        assert failed is None
        assert "refused" in told[0]

    def test_wrong_credentials_fail(self):
        login = {HOST: {"username": "me", "password": "hunter2"}}
        challenge = [("WWW-Authenticate", 'Basic realm="team"')]
        with answering((401, challenge, b"")) as upstream:
            failed, told = self.said(upstream.url, credentials=login)
        assert "refuses the credentials" in failed
        assert failed.endswith('; correct credentials["team.example.com"]')
        assert told == []

    def test_wrong_credentials_of_dockers_fail(self):
        login = Credentials(username="me", password="hunter2")
        challenge = [("WWW-Authenticate", 'Basic realm="team"')]
        with answering((401, challenge, b"")) as upstream:
            hosts = {HOST: {"remoteUrl": upstream.url, "port": 5010}}
            hosts[HOST]["credentialsFrom"] = "docker-config"
            caches = [
                replace(plan, credentials=login) for plan in planned({"upstreams": hosts}).caches
            ]
            failed = readiness.not_ready(caches, pytest.fail)
        assert failed.endswith("; run docker login team.example.com")

    def test_offline_asks_nobody(self):
        with answering(OPEN) as upstream:
            assert self.said(upstream.url, offline=True) == (None, [])
        assert upstream.asked == []


@pytest.mark.parametrize("login", [False, True], ids=["nobody", "login"])
def test_an_up_that_changes_nothing_asks_each_upstream_one_question(monkeypatch, known, login):
    monkeypatch.setattr("plan.loopback.is_loopback", lambda _: False)
    hosts = {"docker.io": {}, HOST: {}, "harbor.example.com": {"pathPrefix": "proxy-docker.io"}}
    basic = [("WWW-Authenticate", 'Basic realm="team"')]
    answers = of(v2=with_token(OPEN), token=(200, JSON, TOKEN))
    with ExitStack() as running:
        upstreams = {host: running.enter_context(answering(answers)) for host in hosts}
        caches = {host: running.enter_context(answering((401, basic, b""))) for host in hosts}
        known("docker.io", upstreams["docker.io"].url)
        config = {
            host: {
                "remoteUrl": upstreams[host].url,
                "port": caches[host].server_address[1],
                **more,
            }
            for host, more in hosts.items()
        }
        who = {"username": "me", "password": "hunter2"}
        secrets = {"credentials": dict.fromkeys(hosts, who)} if login else {}
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
    @pytest.fixture
    def stack(self, monkeypatch, tmp_path):
        """Write the stack's file; nothing in it can be decrypted."""

        def locked(*_):
            raise OpsError("incorrect passphrase")

        monkeypatch.setattr(cli, "output", locked)

        def make(config):
            file = tmp_path / "Pulumi.mine.yaml"
            named = {f"talos-cache:{key}": value for key, value in config.items()}
            file.write_text(json.dumps({"config": named}))
            monkeypatch.setattr(stack_files, "path_of", lambda _: file)

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
            assert list(upstreams_asked.found("mine").sick) == ["a.example.com", "c.example.com"]
            found = upstreams_asked.found("mine", ["b.example.com", "c.example.com"])
            (reason,) = found.sick.values()
        assert "503" in reason

    def test_offline_asks_nobody(self, stack):
        stack({"offline": True})
        assert upstreams_asked.found("mine") == Found()

    def test_none_of_these(self, stack):
        stack({})
        assert upstreams_asked.found("mine", []) == Found()

    @pytest.mark.parametrize("where", ["credentials", "docker"])
    def test_credentials_of_others_keep_nobody_from_being_asked(self, stack, monkeypatch, where):
        def missing(host):
            raise OpsError(f"no login for {host}")

        monkeypatch.setattr(docker_config, "credentials_for", missing)
        secret = {"secure": "v1:abc"}
        login = {"username": secret, "password": secret}
        others = {
            "credentials": ({}, {"credentials": {"b.example.com": login}, "cacheLogin": login}),
            "docker": ({"credentialsFrom": "docker-config"}, {}),
        }
        other, more = others[where]
        with answering((503, JSON, b"")) as sick:
            at = {"remoteUrl": sick.url}
            hosts = {
                "a.example.com": {**at, "port": 5010},
                "b.example.com": {**at, **other, "port": 5011},
            }
            stack({"upstreams": hosts, **more})
            assert list(upstreams_asked.found("mine", ["a.example.com"]).sick) == ["a.example.com"]
            with pytest.raises(OpsError):
                upstreams_asked.found("mine")

    def test_what_to_do_about_a_login_of_dockers(self, stack, monkeypatch):
        login = Credentials(username="me", password="hunter2")
        monkeypatch.setattr(docker_config, "credentials_for", lambda _: login)
        with answering((401, [("WWW-Authenticate", 'Basic realm="team"')], b"")) as upstream:
            at = {"remoteUrl": upstream.url, "port": 5010, "credentialsFrom": "docker-config"}
            stack({"upstreams": {HOST: at}})
            reason = upstreams_asked.found("mine").sick[HOST]
        assert reason.endswith("(401): Unauthorized; run docker login team.example.com")


@pytest.fixture
def deaf(tmp_path, monkeypatch):
    """A real cache, first of an upstream that wants a login, then of what became of it."""
    monkeypatch.setattr("plan.loopback.is_loopback", lambda _: False)
    helper = tmp_path / "anonymous"
    helper.write_text('#!/bin/sh\necho \'{"ServerURL":"x","Username":"","Secret":""}\'\n')
    helper.chmod(0o755)
    moods = {"now": wants_token}

    def answer(request):
        return moods["now"](request)

    def opened(password):
        """The stack's secret, decrypted."""
        value = json.dumps({"username": "me", "password": password})
        shown = json.dumps({"talos-cache:cacheLogin": {"value": value, "secret": True}})
        monkeypatch.setattr(cli, "output", lambda *_: shown)

    @contextmanager
    def cache(asked_before=True, login=None, knows="", tls=None, now=NOT_FOUND):
        auth = login and registry_process.htpasswd(tmp_path / "htpasswd", {"me": login})
        with answering(answer) as upstream:
            proxy = {"remoteurl": upstream.url, "exec": {"command": str(helper)}}
            more = {"auth": auth, "tls": tls, "sections": {"proxy": proxy}}
            with registry_process.running(tmp_path / "cache", **more) as running:
                if asked_before:
                    url = f"{running.url}/v2/team/app/manifests/1"
                    auth = ("me", login) if login else None
                    httpx.get(url, auth=auth, verify=False)  # it is on loopback
                moods["now"] = of(v2=OPEN, blob=now, manifest=NOT_FOUND)
                at = {"remoteUrl": upstream.url, "port": running.port}
                config = {"upstreams": {HOST: at}}
                if tls:
                    config["cache"] = {"tls": True}
                if login:
                    opened(knows or login)
                    secret = {"secure": "v1:abc"}
                    config["cacheLogin"] = {"username": secret, "password": secret}
                file = tmp_path / "Pulumi.mine.yaml"
                named = {f"talos-cache:{key}": value for key, value in config.items()}
                file.write_text(json.dumps({"config": named}))
                monkeypatch.setattr(stack_files, "path_of", lambda _: file)
                upstream.asked.clear()
                yield upstream

    return cache


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

    def test_a_login_that_can_not_be_read_keeps_no_upstream_from_being_asked(
        self, deaf, monkeypatch
    ):
        def locked(*_):
            raise OpsError("incorrect passphrase")

        with deaf(login="hunter2") as upstream:
            monkeypatch.setattr(cli, "output", locked)
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
LACKS_WITH_TOKEN = of(v2=with_token(OPEN), token=(200, JSON, TOKEN), blob=with_token(NOT_FOUND))


class TestWhoLacksNobodysBlob:
    @pytest.mark.parametrize(
        ("answers", "more"),
        [
            (LACKS, {}),
            (LACKS, {"path_prefix": "proxy"}),
            (LACKS_WITH_LOGIN, LOGIN),
            (LACKS_WITH_TOKEN, {}),
            (LACKS_WITH_TOKEN, LOGIN),
        ],
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
    )
    def test_from_which_nothing_comes(self, answers):
        with answering(answers) as upstream:
            question = Question(host=HOST, remote_url=upstream.url)
            assert not upstream_credentials.lacks_nobodys_blob(question, "team/app")
