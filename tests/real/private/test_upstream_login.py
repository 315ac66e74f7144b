"""What upstreams say to credentials: real registries with basic and with token authentication.

The token service is a fake (tests/fakes/token_service.py).
"""

import base64
import html
import json
from urllib.parse import quote

import pytest

from ops.registry import upstream_trouble
from ops.registry.upstream_credentials import ask
from ops.registry.verdicts import Accepted, Question, Refused
from tests.fakes import token_service
from tests.fakes.token_service import DENIED, WRONG, TokenService
from tests.fakes.web_server import answering
from tests.real.private import registry_process
from tests.real.private.upstream_answers import bearer, with_login
from tests.real.private.upstream_logins import (
    ALICE,
    HOST,
    NAME,
    PASSWORD,
    question,
    refused,
    verdict_of,
    verdict_on,
)


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
            nobodys = ask(Question(host=HOST, remote_url=upstream.url))
        assert "no token without a login (401)" in str(nobodys)

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
        assert "names no token service" in verdict_of(bearer(realm)).reason

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
        assert verdict_of((403, [], body)) == refused(403, words)

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
        reason = verdict_of((499, [], b"{}")).reason
        assert reason == "it answers with status 499: without a reason"

    def test_are_put_on_one_line_only_without_the_password(self):
        password = "two  blanks"
        verdict = verdict_of((403, [], f"not {password}".encode()), password)
        assert verdict.reason == "(403): not ********"

    def test_are_cut_off_behind_the_masks(self):
        asked = question("http://unused.test")
        cleaned = upstream_trouble.clean(f"{'.' * 294}{PASSWORD}", asked)
        assert cleaned == f"{'.' * 294}***..."

    @pytest.mark.parametrize("offered", ["Negotiate", "Digest realm=x, nonce=y", ""])
    def test_other_authentication(self, offered):
        challenge = [("WWW-Authenticate", offered)] if offered else []
        verdict = verdict_of((401, challenge, b""))
        wanted = offered.partition(" ")[0].lower() or "nothing"
        assert verdict.reason.endswith(f"neither Basic nor Bearer authentication, but {wanted}")

    def test_credentials_do_not_follow_a_redirect_to_another_server(self):
        with answering((200, [], b"")) as other:
            verdict_of(with_login((307, [("Location", f"{other.url}/v2/")], b"")))
        assert {login for _, login in other.seen} == {None}
