"""Caches that answer by https, with a login: certificates made here, regenerated, and given."""

import ssl
import urllib.error
import urllib.request
from base64 import b64encode
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
import yaml

from demo.client import pull
from ops.docker import api
from ops.tls import own_ca
from tests.real.caches.conftest import IMAGES, PREFIX, embedded
from tests.real.private.authority import Authority
from tests.secrets import places_with, secret_set

STACK = "tls"
NAME = f"{PREFIX}-{STACK}"
PORT = 15180
LOGIN = ("nodes", "pa55word-of-nodes")
HELLO = IMAGES[0]


@pytest.fixture(scope="module")
def up(checkout, embedded_upstream, tmp_path_factory):
    checkout.env["XDG_STATE_HOME"] = str(tmp_path_factory.mktemp("state"))
    checkout.make("stack", STACK, f"NAME={STACK}", "FROM=docker")
    write(checkout, embedded_upstream)
    for field, value in zip(("username", "password"), LOGIN, strict=True):
        secret_set(checkout, STACK, f"cacheLogin.{field}", value)
    checkout.make("up", STACK)
    return checkout


def write(checkout, upstream, **cache):
    checkout.write_stack(
        STACK,
        prefix=NAME,
        basePort=PORT,
        upstreams=embedded(upstream, ("docker.io", "ghcr.io")),
        cache={"tls": True, "onDestroy": "delete", **cache},
    )


def states(checkout):
    return Path(checkout.env["XDG_STATE_HOME"]) / "talos-cache"


def folder_of(checkout):
    [path] = states(checkout).glob(f"{STACK}-*/.certificates")
    return path


def asked(ca, *, login=None, address="127.0.0.1"):
    """Status of `/v2/` of docker.io's cache, its certificate checked against a CA."""
    headers = {}
    if login:
        headers["Authorization"] = f"Basic {b64encode(':'.join(login).encode()).decode()}"
    request = urllib.request.Request(f"https://{address}:{PORT}/v2/", headers=headers)
    context = ssl.create_default_context(cadata=ca)
    try:
        with urllib.request.urlopen(request, context=context, timeout=10) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def patch_of(checkout):
    shown = checkout.pulumi(
        *("stack", "output", "--show-secrets", "machineConfigPatch"), stack=STACK
    ).stdout
    return list(yaml.safe_load_all(shown))


def test_nodes_are_told_of_the_ca_and_the_login_that_the_caches_take(up, docker_client):
    documents = patch_of(up)
    gateway = api.bridge_gateway(docker_client)
    [ca] = {doc["ca"] for doc in documents if doc["kind"] == "RegistryTLSConfig"}
    logins = [doc for doc in documents if doc["kind"] == "RegistryAuthConfig"]
    assert {doc["name"] for doc in logins} == {f"{gateway}:{PORT}", f"{gateway}:{PORT + 4}"}
    login = (logins[0]["username"], logins[0]["password"])
    for address in ("127.0.0.1", gateway):
        assert asked(ca, address=address) == 401
        assert asked(ca, login=(LOGIN[0], "wr0ng"), address=address) == 401
        assert asked(ca, login=login, address=address) == 200


def test_a_client_with_the_login_gets_every_byte(up):
    options = ("--src-creds", ":".join(LOGIN))
    pull(f"https://127.0.0.1:{PORT}", HELLO, by_digest=False, options=options)


def test_the_day_two_commands_know_the_login(up):
    (up.path / "images.txt").write_text("".join(f"{i.reference}\n" for i in (HELLO, IMAGES[2])))
    env = up.shell_env(STACK)
    warmed = up.ops("warm", STACK, "--images", "images.txt", check=True, env=env)
    assert "2 images" in warmed.stdout
    verified = up.ops("verify", STACK, "--images", "images.txt", "--deep", check=True, env=env)
    assert "2 of 2 images are complete" in verified.stdout
    seen = up.ops("doctor", STACK, env=env)
    assert "0 problems" in seen.stdout, seen.stdout


def test_neither_key_nor_password_stands_anywhere(up):
    folder = folder_of(up)
    key = (folder / "server.key").read_text().splitlines()[1]
    found = places_with(up, STACK, (LOGIN[1], key))
    assert found.shown == []
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
    assert folder.stat().st_mode & 0o777 == 0o700


def test_a_second_preview_shows_no_change(up):
    assert up.changes(STACK) == set()


def test_a_plan_regenerates_what_is_about_to_expire(up, docker_client):
    folder = folder_of(up)
    for name in (own_ca.CA_PEM, own_ca.SERVER_PEM):
        (folder / name).unlink()
    old = datetime.now(timezone.utc) - timedelta(days=own_ca.CA_DAYS - 20)
    names = ("127.0.0.1", "localhost", api.bridge_gateway(docker_client))
    aged = own_ca.ensure(folder, names, old)
    assert {name for _, _, name in up.changes(STACK)} == {
        "docker-io-container",
        "ghcr-io-container",
    }, "another certificate replaces the containers"
    shown = (folder / own_ca.SERVER_PEM).read_text()
    assert shown != aged.server_pem
    up.pulumi("up", "--yes", "--skip-preview", stack=STACK)
    assert (folder / own_ca.SERVER_PEM).read_text() == shown, "up applies what preview has shown"
    [ca] = {doc["ca"] for doc in patch_of(up) if doc["kind"] == "RegistryTLSConfig"}
    assert ca == (folder / own_ca.CA_PEM).read_text().strip() != aged.ca_pem.strip()
    for trusted in (ca, aged.ca_pem):
        assert asked(trusted, login=LOGIN) == 200
    assert up.changes(STACK) == set()


def test_a_certificate_that_does_not_fit_is_refused_before_anything_is_made(
    up, embedded_upstream, tmp_path
):
    before = up.containers(STACK)
    given = Authority(tmp_path / "given")
    put(up, given, given.server("other.example.com"))
    write(up, embedded_upstream, **FILES)
    said = up.make("up", STACK, check=False)
    assert said.returncode != 0
    assert "cache.certificate" in said.stdout + said.stderr
    assert up.containers(STACK) == before


FILES = {"certificate": "@certs/cache.pem", "key": "@certs/cache.key", "ca": "@certs/ca.pem"}


def put(checkout, authority, server):
    folder = checkout.path / "certs"
    folder.mkdir(exist_ok=True)
    (folder / "cache.pem").write_text(server.certificate.read_text())
    (folder / "cache.key").write_text(server.key.read_text())
    (folder / "ca.pem").write_text(authority.pem)


def test_a_given_certificate_is_what_the_caches_answer_with(
    up, embedded_upstream, tmp_path, docker_client
):
    given = Authority(tmp_path / "given")
    put(up, given, given.server("127.0.0.1", "localhost", api.bridge_gateway(docker_client)))
    write(up, embedded_upstream, **FILES)
    up.make("up", STACK)
    assert asked(given.pem, login=LOGIN) == 200
    assert {doc["ca"] for doc in patch_of(up) if doc["kind"] == "RegistryTLSConfig"} == {
        given.pem.strip()
    }


def test_down_takes_the_private_folder_along(up):
    up.make("down", STACK)
    assert not states(up).exists()
