"""When the engine decrypts a stack's secrets: only if one of those is needed."""

import json

import pytest

from ops.engine import cli
from ops.stack import stack_files, stack_secrets
from plan.settings.credentials import Credentials

HOSTS = {"docker.io"}
SECRET = {"secure": "v1:abc"}
LOGIN = {"username": "me", "password": "hunter2"}
OPEN = {"credentials": {"docker.io": LOGIN}, "cacheLogin": LOGIN}


@pytest.fixture
def stack(monkeypatch, tmp_path):
    """Write a stack's file; returns the commands that the engine gets."""
    asked = []

    def output(stack, *argv):
        asked.append(argv)
        values = {f"talos-cache:{key}": {"value": json.dumps(OPEN[key])} for key in OPEN}
        return json.dumps(values)

    file = tmp_path / "Pulumi.mine.yaml"
    monkeypatch.setattr(stack_files, "path_of", lambda _: file)
    monkeypatch.setattr(cli, "output", output)

    def write(**config):
        named = {f"talos-cache:{key}": value for key, value in config.items()}
        file.write_text(json.dumps({"config": named}))
        return asked

    return write


def test_a_stack_without_secrets_needs_no_engine(stack):
    asked = stack(prefix="mine")
    assert stack_secrets.settings_of("mine", upstreams=HOSTS).prefix == "mine"
    assert asked == []


@pytest.mark.parametrize(
    "credentials", [SECRET, {"docker.io": {"username": SECRET, "password": SECRET}}]
)
def test_credentials_of_upstreams_are_decrypted_only_if_they_are_requested(stack, credentials):
    asked = stack(credentials=credentials)
    closed = stack_secrets.settings_of("mine").credentials_for("docker.io")
    assert closed is None or closed.is_encrypted
    assert asked == []
    settings = stack_secrets.settings_of("mine", upstreams=HOSTS)
    assert settings.credentials_for("docker.io") == Credentials(username="me", password="hunter2")
    assert len(asked) == 1


def test_credentials_of_other_upstreams_stay_encrypted(stack):
    secret = {"username": SECRET, "password": SECRET}
    hosts = {"upstreams": {"docker.io": {}, "quay.io": {}}}
    asked = stack(**hosts, credentials={"quay.io": secret}, cacheLogin=secret)
    settings = stack_secrets.settings_of("mine", upstreams=HOSTS, logins=False)
    assert settings.credentials_for("quay.io").is_encrypted
    assert asked == []
    stack_secrets.settings_of("mine", upstreams={"quay.io"}, logins=False)
    assert len(asked) == 1


def test_logins_are_decrypted_unless_told_otherwise(stack):
    stack(cacheLogin=SECRET)
    assert stack_secrets.settings_of("mine").cache_login.password == "hunter2"
