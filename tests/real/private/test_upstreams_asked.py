"""Upstreams that are asked whether images can be pulled: what is wrong is named, with what to do.

By who has no credentials and who has; test_upstream_login.py is about the credentials themselves.
"""

import pytest

from ops.registry.fetch import NO_BLOB
from ops.registry.upstream_credentials import ask
from ops.registry.verdicts import Accepted, Question, Refused, Useless
from plan.settings.credentials import Credentials
from plan.traffic.rate_limit import RateLimit
from plan.upstreams import KNOWN
from tests.fakes.web_server import answering
from tests.real.private import registry_process
from tests.real.private.upstream_answers import (
    BASIC,
    ISSUED,
    JSON,
    NOT_FOUND,
    OPEN,
    PAGE,
    bearer,
    of,
    put_at,
    quay,
    wants_token,
    with_login,
    with_token,
)

HOST = "team.example.com"
SET = """pulumi config set --secret --path 'credentials["team.example.com"].username'"""
LOGIN = {"credentials": Credentials(username="me", password="hunter2")}
HUB, K8S, QUAY = {"host": "docker.io"}, {"host": "registry.k8s.io"}, {"host": "quay.io"}
BELOW = {"path_prefix": "team"}
V2, TOKEN = ("GET", "/v2/"), ("GET", "/token")
ANY_IMAGE = ("HEAD", "/v2/talos-cache/question/manifests/latest")
LIMITED, DENIED = (429, JSON, b""), (403, JSON, b"")
LOGIN_PAGE = (200, PAGE, b"<title>Log in</title>")
HUBS_LOGIN = 'credentials["docker.io"]'
BROWSER = "open it in a browser and log in"
UNUSED = "the credentials are not used"

who = pytest.mark.parametrize("login", [{}, LOGIN], ids=["nobody", "login"])


@pytest.fixture
def asks(monkeypatch):
    """The verdict on an upstream with these answers, which is the known one of its name; and it."""

    def asks(answers, host=HOST, **more):
        with answering(answers) as upstream:
            if host in KNOWN:
                put_at(monkeypatch, host, upstream.url)
            return ask(Question(host=host, remote_url=upstream.url, **more)), upstream

    return asks


@pytest.fixture
def well(asks):
    """The upstream, of which all is well."""

    def well(answers, host=HOST, **more):
        verdict, upstream = asks(answers, host, **more)
        assert verdict == Accepted(host=host)
        return upstream

    return well


@pytest.fixture
def useless(asks):
    """The verdict, on one from which nothing comes."""

    def useless(answers, host=HOST, what="nothing", **more):
        verdict, _ = asks(answers, host, **more)
        assert isinstance(verdict, Useless)
        told = f"{what} can be pulled from {host}: {verdict.reason}; {verdict.fix}"
        assert str(verdict) == told
        return verdict

    return useless


class TestWell:
    @pytest.mark.parametrize(
        ("host", "login"), [(HOST, LOGIN), ("quay.io", LOGIN), ("quay.io", {})]
    )
    def test_quay(self, well, host, login):
        well(quay(["prometheus/busybox"]), host, **login)

    def test_another_quay_for_everybody(self, well):
        methods = [method for method, _ in well(quay()).asked]
        assert methods == ["GET", "GET", "GET", "HEAD"]

    @pytest.mark.parametrize("status", [403, 404, 405])
    @pytest.mark.parametrize("headers", [JSON, BASIC], ids=["json", "challenge"])
    @pytest.mark.parametrize("host", [HOST, "gcr.io"])
    @who
    def test_what_serves_images_and_nothing_else(self, well, status, headers, host, login):
        """A cache looks at a challenge only at 401."""
        well(of(v2=(status, headers, b"{}"), manifest=OPEN), host, **login)

    @pytest.mark.parametrize("status", [403, 404, 405])
    def test_what_says_the_same_of_an_image_that_is_not_there(self, well, status):
        well((status, JSON, b"{}"))

    @who
    @pytest.mark.parametrize("status", [404, 405])
    def test_a_token_with_which_there_is_nothing_at_v2(self, well, status, login):
        well(of(v2=with_token((status, JSON, b""))), **login)

    @pytest.mark.parametrize("status", [401, 403])
    @pytest.mark.parametrize("headers", [JSON, PAGE, [("WWW-Authenticate", "Bearer error=x")]])
    def test_what_refuses_only_an_image_that_is_not_there(self, well, status, headers):
        well(of(v2=wants_token, manifest=(status, headers, b"")))

    @pytest.mark.parametrize("kind", ["text/html", "text/html; charset=utf-8"])
    @pytest.mark.parametrize("body", [b"true", b"{}", b""])
    @who
    def test_what_a_web_framework_calls_a_page(self, well, kind, body, login):
        well(of(v2=(200, [("Content-Type", kind)], body)), **login)

    def test_a_page_that_says_that_it_is_a_registrys(self, well):
        shown = [*PAGE, ("Docker-Distribution-Api-Version", "registry/2.0")]
        well((200, shown, b"<title>Registry</title>"))

    @pytest.mark.parametrize("status", [400, 403, 405, 500])
    def test_a_name_that_an_upstream_calls_wrong_says_nothing_of_others(
        self, well, useless, status
    ):
        answers = of(v2=OPEN, manifest=(status, JSON, b""))
        well(answers)
        useless(answers, **K8S)
        with answering(answers) as mirror:
            verdict = ask(Question(remote_url=mirror.url, **K8S))
        assert verdict == Accepted(**K8S), "a mirror may have other images"

    @who
    def test_a_real_one_that_is_open(self, tmp_path, login):
        with registry_process.running(tmp_path) as registry:
            verdict = ask(Question(host=HOST, remote_url=registry.url, **login))
        assert verdict == Accepted(host=HOST)


class TestAsked:
    """What an upstream is asked for."""

    @pytest.mark.parametrize("manifest", [NOT_FOUND, OPEN], ids=["not found", "found"])
    def test_one_that_is_open(self, well, manifest):
        assert well(of(v2=OPEN, manifest=manifest)).asked == [V2, ANY_IMAGE]

    @pytest.mark.parametrize("v2", [with_token(OPEN), wants_token], ids=["opens", "opens not"])
    def test_one_that_gives_tokens_to_anybody(self, well, v2):
        upstream = well(of(v2=v2))
        assert upstream.asked == [V2, TOKEN, V2, ANY_IMAGE]
        assert "scope=repository%3Atalos-cache%2Fquestion%3Apull" in upstream.seen[1][0]
        assert [login for _, login in upstream.seen[1:]] == [
            None,
            "Bearer a-token",
            "Bearer a-token",
        ]

    @who
    def test_docker_hub_for_nothing_that_it_counts(self, well, login):
        upstream = well(of(v2=with_token(OPEN), manifest=OPEN), "docker.io", **login)
        manifest = ("HEAD", "/v2/ratelimitpreview/test/manifests/latest")
        assert upstream.asked == [V2, TOKEN, V2, manifest]
        assert "scope=repository%3Aratelimitpreview%2Ftest%3Apull" in upstream.seen[1][0]
        assert upstream.seen[3][1] == "Bearer a-token"

    @who
    @pytest.mark.parametrize("status", [200, 404])
    def test_a_limit_on_pulls(self, asks, status, login):
        """A double of Docker Hub, with the headers that its documentation names."""
        limits = [("ratelimit-limit", "100;w=21600"), ("RateLimit-Remaining", "76;w=21600")]
        answers = of(v2=with_token(OPEN), manifest=(status, [*JSON, *limits], b""))
        verdict, _ = asks(answers, "docker.io", **login)
        limit = RateLimit(limit=100, remaining=76, seconds=21600)
        assert verdict == Accepted(host="docker.io", limit=limit)

    @pytest.mark.parametrize("status", [200, 400, 404, 405, 500])
    @pytest.mark.parametrize("v2", [OPEN, wants_token], ids=["open", "token"])
    def test_below_a_path_for_no_manifest(self, well, status, v2):
        upstream = well(of(v2=v2, blob=(status, JSON, b"")), path_prefix="proxy-docker.io")
        blob = ("HEAD", f"/v2/proxy-docker.io/{NO_BLOB}")
        if v2 is OPEN:
            assert upstream.asked == [V2, blob], "Harbor would fetch others"
        else:
            assert upstream.asked == [V2, TOKEN, V2, blob]
            scope = "scope=repository%3Aproxy-docker.io%2Flibrary%2Ftalos-cache%3Apull"
            assert scope in upstream.seen[1][0]


# What an upstream answers, what it is asked, and what the reason and the fix have in them.
TROUBLES = {
    "limited at v2": (of(v2=LIMITED), {}, "(429)", SET),
    "limited": (of(v2=OPEN, manifest=LIMITED), {}, "(429)", SET),
    "limited, with a token": (of(v2=wants_token, manifest=LIMITED), HUB, "(429)", HUBS_LOGIN),
    "a token for nothing": (of(v2=wants_token, manifest=wants_token), HUB, "(401)", HUBS_LOGIN),
    "a page that asks who": (
        (401, [*BASIC, *PAGE], b"<html>401"),
        {},
        "it wants a login (401)",
        SET,
    ),
    "a page for who has a login": ((200, PAGE, b"<html>"), LOGIN, "web page", BROWSER),
    "a page for manifests": (of(v2=OPEN, manifest=(200, PAGE, b"")), {}, "web page", BROWSER),
    "a page for a token": (
        of(v2=wants_token, token=LOGIN_PAGE),
        {},
        "its token service answers with a web page",
        BROWSER,
    ),
    "as at v2 below a path": (of(v2=DENIED, blob=DENIED), {**BELOW, **LOGIN}, UNUSED, "remove"),
}


class TestUseless:
    @pytest.mark.parametrize(("answers", "asked", "reason", "fix"), TROUBLES.values(), ids=TROUBLES)
    def test_is_named_with_what_to_do(self, useless, answers, asked, reason, fix):
        verdict = useless(answers, **asked)
        assert reason in verdict.reason
        assert fix in verdict.fix

    @pytest.mark.parametrize(
        "answers",
        [
            of(v2=LIMITED),
            of(v2=with_token(OPEN), manifest=LIMITED),
            of(v2=with_login(OPEN), manifest=LIMITED),
        ],
        ids=["v2", "token", "basic"],
    )
    def test_too_many_requests_for_who_has_an_account(self, useless, answers):
        verdict = useless(answers, **HUB, **LOGIN)
        assert "(429)" in verdict.reason
        assert verdict.fix == "wait, or use an account there that has a higher limit"

    @pytest.mark.parametrize("v2", [with_token(OPEN), with_login(OPEN)], ids=["token", "basic"])
    @pytest.mark.parametrize("status", [401, 403])
    def test_credentials_that_are_right_and_do_not_open_what_anybody_may_pull(
        self, useless, v2, status
    ):
        answers = of(v2=v2, manifest=(status, JSON, b""))
        verdict = useless(answers, what="not everything", **HUB, **LOGIN)
        assert "it accepts the credentials" in verdict.reason
        assert f"refuses ratelimitpreview/test, which is public ({status})" in verdict.reason
        assert verdict.fix.endswith('correct credentials["docker.io"]')

    @pytest.mark.parametrize("status", [401, 403])
    def test_credentials_that_get_no_token_for_what_anybody_may_pull(self, useless, status):
        def token(request):
            return (status, JSON, b"") if "scope" in request.path else ISSUED

        answers = of(v2=with_token(OPEN), token=token, manifest=wants_token)
        verdict = useless(answers, what="not everything", **HUB, **LOGIN)
        assert "it accepts the credentials" in verdict.reason

    @pytest.mark.parametrize("status", [401, 403])
    def test_credentials_that_are_never_sent(self, useless, status):
        answers = of(v2=OPEN, manifest=(status, JSON, b""))
        assert UNUSED in useless(answers, **HUB, **LOGIN).reason

    @pytest.mark.parametrize("status", [500, 502, 503])
    def test_sick(self, useless, status):
        verdict = useless((status, PAGE, b"<title>Down</title><p>for maintenance"))
        assert verdict.reason == f'it answers with status {status}: a web page, "Down"'
        assert verdict.fix.startswith("wait")

    def test_forbidden(self, useless):
        said = b'{"errors":[{"code":"DENIED","message":"not from your country"}]}'
        verdict = useless((403, JSON, said), **QUAY)
        assert verdict.reason == "it refuses this machine (403): not from your country"
        assert "upstreamProxy" in verdict.fix
        assert 'credentials["quay.io"]' in verdict.fix

    @pytest.mark.parametrize("status", [403, 404, 405])
    def test_neither_v2_nor_images(self, useless, status):
        closed = (status, JSON, b"{}")
        assert "503" in useless(of(v2=closed, manifest=(503, JSON, b"")), **QUAY).reason
        assert "manifests (401)" in useless(of(v2=closed, manifest=(401, JSON, b""))).reason
        page = useless((status, PAGE, b"<title>Not here</title>"))
        assert "web page" in page.reason

    @pytest.mark.parametrize("status", [200, 401, 403])
    @pytest.mark.parametrize(
        ("headers", "body"),
        [
            (PAGE, b"\xef\xbb\xbf\r\n<p>Welcome"),
            ([], b"\n<!doctype html><title>Log in</title>"),
        ],
    )
    def test_a_login_page(self, useless, status, headers, body):
        verdict = useless((status, headers, body))
        assert "web page" in verdict.reason
        assert BROWSER in verdict.fix
        assert f"upstreams.{HOST}.remoteUrl" in verdict.fix

    @who
    @pytest.mark.parametrize("body", [b"<title>Log in</title>", b""])
    @pytest.mark.parametrize("sick", ["v2", "manifest"])
    def test_a_network_that_says_that_it_wants_a_login(self, useless, login, body, sick):
        verdict = useless(of(**{"v2": OPEN, sick: (511, PAGE, body)}), **login)
        assert "status 511" in verdict.reason
        assert BROWSER in verdict.fix

    def test_a_redirect_to_a_login_page(self, useless):
        with answering((200, PAGE, b"<html>who are you?</html>")) as portal:
            verdict = useless((302, [("Location", f"{portal.url}/login")], b""))
        where = portal.url.removeprefix("http://")
        assert f"(from {where})" in verdict.reason

    @pytest.mark.parametrize(
        ("body", "said"),
        [(b'{"errors":[{"message":"who are you?"}]}', ": who are you?"), (b"{}", "")],
    )
    def test_basic(self, useless, body, said):
        verdict = useless((401, BASIC, body))
        assert verdict.reason == f"it wants a login (401){said}"
        assert verdict.fix.startswith(f"the stack has no credentials for it: {SET}")

    @pytest.mark.parametrize("status", [401, 403])
    def test_no_token_for_nobody(self, useless, status):
        answers = of(v2=wants_token, token=(status, JSON, b'{"details":"log in first"}'))
        verdict = useless(answers)
        said = f"its token service gives no token without a login ({status}): log in first"
        assert verdict.reason == said
        assert SET in verdict.fix

    @pytest.mark.parametrize("host", [HOST, "quay.io"])
    def test_a_quay_that_gives_nobody_a_token(self, useless, host):
        said = b'{"error":"Anonymous access is not allowed"}'
        verdict = useless(quay(token=(401, JSON, said)), host)
        assert "its token service gives no token without a login (401)" in verdict.reason

    @pytest.mark.parametrize("status", [401, 403])
    def test_a_token_for_nobody_that_does_not_open_what_is_there(self, useless, status):
        refuses = (status, [("WWW-Authenticate", 'Bearer error="insufficient_scope"')], b"")
        verdict = useless(of(v2=wants_token, manifest=refuses), **K8S)
        assert f"({status})" in verdict.reason
        assert 'credentials["registry.k8s.io"]' in verdict.fix

    @pytest.mark.parametrize("v2", [OPEN, wants_token], ids=["open", "token"])
    @pytest.mark.parametrize("status", [429, 503, 511])
    def test_sick_below_a_path(self, useless, v2, status):
        assert f"{status}" in useless(of(v2=v2, blob=(status, JSON, b"")), **BELOW).reason

    @who
    @pytest.mark.parametrize("status", [401, 403])
    def test_refused_below_a_path_where_v2_is_open(self, useless, login, status):
        verdict = useless(of(v2=OPEN, blob=(status, JSON, b"")), **BELOW, **login)
        assert (UNUSED in verdict.reason) is bool(login)

    @pytest.mark.parametrize(
        ("answer", "why"),
        [
            (
                bearer("https://tokens.example.org/token"),
                "https://tokens.example.org is not in its own domain",
            ),
            ((401, [("WWW-Authenticate", "Negotiate")], b""), "negotiate"),
        ],
    )
    def test_where_credentials_would_not_help(self, useless, answer, why):
        verdict = useless(answer)
        assert why in verdict.reason
        assert "pulumi config" not in verdict.fix

    @who
    def test_a_login_for_manifests_only(self, useless, login):
        verdict = useless(of(v2=OPEN, manifest=wants_token), **login)
        assert "a login for manifests (401) but does not say so at /v2/" in verdict.reason
        assert (UNUSED in verdict.reason) is bool(login)
        assert "pulumi config" not in verdict.fix


class TestRefused:
    @pytest.mark.parametrize("status", [401, 403])
    def test_a_login_that_may_not_pull_below_a_path(self, asks, well, status):
        answers = of(v2=with_login(OPEN), blob=(status, JSON, b""))
        verdict, upstream = asks(answers, **BELOW, **LOGIN)
        assert upstream.seen[-1] == (f"/v2/team/{NO_BLOB}", upstream.seen[1][1])
        assert isinstance(verdict, Refused)
        assert "below team" in verdict.reason
        fix = f'correct credentials["{HOST}"], or correct upstreams.{HOST}.pathPrefix'
        assert verdict.fix == fix
        well(of(v2=with_login(OPEN)), **BELOW, **LOGIN)

    @pytest.mark.parametrize("v2", [with_token, with_login])
    def test_a_login_that_is_refused_at_v2_only(self, asks, v2):
        verdict, _ = asks(of(v2=v2((403, JSON, b""))), **LOGIN)
        assert isinstance(verdict, Refused)
        assert verdict.reason.startswith("(403)")
