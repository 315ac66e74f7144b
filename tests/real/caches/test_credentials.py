"""Credentials of an upstream: where they may be found, and where they must not."""

import json

import pytest

from tests.real.caches.conftest import PREFIX, embedded
from tests.real.offline.volumes import in_container
from tests.secrets import places_with, secret_set

STACK = "credentials"
NAME = f"{PREFIX}-credentials"
PASSWORD = "s3cret-w1th-'quotes'-and-$dollars"
CONTAINER = f"{NAME}-docker.io"


@pytest.fixture(scope="module")
def up(checkout, embedded_upstream):
    checkout.make("stack", STACK, f"NAME={STACK}", "FROM=docker")
    checkout.write_stack(
        STACK,
        prefix=NAME,
        basePort=15160,
        upstreams=embedded(embedded_upstream, ("docker.io",)),
        cache={"onDestroy": "delete"},
    )
    for field, value in (("username", "somebody"), ("password", PASSWORD)):
        key = f'credentials["docker.io"].{field}'
        secret_set(checkout, STACK, key, value)
    checkout.make("up", STACK)
    return checkout


def test_they_reach_the_registry_through_the_credential_helper(up):
    helper = "/usr/local/bin/docker-credential-talos-cache"
    printed = in_container(up.client, CONTAINER, f"{helper} get")
    assert json.loads(printed) == {"ServerURL": "", "Username": "somebody", "Secret": PASSWORD}


def test_they_stand_nowhere_in_plain_text(up):
    found = places_with(up, STACK, ("s3cret",))
    assert found.looked > 10, "the state's own files are among them"
    assert found.shown == []


def test_one_that_changes_replaces_that_container_and_nothing_else(up):
    secret_set(up, STACK, 'credentials["docker.io"].password', "another-s3cret")
    changes = up.changes(STACK)
    assert {name for _, _, name in changes} == {"docker-io-container"}
    assert "s3cret" not in up.pulumi("preview", "--diff", stack=STACK).stdout


def test_as_plain_text_in_the_file_they_are_refused_and_not_repeated(up, embedded_upstream):
    up.write_stack(
        "plain",
        upstreams=embedded(embedded_upstream, ("docker.io",)),
        credentials={"docker.io": {"username": "somebody", "password": PASSWORD}},
    )
    for done in (
        up.make("preview", "plain", check=False),
        up.pulumi("stack", "select", "--create", stack="plain"),
        up.pulumi("preview", stack="plain", check=False),
    ):
        said = done.stdout + done.stderr
        assert done.args[1] == "stack" or "plain text" in said
        assert PASSWORD not in said


def test_the_folders_that_hold_state_and_passphrase_are_private(up):
    for folder in ("state", "private"):
        assert (up.path / ".work" / folder).stat().st_mode & 0o777 == 0o700
    passphrase = up.path / ".work" / "private" / "passphrase"
    assert passphrase.stat().st_mode & 0o777 == 0o600


def test_a_stack_that_comes_with_the_project_refuses_them(up):
    path = up.path / "stacks" / "Pulumi.qemu.yaml"
    text = path.read_text()
    path.write_text(text.replace("config:\n", "config:\n  talos-cache:credentials: {secure: x}\n"))
    done = up.make("preview", "qemu", check=False)
    path.write_text(text)
    assert done.returncode != 0
    assert "make stack NAME=mine FROM=qemu" in done.stderr
