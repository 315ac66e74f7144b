"""A real registry as a pull-through cache, before real private upstreams.

The cache gets its credentials as in a stack: by `proxy.exec`, from the program that
plan/caches/cache_plan.py writes. The token service and the proxy are doubles (token_service.py,
forward_proxy.py).
"""

import hashlib
import time
from contextlib import ExitStack, contextmanager
from urllib.parse import urlsplit

import pytest
import requests

from demo import images
from plan.caches.cache_plan import credential_helper
from plan.settings.stack import Credentials
from tests.fakes import forward_proxy, token_service
from tests.fakes.token_service import DENIED, WRONG, TokenService
from tests.real.private import registry_process
from tests.real.private.authority import Authority

ALICE, PASSWORD = "alice", "correct horse battery staple"
RIGHT = Credentials(username=ALICE, password=PASSWORD)
NAME, TOKEN_NAME = "registry.private.test", "auth.private.test"
SECOND = images.single("private.test", "team/second", "1", b"another secret\n" * 1000)
# What a token that has run out is still good for, for clocks that differ (`Leeway` in
# registry/auth/token/token.go).
LEEWAY_SECONDS = 60
# How long a short-lived token is good for, to the whole second: a pull has to fit well in.
TOKEN_SECONDS = 4


@pytest.fixture(scope="module")
def both(tmp_path_factory, image):
    """Data of a registry with two images."""
    return registry_process.filled(tmp_path_factory.mktemp("both"), image, SECOND)


@pytest.fixture
def tokens():
    return TokenService(accounts={ALICE: PASSWORD})


@pytest.fixture
def upstream(both, tokens, authority, tmp_path):
    tls = authority.server("127.0.0.1")
    with token_service.running(tmp_path / "upstream", tokens, data=both, tls=tls) as running:
        yield running


def write_helper(path, credentials):
    fresh = path.with_suffix(".new")
    fresh.write_text(credential_helper(credentials))
    fresh.chmod(0o700)
    fresh.replace(path)


@contextmanager
def cache_of(remote_url, folder, credentials=RIGHT, *, trusts=(), **settings):
    """A cache; `trusts` are files of authorities, found as Go finds them beside the system's."""
    folder.mkdir(exist_ok=True)
    write_helper(folder / "helper", credentials)
    if trusts:
        folders = [str(path.parent) for path in trusts]
        settings["SSL_CERT_DIR"] = ":".join(["/etc/ssl/certs", *folders])
    environment = {
        "REGISTRY_PROXY_EXEC_COMMAND": str(folder / "helper"),
        "REGISTRY_PROXY_REMOTEURL": remote_url,
        "REGISTRY_PROXY_TTL": "0",
        **settings,
    }
    with registry_process.running(folder, environment=environment) as cache:
        yield cache
        assert PASSWORD not in cache.log


def ask(cache, image, path):
    headers = {"Accept": image.manifests[-1].media_type}
    return requests.get(f"{cache.url}/v2/{image.repository}/{path}", headers=headers, timeout=30)


def pull(cache, image, *, reference=None):
    """All of an image, and every byte of it."""
    manifest = ask(cache, image, f"manifests/{reference or image.tag}")
    assert (manifest.status_code, manifest.content) == (200, image.manifests[-1].content)
    for blob in image.blobs:
        arrived = ask(cache, image, f"blobs/{blob.digest}")
        assert f"sha256:{hashlib.sha256(arrived.content).hexdigest()}" == blob.digest


def reasons(cache, image):
    """Statuses of a tag, a digest and a blob that are not cached, and the words of the last two.

    From 3.1.2 on a cache hands on that its upstream has asked for a login, in words of its own.
    """
    paths = (image.tag, image.digest)
    answers = [ask(cache, image, f"manifests/{path}") for path in paths]
    answers.append(ask(cache, image, f"blobs/{image.blobs[0].digest}"))
    errors = [answer.json()["errors"][0] for answer in answers[1:]]
    words = [
        error["message"] if answer.status_code == 401 else error["detail"]
        for answer, error in zip(answers[1:], errors, strict=True)
    ]
    return [answer.status_code for answer in answers], words


class TestTokens:
    def test_a_pull_over_tls_with_a_private_ca(self, upstream, tokens, tmp_path, authority, image):
        with cache_of(upstream.url, tmp_path / "cache", trusts=[authority.path]) as cache:
            pull(cache, image)
            issued = len(tokens.issued)
            assert set(tokens.issued) == {(ALICE, (f"repository:{image.repository}:pull",))}
            pull(cache, image, reference=image.digest)
            assert len(tokens.issued) == issued, "what is cached needs no token"

    def test_every_request_gets_a_token_of_its_own_so_that_short_lived_ones_do(
        self, upstream, tokens, tmp_path, authority, image
    ):
        # Good for seconds at the registry; said to be good for less than none. The cache takes
        # anything below 60 s for 60 s (`minimumTokenLifetimeSeconds`), but keeps no token.
        tokens.expires_in = TOKEN_SECONDS - LEEWAY_SECONDS
        with cache_of(upstream.url, tmp_path / "cache", trusts=[authority.path]) as cache:
            pull(cache, image)
            first = len(tokens.issued)
            assert first == 1 + len(image.blobs)
            time.sleep(TOKEN_SECONDS + 1.5)
            pull(cache, SECOND)
            assert len(tokens.issued) == 2 * first

    def test_such_a_token_really_is_of_no_use_any_more(self, upstream, tokens, authority):
        tokens.expires_in = TOKEN_SECONDS - LEEWAY_SECONDS
        asked = {"service": token_service.SERVICE}
        trusts = {"verify": authority.path, "timeout": 30}
        url = f"{upstream.url}/token"
        token = requests.get(url, asked, auth=(ALICE, PASSWORD), **trusts).json()["token"]
        headers = {"Authorization": f"Bearer {token}"}
        assert requests.get(f"{upstream.url}/v2/", headers=headers, **trusts).status_code == 200
        time.sleep(TOKEN_SECONDS + 1.5)
        assert requests.get(f"{upstream.url}/v2/", headers=headers, **trusts).status_code == 401

    @pytest.mark.parametrize("credentials", [Credentials(username=ALICE, password="wrong"), None])
    def test_wrong_credentials_or_none(self, upstream, tmp_path, authority, image, credentials):
        trusts = [authority.path]
        with cache_of(upstream.url, tmp_path / "cache", credentials, trusts=trusts) as cache:
            statuses, words = reasons(cache, image)
        # A tag is said to be unknown, whatever the upstream says: only `up` can tell the reason.
        assert statuses == [404, 500, 500]
        assert all(said.endswith(f": unauthorized: {WRONG}") for said in words), words

    def test_a_suspended_account(self, upstream, tokens, tmp_path, authority, image):
        tokens.denied.add(ALICE)
        with cache_of(upstream.url, tmp_path / "cache", trusts=[authority.path]) as cache:
            statuses, words = reasons(cache, image)
        assert statuses == [404, 500, 500]
        assert all(said.endswith(f": denied: {DENIED}") for said in words), words

    def test_a_realm_elsewhere_gets_no_password(self, upstream, both, tokens, tmp_path, image):
        realm = f"{upstream.url}/token"
        with (
            token_service.running(tmp_path / "other", tokens, data=both, realm=realm) as other,
            cache_of(other.url, tmp_path / "cache") as cache,
        ):
            statuses, _ = reasons(cache, image)
        assert statuses == [404, 401, 401]
        assert upstream.asked == []


class TestBasic:
    @pytest.fixture
    def registry(self, both, tmp_path, authority):
        auth = registry_process.htpasswd(tmp_path / "htpasswd", {ALICE: PASSWORD})
        tls = authority.server("127.0.0.1")
        with registry_process.running(tmp_path / "up", data=both, auth=auth, tls=tls) as running:
            yield running

    def test_right(self, registry, tmp_path, authority, image):
        with cache_of(registry.url, tmp_path / "cache", trusts=[authority.path]) as cache:
            pull(cache, image)

    def test_wrong(self, registry, tmp_path, authority, image):
        wrong = Credentials(username=ALICE, password="wrong")
        trusts = [authority.path]
        with cache_of(registry.url, tmp_path / "cache", wrong, trusts=trusts) as cache:
            statuses, words = reasons(cache, image)
        assert statuses == [404, 401, 401]
        assert words == ["authentication required", "authentication required"]

    def test_rotated(self, registry, tmp_path, authority, image):
        fresh = Credentials(username=ALICE, password="fresh")
        trusts = [authority.path]
        with cache_of(registry.url, tmp_path / "cache", trusts=trusts) as cache:
            pull(cache, image)
            registry_process.write_accounts(tmp_path / "htpasswd", {ALICE: "fresh"})
            pull(cache, image)  # which is cached
            assert reasons(cache, SECOND)[0] == [404, 401, 401]
            # The helper is run once: a new password needs a new container.
            write_helper(tmp_path / "cache" / "helper", fresh)
            assert reasons(cache, SECOND)[0] == [404, 401, 401]
        with cache_of(registry.url, tmp_path / "cache", fresh, trusts=trusts) as cache:
            pull(cache, SECOND)

    def test_a_lifetime_lets_the_helper_run_again(self, registry, tmp_path, authority, image):
        fresh = Credentials(username=ALICE, password="fresh")
        lifetime = {"REGISTRY_PROXY_EXEC_LIFETIME": "1s"}
        trusts = [authority.path]
        with cache_of(registry.url, tmp_path / "cache", trusts=trusts, **lifetime) as cache:
            pull(cache, image)
            registry_process.write_accounts(tmp_path / "htpasswd", {ALICE: "fresh"})
            write_helper(tmp_path / "cache" / "helper", fresh)
            time.sleep(1.5)
            pull(cache, SECOND)


class TestTrust:
    def test_not_without_the_ca(self, upstream, tokens, tmp_path, image):
        with cache_of(upstream.url, tmp_path / "cache") as cache:
            statuses, words = reasons(cache, image)
        assert statuses == [404, 500, 500]
        assert all("x509: certificate signed by unknown authority" in said for said in words)
        assert tokens.issued == []

    def test_every_folder_in_the_list_counts(self, upstream, tmp_path, authority, image):
        trusts = [Authority(tmp_path / "another").path, authority.path]
        with cache_of(upstream.url, tmp_path / "cache", trusts=trusts) as cache:
            pull(cache, image)

    def test_the_systems_authorities_stay_trusted(self, upstream, tmp_path, authority, image):
        # The one file of the system, in whose place this machine's upstream's CA stands.
        settings = {"SSL_CERT_FILE": str(authority.path)}
        trusts = [Authority(tmp_path / "another").path]
        with cache_of(upstream.url, tmp_path / "cache", trusts=trusts, **settings) as cache:
            pull(cache, image)

    @pytest.mark.parametrize(("names", "days"), [(["127.0.0.2"], 30), (["127.0.0.1"], -1)])
    def test_not_for_another_name_nor_when_it_has_run_out(
        self, both, tokens, tmp_path, authority, image, names, days
    ):
        tls = authority.server(*names, days=days)
        with (
            token_service.running(tmp_path / "up", tokens, data=both, tls=tls) as upstream,
            cache_of(upstream.url, tmp_path / "cache", trusts=[authority.path]) as cache,
        ):
            assert "x509: certificate" in reasons(cache, image)[1][0]


class TestProxy:
    """Names that only the proxy can look up: what arrives has gone through it."""

    @pytest.fixture
    def far(self, both, tokens, authority, tmp_path):
        """A registry, its token service in the same domain, and the proxy that leads there."""
        names = dict.fromkeys((NAME, TOKEN_NAME), "127.0.0.1")
        with ExitStack() as stack:
            tls = authority.server(TOKEN_NAME)
            service = stack.enter_context(
                token_service.running(tmp_path / "service", tokens, name=TOKEN_NAME, tls=tls)
            )
            upstream = stack.enter_context(
                token_service.running(
                    tmp_path / "upstream",
                    tokens,
                    data=both,
                    name=NAME,
                    tls=authority.server(NAME),
                    realm=f"{service.url}/token",
                )
            )
            proxy = stack.enter_context(forward_proxy.running(names))
            yield upstream.url, service.url, proxy

    def test_registry_and_token_service_are_asked_through_it(
        self, far, tokens, tmp_path, authority, image
    ):
        url, service, proxy = far
        settings = {"trusts": [authority.path], "HTTPS_PROXY": proxy.url}
        with cache_of(url, tmp_path / "cache", **settings) as cache:
            pull(cache, image)
        assert set(proxy.asked) == {f"CONNECT {urlsplit(one).netloc}" for one in (url, service)}
        assert tokens.issued

    @pytest.mark.parametrize("name", [NAME, TOKEN_NAME])
    def test_but_not_what_no_proxy_names(self, far, tmp_path, authority, image, name):
        url, _, proxy = far
        settings = {"HTTPS_PROXY": proxy.url, "NO_PROXY": f"localhost,{name}"}
        trusts = [authority.path]
        with cache_of(url, tmp_path / "cache", trusts=trusts, **settings) as cache:
            statuses, words = reasons(cache, image)
        assert statuses == [404, 500, 500]
        assert all(f"dial tcp: lookup {name}" in said for said in words), words
        assert not any(name in asked for asked in proxy.asked)

    def test_http_goes_by_a_variable_of_its_own(self, both, tmp_path, image):
        auth = registry_process.htpasswd(tmp_path / "htpasswd", {ALICE: PASSWORD})
        with (
            registry_process.running(tmp_path / "up", data=both, auth=auth) as registry,
            forward_proxy.running({NAME: "127.0.0.1"}) as proxy,
        ):
            url = registry.url.replace("127.0.0.1", NAME)
            with cache_of(url, tmp_path / "cache", HTTPS_PROXY=proxy.url) as cache:
                assert reasons(cache, image)[0] == [404, 500, 500]
            assert proxy.asked == []
            with cache_of(url, tmp_path / "cache", HTTP_PROXY=proxy.url) as cache:
                pull(cache, image)
            assert set(proxy.asked) == {
                f"{method} {NAME}:{registry.port}" for method in ("GET", "HEAD")
            }

    def test_a_proxy_that_wants_a_password(self, both, tokens, tmp_path, authority, image):
        tls = authority.server(NAME)
        with (
            token_service.running(
                tmp_path / "up", tokens, data=both, name=NAME, tls=tls
            ) as upstream,
            forward_proxy.running({NAME: "127.0.0.1"}, login=("office", "pr0xy")) as proxy,
        ):
            trusts = [authority.path]
            url = proxy.url.replace("http://", "http://office:pr0xy@")
            with cache_of(upstream.url, tmp_path / "1", trusts=trusts, HTTPS_PROXY=url) as cache:
                pull(cache, image)
            wrong = proxy.url.replace("http://", "http://office:wr0ng@")
            with cache_of(upstream.url, tmp_path / "2", trusts=trusts, HTTPS_PROXY=wrong) as cache:
                words = reasons(cache, image)[1]
        assert all("Proxy Authentication Required" in said for said in words), words
        assert not any("wr0ng" in said for said in words)
