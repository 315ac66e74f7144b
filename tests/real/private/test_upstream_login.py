"""What upstreams say to credentials: real registries with basic and with token authentication.

The token service and the proxy are fakes (tests/fakes/token_service.py, forward_proxy.py).
"""

import base64
import html
import json
import socket
import ssl
import threading
import time
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar
from urllib.parse import quote

import pytest

from ops.registry import upstream_transport, upstream_trouble
from ops.registry.upstream_credentials import ask, ask_all
from ops.registry.upstream_transport import context
from ops.registry.verdicts import (
    Accepted,
    Question,
    Refused,
    Unreachable,
    Untrusted,
    Useless,
)
from plan.settings.caches import UpstreamProxy
from plan.settings.credentials import Credentials
from tests.fakes import forward_proxy, token_service
from tests.fakes.token_service import DENIED, WRONG, TokenService
from tests.real.private import registry_process
from tests.real.private.authority import Authority

HOST, ALICE, PASSWORD = "private.test", "alice", 'ge/heim+ &"<1>'
NAME = "registry.private.test"
SILENT = "it accepts connections but does not answer within 0.5 s"
LONG_LABEL = f"http://{'a' * 64}.test/"


def question(url, password=PASSWORD, username=ALICE, **more):
    login = Credentials(username=username, password=password)
    return Question(host=HOST, remote_url=url, credentials=login, **more)


def refused(status, message):
    """Of these credentials."""
    fix = f'correct credentials["{HOST}"]'
    return Refused(host=HOST, reason=f"({status}): {message}", fix=fix)


def through(proxy, *no_proxy):
    return UpstreamProxy(url=proxy, no_proxy=no_proxy)


def verdict_on(*args, **kwargs):
    """The verdict; it never has the password in it."""
    asked = question(*args, **kwargs)
    verdict = ask(asked)
    assert asked.credentials.password not in f"{verdict} {verdict!r} {asked!r}"
    return verdict


@pytest.fixture(scope="module")
def basic(tmp_path_factory, authority):
    """A registry with basic authentication over TLS, and the file of its accounts."""
    folder = tmp_path_factory.mktemp("basic")
    auth = registry_process.htpasswd(folder / "htpasswd", {ALICE: PASSWORD})
    tls = authority.server("127.0.0.1")
    with registry_process.running(folder, auth=auth, tls=tls) as registry:
        yield registry, folder / "htpasswd"


@pytest.fixture(scope="module")
def behind_tokens(tmp_path_factory, authority):
    tokens = TokenService(accounts={})
    tls = authority.server("127.0.0.1", NAME)
    with token_service.running(tmp_path_factory.mktemp("token"), tokens, tls=tls) as upstream:
        yield upstream


@pytest.fixture
def tokens(behind_tokens):
    """The service, as it is before each test."""
    service = behind_tokens.tokens
    service.accounts, service.denied = {ALICE: PASSWORD}, set()
    service.expires_in, service.echo = 300, False
    service.issued.clear()
    behind_tokens.asked.clear()
    return service


@contextmanager
def taking(serve):
    """The address of a server that passes each connection to `serve`, which closes it."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def accept():
            with suppress(OSError):  # the end of it
                while True:
                    serve(listening.accept()[0])

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield f"127.0.0.1:{listening.getsockname()[1]}"
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join()


@contextmanager
def answering(answer):
    """A web server that answers every request with (status, headers, body); notes what it was sent.

    In `seen` paths and logins, in `asked` methods and paths.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.do_GET()

        def do_GET(self):
            server.seen.append((self.path, self.headers.get("Authorization")))
            server.asked.append((self.command, self.path.partition("?")[0]))
            status, headers, body = answer(self) if callable(answer) else answer
            self.send_response(status)
            for name, value in headers:
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, *_):
            """Nothing to standard error."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.seen, server.asked = [], []
    server.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def bearer(realm):
    return 401, [("WWW-Authenticate", f'Bearer realm="{realm}",service="s"')], b""


class TestBasic:
    def test_right(self, basic, authority):
        assert verdict_on(basic[0].url, ca_pem=authority.pem) == Accepted(host=HOST)

    @pytest.mark.parametrize("username", [ALICE, "nobody"])
    def test_wrong(self, basic, authority, username):
        verdict = verdict_on(basic[0].url, "wrong", username, ca_pem=authority.pem)
        assert verdict == refused(401, "authentication required")
        said = f"{HOST} refuses the credentials (401): authentication required"
        assert str(verdict) == f'{said}; correct credentials["{HOST}"]'
        dockers = {"ca_pem": authority.pem, "from_docker": True}
        verdict = verdict_on(basic[0].url, "wrong", username, **dockers)
        assert str(verdict) == f"{said}; run docker login {HOST}"

    def test_rotated_and_then_disabled(self, basic, authority):
        registry, accounts = basic
        try:
            registry_process.write_accounts(accounts, {ALICE: "fresh"})
            assert isinstance(verdict_on(registry.url, ca_pem=authority.pem), Refused)
            assert isinstance(verdict_on(registry.url, "fresh", ca_pem=authority.pem), Accepted)
            registry_process.write_accounts(accounts, {"bob": PASSWORD})
            assert isinstance(verdict_on(registry.url, "fresh", ca_pem=authority.pem), Refused)
        finally:
            registry_process.write_accounts(accounts, {ALICE: PASSWORD})

    def test_without_tls(self, tmp_path):
        auth = registry_process.htpasswd(tmp_path / "htpasswd", {ALICE: PASSWORD})
        with registry_process.running(tmp_path, auth=auth) as registry:
            assert verdict_on(registry.url) == Accepted(host=HOST)
            assert isinstance(verdict_on(registry.url, "wrong"), Refused)

    def test_an_upstream_that_asks_nobody(self, tmp_path):
        with registry_process.running(tmp_path) as registry:
            assert verdict_on(registry.url) == Accepted(host=HOST)


class TestTokens:
    def test_right(self, behind_tokens, tokens, authority):
        assert verdict_on(behind_tokens.url, ca_pem=authority.pem) == Accepted(host=HOST)
        assert tokens.issued == [(ALICE, ())]
        image = "/v2/talos-cache/question/manifests/latest"
        assert behind_tokens.asked == ["/v2/", "/token?service=private+registry", "/v2/", image]

    @pytest.mark.parametrize("username", [ALICE, "nobody"])
    def test_wrong(self, behind_tokens, tokens, authority, username):
        verdict = verdict_on(behind_tokens.url, "wrong", username, ca_pem=authority.pem)
        assert verdict == refused(401, WRONG)
        assert tokens.issued == []

    def test_rotated_and_then_disabled(self, behind_tokens, tokens, authority):
        tokens.accounts[ALICE] = "fresh"
        assert isinstance(verdict_on(behind_tokens.url, ca_pem=authority.pem), Refused)
        assert isinstance(verdict_on(behind_tokens.url, "fresh", ca_pem=authority.pem), Accepted)
        del tokens.accounts[ALICE]
        assert isinstance(verdict_on(behind_tokens.url, "fresh", ca_pem=authority.pem), Refused)

    def test_suspended(self, behind_tokens, tokens, authority):
        tokens.denied.add(ALICE)
        verdict = verdict_on(behind_tokens.url, ca_pem=authority.pem)
        assert verdict == refused(403, DENIED)

    def test_short_lived_tokens(self, behind_tokens, tokens, authority):
        tokens.expires_in = 1
        assert isinstance(verdict_on(behind_tokens.url, ca_pem=authority.pem), Accepted)

    def test_a_token_that_the_registry_does_not_take(self, behind_tokens, tokens, authority):
        tokens.expires_in = -120
        verdict = verdict_on(behind_tokens.url, ca_pem=authority.pem)
        assert verdict == refused(401, "authentication required")
        assert tokens.issued

    def test_without_tls(self, tmp_path, tokens):
        with token_service.running(tmp_path, tokens) as upstream:
            assert verdict_on(upstream.url) == Accepted(host=HOST)

    def test_the_services_words_are_shown_without_the_password(
        self, behind_tokens, tokens, authority
    ):
        tokens.accounts, tokens.echo = {}, True
        verdict = verdict_on(behind_tokens.url, ca_pem=authority.pem)
        assert verdict.reason == f"(401): {WRONG}: Basic ******** is ********:********"


class TestRealm:
    """Where a token service may be: by the rule of the cache (`realmAllowed` in distribution)."""

    @pytest.mark.parametrize("realm", ["http://127.0.0.1:1/token", "https://auth.docker.io/token"])
    def test_elsewhere_gets_no_password(self, realm):
        with answering(bearer(realm)) as upstream:
            verdict = verdict_on(upstream.url)
            sent = [authorization for _, authorization in upstream.seen]
        assert isinstance(verdict, Refused)
        assert realm.removesuffix("/token") in verdict.reason
        assert "not in its own domain" in verdict.reason
        assert HOST in verdict.fix
        assert sent == [None]

    def test_elsewhere_of_a_real_registry(self, tmp_path, tokens, behind_tokens, authority):
        realm = f"{behind_tokens.url}/token"
        with token_service.running(tmp_path, tokens, realm=realm) as upstream:
            verdict = verdict_on(upstream.url, ca_pem=authority.pem)
        assert "not in its own domain" in verdict.reason
        assert behind_tokens.asked == []

    @pytest.mark.parametrize("realm", ["", "token", "/token", "ftp://127.0.0.1/", "http://[::1/"])
    def test_that_is_none(self, realm):
        with answering(bearer(realm)) as upstream:
            assert "names no token service" in verdict_on(upstream.url).reason

    @pytest.mark.parametrize(
        ("remote_url", "realm", "is_sent"),
        [
            ("https://registry-1.docker.io", "https://auth.docker.io/token", True),
            ("https://registry.example.co.uk", "https://auth.example.co.uk:8443/token", True),
            ("https://Registry.Example.com", "https://registry.example.com/token", True),
            ("https://a.github.io", "https://b.github.io/token", False),
            ("https://a.co.uk", "https://b.co.uk/token", False),
            ("https://example.com", "https://example.com.evil.org/token", False),
            ("https://example.com", "https://example.com@evil.org/token", False),
            ("https://10.0.0.1", "https://10.0.0.1:8443/token", False),
            ("https://10.0.0.1:8443", "https://10.0.0.1:8443/token", True),
            ("http://localhost:1", "http://localhost:2/token", False),
            ("https://[fd00::1]", "https://[fd00::1]/token", True),
            ("https://example.com", "http://example.com/token", False),
            ("http://example.com", "https://auth.example.com/token", True),
        ],
    )
    def test_whose_password_goes_where(self, remote_url, realm, is_sent):
        assert (upstream_trouble.why_not_sent(question(remote_url), realm) is None) is is_sent

    def test_the_password_does_not_leave_tls(self):
        asked = question("https://example.com")
        why = upstream_trouble.why_not_sent(asked, "http://example.com/token")
        assert "has no TLS" in why


class TestTrust:
    def test_a_ca_that_nobody_has_named(self, basic):
        verdict = verdict_on(basic[0].url)
        assert isinstance(verdict, Untrusted)
        assert "not trusted (unable to get local issuer certificate)" in str(verdict)
        assert f"upstreams.{HOST}.ca" in verdict.fix

    def test_another_ca(self, basic, tmp_path):
        verdict = verdict_on(basic[0].url, ca_pem=Authority(tmp_path).pem)
        assert isinstance(verdict, Untrusted)

    @pytest.mark.parametrize(
        ("names", "days", "fix"),
        [
            (["127.0.0.1"], -1, "renew it"),
            (["127.0.0.2"], 30, f"correct upstreams.{HOST}.remoteUrl"),
            (["localhost"], 30, f"correct upstreams.{HOST}.remoteUrl"),
        ],
    )
    def test_of_the_right_ca_but(self, tmp_path, authority, names, days, fix):
        tls = authority.server(*names, days=days)
        with registry_process.running(tmp_path, tls=tls) as registry:
            verdict = verdict_on(registry.url, ca_pem=authority.pem)
        assert isinstance(verdict, Untrusted)
        assert fix in verdict.fix

    def test_the_servers_own_certificate_can_be_trusted(self, tmp_path, authority):
        # As Go has it: no CA is needed above it.
        tls = authority.server("127.0.0.1")
        with registry_process.running(tmp_path, tls=tls) as registry:
            verdict = verdict_on(registry.url, ca_pem=tls.certificate.read_text())
        assert verdict == Accepted(host=HOST)

    def test_no_certificates_are_an_error(self):
        with pytest.raises(ValueError, match="no certificates in PEM"):
            context("not a certificate")


class TestNoAnswer:
    """It only warns: it says nothing about the credentials."""

    def test_refused(self):
        with socket.create_server(("127.0.0.1", 0)) as listening:
            port = listening.getsockname()[1]
        verdict = verdict_on(f"http://127.0.0.1:{port}")
        assert isinstance(verdict, Unreachable)
        assert verdict.reason == f"127.0.0.1:{port}: Connection refused"
        assert str(verdict).startswith(f"{HOST} could not be asked whether images")
        keys = f"upstreams.{HOST}.remoteUrl and upstreamProxy"
        assert str(verdict).endswith(f"refused; check this machine's network, {keys}")

    def test_a_name_that_nobody_knows(self):
        verdict = verdict_on("https://nowhere.invalid")
        assert isinstance(verdict, Unreachable)
        assert verdict.reason.startswith("nowhere.invalid: ")

    def test_silent(self, monkeypatch):
        monkeypatch.setattr(upstream_transport, "LOGIN_STEP_SECONDS", 0.5)
        with socket.create_server(("127.0.0.1", 0)) as listening:
            port = listening.getsockname()[1]
            for scheme in ("http", "https"):
                verdict = verdict_on(f"{scheme}://127.0.0.1:{port}")
                assert isinstance(verdict, Useless), "who is there is no lack of a network"
                assert verdict.reason == SILENT
                assert verdict.fix.endswith(f"correct upstreams.{HOST}.remoteUrl")

    def test_its_token_service_is_silent(self, monkeypatch):
        monkeypatch.setattr(upstream_transport, "LOGIN_STEP_SECONDS", 0.5)
        with socket.create_server(("127.0.0.1", 0)) as listening:
            at = f"127.0.0.1:{listening.getsockname()[1]}"

            def elsewhere(_):
                return 307, [("Location", f"http://{at}/token")], b""

            with answering(elsewhere) as upstream:
                verdict = verdict_on(upstream.url)
        assert verdict.reason == SILENT.replace("it", f"{at}, to which it redirects,", 1)

    def test_it_speaks_no_tls(self, tmp_path):
        with registry_process.running(tmp_path) as registry:
            verdict = verdict_on(registry.url.replace("http", "https"))
        assert verdict.reason == "it does not speak TLS"
        assert f"http:// in upstreams.{HOST}.remoteUrl" in verdict.fix

    def test_where_it_sends_to_speaks_no_tls(self):
        with answering((200, [], b"{}")) as other:
            elsewhere = f"{other.url}/v2/".replace("http", "https")
            with answering((307, [("Location", elsewhere)], b"")) as upstream:
                verdict = verdict_on(upstream.url)
        assert verdict.reason.endswith(", to which it redirects, does not speak TLS")
        assert "http://" not in verdict.fix

    def test_it_wants_a_certificate(self, authority):
        """It says so only when TLS has come about for this side."""
        tls = authority.server("127.0.0.1")
        wants = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        wants.load_cert_chain(tls.certificate, tls.key)
        wants.load_verify_locations(cadata=authority.pem)
        wants.verify_mode = ssl.CERT_REQUIRED

        def refuse(connection):
            with suppress(ssl.SSLError), wants.wrap_socket(connection, server_side=True):
                pytest.fail("without a certificate")

        with taking(refuse) as at:
            verdict = verdict_on(f"https://{at}", ca_pem=authority.pem)
        assert isinstance(verdict, Useless)
        assert "certificate required" in verdict.reason

    def test_it_wants_tls(self, basic):
        verdict = verdict_on(basic[0].url.replace("https", "http"))
        assert verdict.reason.endswith("Client sent an HTTP request to an HTTPS server.")
        assert isinstance(verdict, Useless)

    @pytest.mark.parametrize("status", [404, 500, 503])
    def test_sick(self, status):
        with answering((status, [], b"<h1>be back &amp; well soon</h1>")) as upstream:
            verdict = verdict_on(upstream.url)
        assert isinstance(verdict, Useless)
        reason = f'it answers with status {status}: a web page, "be back & well soon"'
        assert verdict.reason == reason

    def test_a_page_that_refuses_who_has_a_login_is_no_networks(self):
        body = b"<html><head><title>401 Authorization Required</title></head></html>"
        page = ("Content-Type", "text/html")
        challenge = ("WWW-Authenticate", 'Basic realm="team"')
        said = 'a web page, "401 Authorization Required"'
        with answering((401, [challenge, page], body)) as upstream:
            assert verdict_on(upstream.url) == refused(401, said)
        with answering((403, [page], body)) as upstream:
            assert verdict_on(upstream.url) == refused(403, said)

    def test_its_token_service_is_sick(self):
        def answer(request):
            return bearer(f"{upstream.url}/token") if request.path == "/v2/" else (503, [], b"")

        with answering(answer) as upstream:
            verdict = verdict_on(upstream.url)
        assert verdict.reason == "its token service answers with status 503: Service Unavailable"

    @pytest.mark.parametrize("said", [b"", b"[]", b"{}", b'{"token":""}', b'{"token":null}'])
    def test_its_token_service_gives_none(self, said):
        def answer(request):
            return bearer(f"{upstream.url}/token") if request.path == "/v2/" else (200, [], said)

        with answering(answer) as upstream:
            verdict = verdict_on(upstream.url)
        assert verdict.reason == "its token service answers without a token"

    @pytest.mark.parametrize(
        "where",
        ["ftp://127.0.0.1/v2/", "http://[::1", "nowhere:x", "http://a..b/", LONG_LABEL, "/v2/"],
    )
    def test_redirects_that_lead_nowhere(self, where):
        with answering((307, [("Location", where)], b"")) as upstream:
            verdict = verdict_on(upstream.url)
        assert isinstance(verdict, Useless)
        assert "does not answer as a registry does (" in verdict.reason

    @pytest.mark.parametrize(
        "said",
        [
            b"220 mail.example.com ESMTP\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nX: " + b"x" * 2_000_000,
            b"",
            b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{",
        ],
        ids=["mail", "header", "nothing", "half"],
    )
    def test_no_registry(self, said):
        def answer(connection):
            with connection, suppress(ConnectionError):
                connection.recv(1000)
                connection.sendall(said)

        with taking(answer) as at:
            verdict = verdict_on(f"http://{at}")
        assert isinstance(verdict, Useless)
        assert verdict.reason.startswith("it does not answer as a registry does (")

    def test_one_that_hangs_up_on_tls(self):
        with taking(socket.socket.close) as at:
            verdict = verdict_on(f"https://{at}")
        assert isinstance(verdict, Useless)
        assert verdict.reason.startswith("it does not answer as a registry does (")


class TestWords:
    @pytest.mark.parametrize(
        ("body", "words"),
        [
            (b'{"errors":[{"code":"DENIED","message":"no"},{"message":"never"}]}', "no; never"),
            (b'{"errors":[{"code":"DENIED"}]}', "DENIED"),
            (b'{"details":"incorrect username or password"}', "incorrect username or password"),
            (b'{"error":"invalid_grant","error_description":"locked"}', "locked"),
            (b'{"errors":"all"}', '{"errors":"all"}'),
            (b'{"errors":[]}', "Forbidden"),
            (b"[1]", "Forbidden"),
            (b"\xff\x1b[31mred\r\n\tline", "\ufffd [31mred line"),
            (b"", "Forbidden"),
            (b"{}", "Forbidden"),
            (b"x" * 1_000_000, "x" * 297 + "..."),
        ],
    )
    def test_of_a_refusal(self, body, words):
        with answering((403, [], body)) as upstream:
            assert verdict_on(upstream.url) == refused(403, words)

    @pytest.mark.parametrize(
        "password",
        [PASSWORD, "pass word", "p%C3%A4ss", "päß\\w0rd\n", 'a"b', "$2y$05$x", "tok" * 400],
    )
    def test_never_hold_the_password_in_any_dress(self, password):
        asked = question("http://unused.test", password)
        login = base64.b64encode(f"{ALICE}:{password}".encode()).decode()
        go = (
            json.dumps(password, ensure_ascii=False)[1:-1]
            .replace("&", "\\u0026")
            .replace("<", "\\u003c")
            .replace(">", "\\u003e")
        )
        dresses = {password, login, go, *map(json.dumps, (password, login))}
        dresses |= {quote(password), quote(password, safe=""), html.escape(password)}
        for one in dresses:
            cleaned = upstream_trouble.clean(f"<<{one}>>", asked)
            assert cleaned.replace('"', "").replace("\\", "") == "<<********>>"

    def test_of_a_status_that_nobody_knows(self):
        with answering((499, [], b"{}")) as upstream:
            reason = verdict_on(upstream.url).reason
        assert reason == "it answers with status 499: without a reason"

    def test_of_nobody_who_is_refused(self):
        challenge = [("WWW-Authenticate", 'Basic realm="team"')]
        with answering((401, challenge, b"{}")) as upstream:
            verdict = ask(Question(host=HOST, remote_url=upstream.url))
        assert verdict.reason == "it wants a login (401)"

    def test_are_put_on_one_line_only_without_the_password(self):
        password = "two  blanks"
        with answering((403, [], f"not {password}".encode())) as upstream:
            verdict = verdict_on(upstream.url, password)
        assert verdict.reason == "(403): not ********"

    def test_are_cut_off_behind_the_masks(self):
        asked = question("http://unused.test")
        cleaned = upstream_trouble.clean(f"{'.' * 294}{PASSWORD}", asked)
        assert cleaned == f"{'.' * 294}***..."

    @pytest.mark.parametrize("offered", ["Negotiate", "Digest realm=x, nonce=y", ""])
    def test_other_authentication(self, offered):
        with answering((401, [("WWW-Authenticate", offered)] if offered else [], b"")) as upstream:
            verdict = verdict_on(upstream.url)
        wanted = offered.partition(" ")[0].lower() or "nothing"
        assert verdict.reason.endswith(f"neither Basic nor Bearer authentication, but {wanted}")

    def test_credentials_do_not_follow_a_redirect_to_another_server(self):
        with answering((200, [], b"")) as other:
            target = f"{other.url}/v2/"

            def answer(request):
                if request.headers.get("Authorization"):
                    return 307, [("Location", target)], b""
                return 401, [("WWW-Authenticate", 'Basic realm="x"')], b""

            with answering(answer) as upstream:
                ask(question(upstream.url))
            assert {login for _, login in other.seen} == {None}


class TestProxy:
    """Names that only the proxy can resolve: what arrives has gone through it."""

    NAMES: ClassVar = {NAME: "127.0.0.1"}

    def named(self, upstream):
        return upstream.url.replace("127.0.0.1", NAME)

    def test_tls(self, behind_tokens, tokens, authority, tmp_path):
        tls = authority.server(NAME)
        with (
            token_service.running(tmp_path, tokens, name=NAME, tls=tls) as upstream,
            forward_proxy.running(self.NAMES) as proxy,
        ):
            asked = {"ca_pem": authority.pem, "proxy": through(proxy.url)}
            assert verdict_on(upstream.url, **asked) == Accepted(host=HOST)
            assert set(proxy.asked) == {f"CONNECT {upstream.url.removeprefix('https://')}"}
            assert isinstance(verdict_on(upstream.url, "wrong", **asked), Refused)
            assert isinstance(verdict_on(upstream.url, proxy=through(proxy.url)), Untrusted)

    def test_http(self, tmp_path):
        auth = registry_process.htpasswd(tmp_path / "htpasswd", {ALICE: PASSWORD})
        with (
            registry_process.running(tmp_path, auth=auth) as registry,
            forward_proxy.running(self.NAMES) as proxy,
        ):
            assert verdict_on(self.named(registry), proxy=through(proxy.url)) == Accepted(host=HOST)
            at = f"{NAME}:{registry.port}"
            assert proxy.asked == [f"GET {at}", f"GET {at}", f"HEAD {at}"]

    @pytest.mark.parametrize("no_proxy", [NAME, ".private.test"])
    def test_not_for_what_is_to_be_asked_directly(self, basic, no_proxy):
        with forward_proxy.running(self.NAMES) as proxy:
            asked = {"proxy": through(proxy.url, no_proxy)}
            verdict = verdict_on(self.named(basic[0]), **asked)
            assert proxy.asked == []
        assert isinstance(verdict, Unreachable)
        assert verdict.reason.startswith(f"{NAME}:{basic[0].port}: "), "no proxy is blamed"

    def test_the_environments_proxy_is_not_asked(self, basic, authority, monkeypatch):
        with forward_proxy.running(self.NAMES) as proxy:
            for name in ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "https_proxy", "http_proxy"):
                monkeypatch.setenv(name, proxy.url)
            assert isinstance(verdict_on(self.named(basic[0])), Unreachable)
            assert proxy.asked == []

    def test_one_that_refuses(self, basic):
        with forward_proxy.running({}) as proxy:
            verdict = verdict_on(self.named(basic[0]), proxy=through(proxy.url))
        assert isinstance(verdict, Useless), "who has no network has no proxy either"
        at = f"{NAME}:{basic[0].port}"
        proxys = proxy.url.removeprefix("http://")
        assert verdict.reason.startswith(f"the proxy {proxys} refuses connections to {at}")
        assert ": 403 " in verdict.reason
        assert verdict.fix == "correct upstreamProxy"

    def test_one_behind_which_nobody_answers(self, monkeypatch):
        monkeypatch.setattr(upstream_transport, "LOGIN_STEP_SECONDS", 0.5)
        with socket.create_server(("127.0.0.1", 0)) as listening:
            at = f"127.0.0.1:{listening.getsockname()[1]}"
            verdict = verdict_on(f"http://{NAME}", proxy=through(f"http://{at}"))
        assert verdict.reason == SILENT.replace("it", f"it through the proxy {at}", 1)
        assert verdict.fix.endswith("remoteUrl or upstreamProxy")

    def test_one_that_is_away(self, basic):
        with socket.create_server(("127.0.0.1", 0)) as listening:
            port = listening.getsockname()[1]
        verdict = verdict_on(self.named(basic[0]), proxy=through(f"http://127.0.0.1:{port}"))
        assert verdict.reason.endswith(f"through the proxy 127.0.0.1:{port}: Connection refused")

    def test_one_that_wants_a_password(self, basic):
        """A stack can't name one (docs/private.md)."""
        with forward_proxy.running(self.NAMES, login=("office", "pr0xy")) as proxy:
            verdict = verdict_on(self.named(basic[0]), proxy=through(proxy.url))
        assert "407" in verdict.reason
        assert verdict.fix == "correct upstreamProxy"


def test_many_questions_are_asked_side_by_side_and_answered_in_order(basic, authority, monkeypatch):
    monkeypatch.setattr(upstream_transport, "LOGIN_STEP_SECONDS", 1)
    with socket.create_server(("127.0.0.1", 0), backlog=20) as listening:
        silent = f"http://127.0.0.1:{listening.getsockname()[1]}"
        asked = [question(silent) for _ in range(8)]
        asked.insert(3, question(basic[0].url, ca_pem=authority.pem))
        started = time.monotonic()
        verdicts = ask_all(asked)
        assert time.monotonic() - started < 5
    kinds = [type(verdict) for verdict in verdicts]
    assert kinds == [Useless] * 3 + [Accepted] + [Useless] * 5
