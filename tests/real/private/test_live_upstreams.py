"""Private upstreams behind a private CA, one with a token service, one with basic authentication.

The registries are real processes of this machine, at the address of Docker's bridge; the token
service is a double (tests/fakes/token_service.py). One story, in order.
"""

import base64
import contextlib
import json
import time
from functools import partial

import pytest

from demo import images
from demo.client import PullError, pull
from ops.docker import api
from tests.fakes import forward_proxy, token_service
from tests.real.caches.conftest import PREFIX
from tests.real.private import registry_process
from tests.real.private.authority import Authority
from tests.secrets import places_with, secret_set

STACK = "upstreams"
NAME = f"{PREFIX}-{STACK}"
BASIC, TOKENS = "basic.example.com", "tokens.example.com"
PORTS = {BASIC: 15171, TOKENS: 15172}
TOKENS_PORT = 15175
RIGHT = {BASIC: "r1ght-of-basic", TOKENS: "r1ght-of-tokens"}
ACCOUNT = "robot"
IMAGE = images.single(BASIC, "team/secret-sauce", "1", b"nobody else's\n" * 1000)


@pytest.fixture(scope="module")
def gateway(docker_client):
    return api.bridge_gateway(docker_client)


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def basic(tmp_path_factory, authority, gateway):
    folder = tmp_path_factory.mktemp("basic")
    data = registry_process.filled(folder / "filled", IMAGE)
    auth = registry_process.htpasswd(folder / "accounts", {ACCOUNT: RIGHT[BASIC]})
    with registry_process.running(
        folder / "run", data=data, address=gateway, auth=auth, tls=authority.server(gateway)
    ) as registry:
        yield folder / "accounts", registry.url


class Tokens:
    """The upstream with a token service, at one address however often it is started."""

    def __init__(self, folder, data, address, tls):
        self.url = f"https://{address}:{TOKENS_PORT}"
        self.service = token_service.TokenService(accounts={ACCOUNT: RIGHT[TOKENS]}, expires_in=5)
        self._runs = contextlib.ExitStack()
        self._make = partial(
            token_service.running,
            *(folder, self.service),
            **{"data": data, "address": address, "port": TOKENS_PORT, "tls": tls},
        )

    def start(self):
        self._runs.enter_context(self._make())

    def stop(self):
        self._runs.close()


@pytest.fixture(scope="module")
def tokens(tmp_path_factory, authority, gateway):
    folder = tmp_path_factory.mktemp("tokens")
    data = registry_process.filled(folder / "filled", IMAGE)
    made = Tokens(folder / "run", data, gateway, authority.server(gateway))
    made.start()
    yield made
    made.stop()


@pytest.fixture(scope="module")
def proxy(gateway):
    with forward_proxy.running({gateway: gateway}, address=gateway) as made:
        yield made


@pytest.fixture(scope="module")
def stack(checkout, authority, basic, tokens):
    checkout.make("stack", STACK, f"NAME={STACK}", "FROM=docker")
    (checkout.path / "certs").mkdir()
    (checkout.path / "certs" / "ca.pem").write_text(authority.pem)
    write(checkout, basic, tokens)
    for host, password in RIGHT.items():
        for field, value in (("username", ACCOUNT), ("password", password)):
            secret_set(checkout, STACK, f'credentials["{host}"].{field}', value)
    return checkout


def write(checkout, basic, tokens, *, ca=True, **more):
    urls = {BASIC: basic[1], TOKENS: tokens.url}
    trust = {"ca": "@certs/ca.pem"} if ca else {}
    checkout.write_stack(
        STACK,
        prefix=NAME,
        upstreams={
            host: {"remoteUrl": url, "port": PORTS[host], **trust} for host, url in urls.items()
        },
        cache={"onDestroy": "delete"},
        **more,
    )


def pulled(host):
    pull(f"http://127.0.0.1:{PORTS[host]}", IMAGE, by_digest=False)


def refused(done):
    """What a failed `up` has printed."""
    assert done.returncode != 0, done.stdout
    return done.stdout + done.stderr


def test_without_the_ca_up_says_which_key_is_missing(stack, basic, tokens):
    write(stack, basic, tokens, ca=False)
    said = refused(stack.make("up", STACK, check=False))
    assert f"upstreams.{TOKENS}.ca" in said
    assert f"upstreams.{BASIC}.ca" in said
    write(stack, basic, tokens)


def test_with_the_right_credentials_everything_comes(stack, tokens):
    stack.make("up", STACK)
    for host in PORTS:
        pulled(host)
    assert ACCOUNT in {name for name, _ in tokens.service.issued}, "a cache has asked for a token"


def test_a_secret_stands_nowhere(stack):
    found = places_with(stack, STACK, tuple(RIGHT.values()))
    assert found.looked > 10, "the state's own files, processes and containers are among them"
    assert found.shown == []


def test_an_upstream_that_is_away_is_a_warning(stack, tokens, docker_client):
    helper = docker_client.containers.get(f"{NAME}-{TOKENS}")
    tokens.stop()
    try:
        shown = stack.make("up", STACK)
        assert f"{TOKENS} could not be asked" in shown.stdout + shown.stderr
        pulled(TOKENS)
        assert docker_client.containers.get(f"{NAME}-{TOKENS}").id == helper.id
    finally:
        tokens.start()


@pytest.mark.parametrize("host", PORTS)
def test_a_wrong_password_fails_up_in_the_upstreams_words(stack, host):
    secret_set(stack, STACK, f'credentials["{host}"].password', "wr0ng-for-a-test")
    changes = stack.changes(STACK)
    slug = host.replace(".", "-")
    assert {name for _, _, name in changes} == {f"{slug}-container"}, "and nothing else"
    said = refused(stack.make("up", STACK, check=False))
    words = {BASIC: "authentication required", TOKENS: token_service.WRONG}[host]
    assert f"{host} refuses the credentials (401)" in said
    assert words in said
    assert "wr0ng-for-a-test" not in said
    secret_set(stack, STACK, f'credentials["{host}"].password', RIGHT[host])
    stack.make("up", STACK)


def test_rotated_at_the_upstream_and_then_here_only_that_container_is_replaced(
    stack, basic, docker_client
):
    before = stack.containers(STACK)
    registry_process.write_accounts(basic[0], {ACCOUNT: "r0tated-of-basic"})
    said = refused(stack.make("up", STACK, check=False))
    assert f"{BASIC} refuses the credentials (401)" in said, "also where nothing else changed"
    secret_set(stack, STACK, f'credentials["{BASIC}"].password', "r0tated-of-basic")
    stack.make("up", STACK)
    after = stack.containers(STACK)
    assert {name for name in after if after[name] != before[name]} == {f"{NAME}-{BASIC}"}
    assert places_with(stack, STACK, ("r0tated-of-basic",)).shown == []


def test_an_account_that_may_not_is_told_apart_from_a_wrong_password(stack, tokens):
    tokens.service.denied.add(ACCOUNT)
    said = refused(stack.make("up", STACK, check=False))
    assert f"{TOKENS} refuses the credentials (403)" in said
    assert token_service.DENIED in said
    tokens.service.denied.clear()


def test_a_login_of_dockers_takes_their_place(stack, basic, tokens, tmp_path):
    """Static, in Docker's own file; a cache gets it as it gets a secret of the stack."""
    entry = base64.b64encode(f"{ACCOUNT}:r0tated-of-basic".encode()).decode()
    (tmp_path / "config.json").write_text(json.dumps({"auths": {BASIC: {"auth": entry}}}))
    stack.env["DOCKER_CONFIG"] = str(tmp_path)
    try:
        path = stack.path / "stacks" / f"Pulumi.{STACK}.yaml"
        kept = path.read_text()
        stack.write_stack(
            STACK,
            prefix=NAME,
            credentials=None,
            upstreams={
                BASIC: {
                    "remoteUrl": basic[1],
                    "port": PORTS[BASIC],
                    "ca": "@certs/ca.pem",
                    "credentialsFrom": "docker-config",
                }
            },
            cache={"onDestroy": "delete"},
        )
        stack.make("up", STACK)
        pulled(BASIC)
        assert places_with(stack, STACK, ("r0tated-of-basic", entry)).shown == []
        (tmp_path / "config.json").write_text("{}")
        said = refused(stack.make("preview", STACK, check=False))
        assert f"docker login {BASIC}" in said
        path.write_text(kept)
    finally:
        del stack.env["DOCKER_CONFIG"]


def test_through_a_proxy_everything_goes_that_is_not_left_out(stack, basic, tokens, proxy):
    host = basic[1].removeprefix("https://")
    write(stack, basic, tokens, upstreamProxy={"url": proxy.url, "noProxy": [host]})
    stack.make("up", STACK)
    for name in PORTS:
        container = stack.client.containers.get(f"{NAME}-{name}")
        container.exec_run(["rm", "-rf", "/var/lib/registry/docker"])
        container.restart()
    before = len(proxy.asked)
    for name in PORTS:
        _soon_pulled(name)
    asked = "\n".join(proxy.asked[before:])
    assert tokens.url.removeprefix("https://") in asked
    assert host not in asked


def _soon_pulled(name):
    deadline = time.monotonic() + 30
    while True:
        try:
            return pulled(name)
        except PullError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)
