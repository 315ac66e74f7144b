"""Harbor that can't be asked: each error says what to do, and holds no secret."""

import json
import socket
from dataclasses import replace

import pytest

from ops.errors import OpsError
from ops.harbor import command
from ops.harbor.client import Client, HarborError
from plan.harbor.reconcile import Step
from tests.fakes.harbor import tls
from tests.fakes.harbor.api import Harbor
from tests.fakes.harbor.server import Server
from tests.fakes.web_server import answering

PASSWORD = "Harbor12345"


def failing_on(answer, **more):
    """What a client says to a server that answers so."""
    with answering(answer) as server:
        return failing(server.url, **more)


def asked(url, **more):
    with Client(url, "admin", PASSWORD, **more) as harbor:
        return harbor.all("/registries")


def failing(url, **more):
    with pytest.raises(OpsError) as failed:
        asked(url, **more)
    assert PASSWORD not in str(failed.value)
    return str(failed.value)


def test_a_wrong_password(run, plan, known):
    done = run("create", plan, password="Wrong-pass-1")
    assert done.returncode == 1
    assert "GET /registries: 401 unauthorized" in done.stderr
    assert "Harbor does not accept the user admin with this password" in done.stderr
    assert not known.registries


def test_a_user_who_is_no_administrator(run, plan, known):
    done = run("create", plan, username="dev", password="Developer1")
    assert done.returncode == 1
    assert "GET /registries: 403 dev" in done.stderr
    assert "the user dev may not do that: only a user whom Harbor's list of users" in done.stderr
    assert "Set the login of one as harborAdmin" in done.stderr
    assert not known.registries


def test_nobody_at_all_may_read_what_is_public(double):
    with Client(double.url, "", "") as harbor:
        assert harbor.all("/projects") == ()
        with pytest.raises(HarborError, match="after a login: set harborLogin"):
            harbor.all("/registries")


def test_a_robot_that_may_only_pull_is_told_what_it_lacks(plan, client, double):
    command.bring_about(client, plan, {})
    with Client(double.url, plan.robot, plan.robot_secret) as harbor:
        path = "/projects/proxy-quay.io/repositories/team%252Fapp/artifacts/v1"
        with pytest.raises(HarborError, match=r"artifact:read .*repository:pull"):
            harbor.find(path)


def test_a_harbor_that_is_not_up(run, plan):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
        done = run("create", replace(plan, url=url))
    assert done.returncode == 1
    assert f"Harbor at {url} does not answer" in done.stderr
    assert "is Harbor up?" in done.stderr


def test_something_that_is_no_harbor():
    for content in (b"<html>Welcome</html>", b'{"name": "another API"}'):
        said = failing_on((200, [], content))
        assert "is not Harbor's API: something else answers" in said


def test_one_that_sends_on_to_https():
    said = failing_on((308, [("Location", "https://harbor.test/")], b""))
    assert "it redirects to https://harbor.test/: set harbor.url" in said


def test_words_that_hold_a_secret_are_masked():
    words = json.dumps({"errors": [{"code": "X", "message": f"{PASSWORD} and Hub-pass-1 are bad"}]})
    said = failing_on((400, [], words.encode()), secrets=["Hub-pass-1"])
    assert "******** and ******** are bad" in said


@pytest.mark.parametrize("length", range(180, 202))
def test_a_secret_is_masked_before_its_words_are_cut(length):
    content = b"x" * length + b" Hub-pass-1"
    assert "Hub" not in failing_on((400, [], content), secrets=["Hub-pass-1"])


def test_what_harbor_is_told_masks_nothing_of_our_own_words():
    words = json.dumps({"errors": [{"message": "Administrator, nobody"}]})
    said = failing_on((403, [], words.encode()), secrets=["Administrator", "nobody", "no"])
    assert "403 ********, ********\n" in said
    assert "list of users calls Administrator" in said


@pytest.mark.parametrize(
    ("page", "words"),
    [
        (b"<html>\r\n<head><title>502 Bad Gateway</title></head>", 'a web page, "502 Bad Gateway"'),
        (b"<h1>Bad\n &amp; sad</h1>", 'a web page, "Bad & sad"'),
        (b"<!DOCTYPE html><p>Hello", "a web page"),
        (b"upstream <b>gone", "upstream <b>gone"),
    ],
)
def test_a_page_is_told_by_its_heading_and_any_other_words_as_they_are(page, words):
    assert failing_on((502, [], page)).endswith(f"GET /registries: 502 {words}")


def test_where_nothing_is_said_the_status_has_to_do():
    assert failing_on((502, [], b"{}")).endswith("GET /registries: 502 Bad Gateway")


def test_the_environments_proxy_is_not_used(double, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    monkeypatch.delenv("NO_PROXY", raising=False)
    assert asked(double.url) == ()


def test_an_answer_without_its_count_is_one_page():
    with answering((200, [], b'[{"id": 1, "name": "x"}]')) as server:
        assert asked(server.url) == ({"id": 1, "name": "x"},)


def test_what_is_not_there_is_none_and_what_fails_is_an_error(client, known, made):
    path = f"{command.repository_path('proxy-quay.io', 'team/app')}/artifacts/v9"
    assert client.find(path) is None
    with pytest.raises(HarborError, match="500 internal server error"):
        client.find("/retentions/999")
    known.admin = ("admin", "another")
    with pytest.raises(HarborError, match="401"):
        client.find(path)


def test_what_makes_something_gives_its_id(client):
    registry = {"name": "x", "type": "docker-hub", "url": "https://hub.docker.com"}
    step = Step(does="create", what="x", method="POST", path="/registries", body=registry)
    number = client.do(step)
    assert client.all("/registries")[0]["id"] == number
    path = f"/registries/{number}"
    assert client.do(Step(does="delete", what="x", method="DELETE", path=path)) is None


@pytest.fixture(scope="module")
def signed(tmp_path_factory):
    return tls.certificates(tmp_path_factory.mktemp("tls") / "one")


class TestTls:
    @pytest.fixture
    def secure(self, signed, tmp_path):
        _, certificate, key = signed
        server = Server(Harbor(tmp_path), tls=(certificate, key)).start()
        yield server.url
        server.stop()

    def test_the_right_ca(self, signed, secure):
        assert secure.startswith("https://")
        assert asked(secure, ca_pem=signed[0].read_text()) == ()

    def test_no_ca(self, secure):
        why = failing(secure)
        assert "its certificate is not trusted (" in why
        assert "set harbor.ca" in why

    def test_another_ca(self, secure, tmp_path):
        other, _, _ = tls.certificates(tmp_path / "other")
        assert "its certificate is not trusted (" in failing(secure, ca_pem=other.read_text())

    def test_another_name(self, signed, secure):
        ca = signed[0].read_text()
        why = failing(secure.replace("127.0.0.1", "localhost"), ca_pem=ca)
        assert "its certificate is not trusted (Hostname mismatch" in why

    @pytest.mark.parametrize("pem", ["no certificate", "-----BEGIN CERTIFICATE-----\nx\n", "ü"])
    def test_no_pem(self, pem):
        assert "Harbor's CA is not a certificate" in failing("https://h.test", ca_pem=pem)

    def test_https_where_there_is_none(self, double):
        assert "does not answer" in failing(double.url.replace("http:", "https:"))
