"""Whether a registry answers: a server on this machine, by http and with real TLS."""

import base64
import socket
import ssl
from datetime import datetime, timezone
from threading import Event, Thread

import pytest

from ops.registry.ping import failure, status, wait_for_answer
from ops.tls import own_ca
from plan.settings.credentials import Credentials
from tests.fakes.web_server import answering

LOGIN = Credentials(username="nodes", password="hunter2: пароль")
WRONG = Credentials(username="nodes", password="hunter3")


def registry(*, has_login=False, status=200, material=None, folder=None):
    """A server that answers `GET /v2/` as a registry with a password file, and nothing else."""
    pair = base64.b64encode(f"{LOGIN.username}:{LOGIN.password}".encode()).decode()

    def answer(request):
        known = not has_login or request.headers.get("Authorization") == f"Basic {pair}"
        of_v2 = status if known else 401
        return of_v2 if request.path == "/v2/" else 404, [], b""

    context = None
    if material:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        chain = folder / "chain.pem"
        chain.write_text(material.server_pem + material.server_key)
        context.load_cert_chain(chain)
    return answering(answer, context)


@pytest.fixture
def material(tmp_path):
    """A certificate of a CA that is not trusted here."""
    now = datetime.now(timezone.utc)
    return own_ca.ensure(tmp_path / "certificates", ("127.0.0.1",), now)


@pytest.fixture
def scheme(request, material, tmp_path):
    """Arguments for a server by http, or by https."""
    return {"material": material, "folder": tmp_path} if request.param else {}


SCHEMES = pytest.mark.parametrize("scheme", [False, True], ids=["http", "https"], indirect=True)


@SCHEMES
def test_a_registry_without_a_login_answers(scheme):
    with registry(**scheme) as server:
        assert failure(server.url) is None
        assert server.seen == [("/v2/", None)], "no login is sent"


@SCHEMES
def test_a_registry_with_a_login_answers_and_must_accept_ours(scheme):
    with registry(has_login=True, **scheme) as server:
        assert failure(server.url) is None, "it works, and we have no login for it"
        assert failure(server.url, LOGIN) is None
        why = failure(server.url, WRONG)
        assert why == "it answers with status 401", "nodes would be refused"
        assert "hunter" not in why


@pytest.mark.parametrize(("status", "login"), [(404, None), (500, LOGIN), (503, None)])
def test_another_status_is_a_failure(status, login):
    with registry(status=status) as server:
        assert failure(server.url, login) == f"it answers with status {status}"


def test_http_is_a_failure_where_https_is_expected_and_the_other_way_round(material, tmp_path):
    with registry() as server:
        assert failure(server.url.replace("http:", "https:"), LOGIN)
        assert server.seen == [], "and does not get the login"
    with registry(material=material, folder=tmp_path) as server:
        assert failure(server.url.replace("https:", "http:"))


def test_a_closed_port_is_a_failure_with_the_systems_message():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        assert "refused" in failure(url)
        assert "refused" in wait_for_answer(url, 0.2, LOGIN)


def test_the_environments_proxies_are_not_used(monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with registry() as server:
        assert failure(server.url) is None, "the endpoint is on this machine"


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_server_that_accepts_and_never_answers_is_given_up_in_time(scheme):
    def ask():
        with pytest.raises(TimeoutError):
            status(f"{scheme}://127.0.0.1:{port}", 0.2)
        given_up.set()

    given_up = Event()
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        Thread(target=ask, daemon=True).start()
        assert given_up.wait(10)
