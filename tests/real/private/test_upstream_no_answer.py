"""Upstreams that are not trusted, do not answer, or answer as no registry does; and proxies."""

import socket
import ssl
import threading
import time
from contextlib import suppress
from typing import ClassVar

import pytest

from ops.registry import upstream_credentials, upstream_transport
from ops.registry.upstream_credentials import ask, ask_all
from ops.registry.verdicts import Accepted, Question, Refused, Unreachable, Untrusted, Useless
from plan.settings.caches import UpstreamProxy
from tests.fakes import forward_proxy, token_service
from tests.fakes.token_service import TokenService
from tests.fakes.web_server import answering
from tests.real.private import registry_process
from tests.real.private.authority import Authority
from tests.real.private.upstream_answers import (
    BASIC,
    OPEN,
    of,
    refusing,
    silent,
    taking,
    wants_token,
)
from tests.real.private.upstream_logins import (
    ALICE,
    HOST,
    LOGIN,
    NAME,
    PASSWORD,
    question,
    refused,
    verdict_of,
    verdict_on,
)

SILENT = "it accepts connections but does not answer within 0.5 s"
NO_REGISTRY = "it does not answer as a registry does ("
LONG_LABEL = f"http://{'a' * 64}.test/"


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(upstream_transport, "LOGIN_STEP_SECONDS", 0.5)


class TestTrust:
    def test_a_ca_that_nobody_has_named(self, basic):
        nobodys = ask(Question(host=HOST, remote_url=basic[0].url))
        for verdict in (verdict_on(basic[0].url), nobodys):
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


class TestNoAnswer:
    """It only warns: it says nothing about the credentials."""

    def test_refused(self):
        with refusing() as at:
            verdict = verdict_on(f"http://{at}")
        assert isinstance(verdict, Unreachable)
        assert verdict.reason == f"{at}: Connection refused"
        assert str(verdict).startswith(f"{HOST} could not be asked whether images")
        keys = f"upstreams.{HOST}.remoteUrl and upstreamProxy"
        assert str(verdict).endswith(f"refused; check this machine's network, {keys}")

    def test_a_name_that_nobody_knows(self):
        verdict = verdict_on("https://nowhere.invalid")
        assert isinstance(verdict, Unreachable)
        assert verdict.reason.startswith("nowhere.invalid: ")

    @pytest.mark.parametrize("scheme", ["http", "https"])
    def test_silent(self, impatient, scheme):
        with silent() as at:
            verdict = verdict_on(f"{scheme}://{at}")
        assert isinstance(verdict, Useless), "who is there is no lack of a network"
        assert verdict.reason == SILENT
        assert verdict.fix.endswith(f"correct upstreams.{HOST}.remoteUrl")

    def test_where_it_sends_to_is_silent(self, impatient):
        with silent() as at:
            verdict = verdict_of((307, [("Location", f"http://{at}/token")], b""))
        assert verdict.reason == SILENT.replace("it", f"{at}, to which it redirects,", 1)

    def test_it_speaks_no_tls(self, tmp_path):
        with registry_process.running(tmp_path) as registry:
            verdict = verdict_on(registry.url.replace("http", "https"))
        assert verdict.reason == "it does not speak TLS"
        assert f"http:// in upstreams.{HOST}.remoteUrl" in verdict.fix

    def test_where_it_sends_to_speaks_no_tls(self):
        with answering(OPEN) as other:
            elsewhere = f"{other.url}/v2/".replace("http", "https")
            verdict = verdict_of((307, [("Location", elsewhere)], b""))
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
        verdict = verdict_of((status, [], b"<h1>be back &amp; well soon</h1>"))
        assert isinstance(verdict, Useless)
        reason = f'it answers with status {status}: a web page, "be back & well soon"'
        assert verdict.reason == reason

    @pytest.mark.parametrize(("status", "challenge"), [(401, BASIC), (403, [])])
    def test_a_page_that_refuses_who_has_a_login_is_no_networks(self, status, challenge):
        body = b"<html><head><title>401 Authorization Required</title></head></html>"
        verdict = verdict_of((status, [*challenge, ("Content-Type", "text/html")], body))
        assert verdict == refused(status, 'a web page, "401 Authorization Required"')

    @pytest.mark.parametrize(
        ("issued", "reason"),
        [
            ((503, [], b""), "answers with status 503: Service Unavailable"),
            *(
                ((200, [], said), "answers without a token")
                for said in (b"", b"[]", b"{}", b'{"token":""}', b'{"token":null}')
            ),
        ],
    )
    def test_its_token_service_gives_none(self, issued, reason):
        verdict = verdict_of(of(v2=wants_token, token=issued))
        assert verdict.reason == f"its token service {reason}"

    @pytest.mark.parametrize(
        "where",
        ["ftp://127.0.0.1/v2/", "http://[::1", "nowhere:x", "http://a..b/", LONG_LABEL, "/v2/"],
    )
    def test_redirects_that_lead_nowhere(self, where):
        verdict = verdict_of((307, [("Location", where)], b""))
        assert isinstance(verdict, Useless)
        assert NO_REGISTRY.removeprefix("it ") in verdict.reason

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
        assert verdict.reason.startswith(NO_REGISTRY)

    def test_one_that_hangs_up_on_tls(self):
        with taking(socket.socket.close) as at:
            verdict = verdict_on(f"https://{at}")
        assert isinstance(verdict, Useless)
        assert verdict.reason.startswith(NO_REGISTRY)


class TestProxy:
    """Names that only the proxy can resolve: what arrives has gone through it."""

    NAMES: ClassVar = {NAME: "127.0.0.1"}

    @pytest.fixture
    def proxy(self):
        with forward_proxy.running(self.NAMES) as proxy:
            yield proxy

    def through(self, url, *no_proxy):
        return UpstreamProxy(url=url, no_proxy=no_proxy)

    def named(self, upstream):
        return upstream.url.replace("127.0.0.1", NAME)

    def test_tls(self, proxy, authority, tmp_path):
        tls, tokens = authority.server(NAME), TokenService(accounts={ALICE: PASSWORD})
        with token_service.running(tmp_path, tokens, name=NAME, tls=tls) as upstream:
            asked = {"ca_pem": authority.pem, "proxy": self.through(proxy.url)}
            assert verdict_on(upstream.url, **asked) == Accepted(host=HOST)
            assert set(proxy.asked) == {f"CONNECT {upstream.url.removeprefix('https://')}"}
            assert isinstance(verdict_on(upstream.url, "wrong", **asked), Refused)
            untrusted = verdict_on(upstream.url, proxy=self.through(proxy.url))
            assert isinstance(untrusted, Untrusted)

    def test_http(self, proxy, tmp_path):
        auth = registry_process.htpasswd(tmp_path / "htpasswd", {ALICE: PASSWORD})
        with registry_process.running(tmp_path, auth=auth) as registry:
            verdict = verdict_on(self.named(registry), proxy=self.through(proxy.url))
        assert verdict == Accepted(host=HOST)
        at = f"{NAME}:{registry.port}"
        assert proxy.asked == [f"GET {at}", f"GET {at}", f"HEAD {at}"]

    @pytest.mark.parametrize("no_proxy", [NAME, ".private.test"])
    def test_not_for_what_is_to_be_asked_directly(self, proxy, basic, no_proxy):
        verdict = verdict_on(self.named(basic[0]), proxy=self.through(proxy.url, no_proxy))
        assert proxy.asked == []
        assert isinstance(verdict, Unreachable)
        assert verdict.reason.startswith(f"{NAME}:{basic[0].port}: "), "no proxy is blamed"

    def test_the_environments_proxy_is_not_asked(self, proxy, basic, monkeypatch):
        for name in ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "https_proxy", "http_proxy"):
            monkeypatch.setenv(name, proxy.url)
        assert isinstance(verdict_on(self.named(basic[0])), Unreachable)
        assert proxy.asked == []

    def test_one_that_refuses(self, basic):
        with forward_proxy.running({}) as proxy:
            verdict = verdict_on(self.named(basic[0]), proxy=self.through(proxy.url))
        assert isinstance(verdict, Useless), "who has no network has no proxy either"
        at = f"{NAME}:{basic[0].port}"
        proxys = proxy.url.removeprefix("http://")
        assert verdict.reason.startswith(f"the proxy {proxys} refuses connections to {at}")
        assert ": 403 " in verdict.reason
        assert verdict.fix == "correct upstreamProxy"

    def test_one_that_wants_a_password(self, basic):
        """A stack can't name one (docs/private.md)."""
        with forward_proxy.running(self.NAMES, login=("office", "pr0xy")) as proxy:
            verdict = verdict_on(self.named(basic[0]), proxy=self.through(proxy.url))
        assert "407" in verdict.reason
        assert verdict.fix == "correct upstreamProxy"

    def test_one_behind_which_nobody_answers(self, impatient):
        with silent() as at:
            verdict = verdict_on(f"http://{NAME}", proxy=self.through(f"http://{at}"))
        assert verdict.reason == SILENT.replace("it", f"it through the proxy {at}", 1)
        assert verdict.fix.endswith("remoteUrl or upstreamProxy")

    def test_one_that_is_away(self, basic):
        with refusing() as at:
            verdict = verdict_on(self.named(basic[0]), proxy=self.through(f"http://{at}"))
        assert verdict.reason.endswith(f"through the proxy {at}: Connection refused")


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

    @pytest.mark.parametrize("login", [None, LOGIN], ids=["nobody", "login"])
    def test_a_slow_line_is_not_silence(self, monkeypatch, login):
        for name in ("PATIENCE_SECONDS", "LOGIN_PATIENCE_SECONDS"):
            monkeypatch.setattr(upstream_credentials, name, 0.5)

        def drip(request):
            time.sleep(0.3)
            return OPEN

        with answering(drip) as upstream:
            asked = Question(host=HOST, remote_url=upstream.url, credentials=login)
            (verdict,) = ask_all([asked])
        assert isinstance(verdict, Unreachable)
        assert verdict.reason == "no answer within 0.5 s"

    def test_silence_is_noticed_before_patience_ends(self):
        assert upstream_transport.STEP_SECONDS < upstream_credentials.PATIENCE_SECONDS
        assert upstream_transport.LOGIN_STEP_SECONDS < upstream_credentials.LOGIN_PATIENCE_SECONDS

    def test_what_goes_wrong_is_raised(self):
        with pytest.raises(ValueError, match="no certificates in PEM"):
            ask_all([Question(host=HOST, remote_url="https://127.0.0.1:1", ca_pem="nothing")])

    def test_many_are_asked_side_by_side_and_answered_in_order(self, basic, authority, monkeypatch):
        monkeypatch.setattr(upstream_transport, "LOGIN_STEP_SECONDS", 1)
        with silent() as at:
            asked = [question(f"http://{at}") for _ in range(8)]
            asked.insert(3, question(basic[0].url, ca_pem=authority.pem))
            started = time.monotonic()
            verdicts = ask_all(asked)
            assert time.monotonic() - started < 5
        kinds = [type(verdict) for verdict in verdicts]
        assert kinds == [Useless] * 3 + [Accepted] + [Useless] * 5
