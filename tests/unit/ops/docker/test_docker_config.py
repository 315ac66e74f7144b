"""Credentials from Docker's own configuration, with scripts in the place of credential helpers."""

import base64
import json

import pytest

from host.passphrases import ASIDE, PASSPHRASE
from ops.docker.docker_config import credentials_for
from ops.errors import OpsError
from plan.settings.stack import Credentials

HOST = "registry.example.com"
PASSWORD = "geheim: mit Doppelpunkt"
ALICE = Credentials(username="alice", password=PASSWORD)
ANSWER = json.dumps({"ServerURL": HOST, "Username": "alice", "Secret": PASSWORD})


@pytest.fixture
def docker(tmp_path, monkeypatch):
    return DockerConfig(tmp_path, monkeypatch)


class DockerConfig:
    """A configuration folder, and helpers on PATH that are scripts."""

    def __init__(self, tmp_path, monkeypatch):
        self.folder, self.bin = tmp_path / "config", tmp_path / "bin"
        self.folder.mkdir()
        self.bin.mkdir()
        self.asked = tmp_path / "asked"
        monkeypatch.setenv("DOCKER_CONFIG", str(self.folder))
        monkeypatch.setenv("PATH", f"{self.bin}:/usr/bin:/bin")

    def write(self, content):
        text = content if isinstance(content, str) else json.dumps(content)
        (self.folder / "config.json").write_text(text)

    def helper(self, name, script):
        """A script that notes what it is asked, and goes on like this."""
        path = self.bin / f"docker-credential-{name}"
        path.write_text(f'#!/bin/sh\necho "$* $(cat)" >>"{self.asked}"\n{script}\n')
        path.chmod(0o755)

    def asks(self):
        return self.asked.read_text().splitlines() if self.asked.exists() else []


def entry(credentials=ALICE):
    login = f"{credentials.username}:{credentials.password}".encode()
    return {"auth": base64.b64encode(login).decode()}


def error_of(host=HOST):
    """The message; it never has the password in it."""
    with pytest.raises(OpsError) as caught:
        credentials_for(host)
    error = caught.value
    while error is not None:
        assert PASSWORD not in f"{error} {error.args}"
        assert entry()["auth"] not in f"{error} {error.args}"
        error = error.__cause__
    return str(caught.value)


class TestFile:
    def test_none(self, docker):
        assert credentials_for(HOST) is None

    @pytest.mark.parametrize("content", [{}, {"auths": {}}, {"auths": None}, {"credsStore": ""}])
    def test_nothing_in_it(self, docker, content):
        docker.write(content)
        assert credentials_for(HOST) is None

    def test_in_the_home_folder(self, docker, tmp_path, monkeypatch):
        monkeypatch.delenv("DOCKER_CONFIG")
        monkeypatch.setenv("HOME", str(tmp_path))
        docker.write({"auths": {HOST: entry()}})
        docker.folder.rename(tmp_path / ".docker")
        assert credentials_for(HOST) == ALICE

    @pytest.mark.parametrize(
        "content", ["{", "", "[1]", "[" * 100_000, '{"auths": [1]}', '{"credHelpers": 1}']
    )
    def test_damaged(self, docker, content):
        docker.write(content)
        error = error_of()
        assert "config.json" in error
        assert f"docker login {HOST}" in error

    def test_a_folder_in_its_place(self, docker):
        (docker.folder / "config.json").mkdir()
        assert "can't be read: Is a directory" in error_of()

    def test_the_home_folder_is_not_asked_where_another_is_named(
        self, docker, tmp_path, monkeypatch
    ):
        """The package would go on to it."""
        monkeypatch.setenv("HOME", str(tmp_path))
        docker.write({"auths": {HOST: entry()}})
        docker.folder.rename(tmp_path / ".docker")
        assert credentials_for(HOST) is None


class TestEntries:
    @pytest.mark.parametrize("key", [HOST, f"https://{HOST}/v1/"])
    def test_host_or_url(self, docker, key):
        docker.write({"auths": {"https://other.example.com": {}, key: entry()}})
        assert credentials_for(HOST) == ALICE
        assert credentials_for(f"not-{HOST}") is None

    def test_with_a_port(self, docker):
        docker.write({"auths": {f"https://{HOST}:5000/v1/": entry()}})
        assert credentials_for(f"{HOST}:5000") == ALICE
        assert credentials_for(HOST) is None

    @pytest.mark.parametrize(
        "key",
        [
            "https://index.docker.io/v1/",
            "index.docker.io",
            "docker.io",
            "https://registry-1.docker.io/v2/",
        ],
    )
    def test_docker_hub(self, docker, key):
        docker.write({"auths": {key: entry()}})
        assert credentials_for("docker.io") == ALICE
        assert credentials_for("index.docker.example") is None

    @pytest.mark.parametrize("auth", ["%%%", "YWxpY2U=", 7])
    def test_damaged(self, docker, auth):
        docker.write({"auths": {HOST: {"auth": auth}}})
        assert f"docker login {HOST}" in error_of()

    def test_an_identity_token(self, docker):
        docker.write({"auths": {HOST: {**entry(), "identitytoken": "t0ken"}}})
        assert "identity token" in error_of()
        assert "t0ken" not in error_of()


class TestHelpers:
    def test_of_this_host(self, docker):
        docker.write({"credHelpers": {HOST: "vault"}, "credsStore": "missing"})
        docker.helper("vault", f"echo '{ANSWER}'")
        assert credentials_for(HOST) == ALICE
        assert docker.asks() == [f"get {HOST}"]

    def test_of_all_hosts(self, docker):
        docker.write({"credHelpers": {"other.example.com": "missing"}, "credsStore": "vault"})
        docker.helper("vault", f"echo '{ANSWER}'")
        assert credentials_for(HOST) == ALICE

    def test_docker_hub_goes_by_its_old_url(self, docker):
        docker.write({"credsStore": "vault"})
        docker.helper("vault", f"echo '{ANSWER}'")
        assert credentials_for("docker.io") == ALICE
        assert docker.asks() == ["get https://index.docker.io/v1/"]

    @pytest.mark.parametrize(
        "script",
        [
            "echo 'credentials not found in native keychain'; exit 1",
            """echo '{"ServerURL":"","Username":"","Secret":""}'""",
        ],
    )
    def test_what_it_does_not_have_may_be_in_the_file(self, docker, script):
        docker.write({"credsStore": "vault"})
        docker.helper("vault", script)
        assert credentials_for(HOST) is None
        docker.write({"credsStore": "vault", "auths": {HOST: entry()}})
        assert credentials_for(HOST) == ALICE

    def test_an_identity_token(self, docker):
        docker.write({"credsStore": "vault"})
        docker.helper("vault", """echo '{"Username":"<token>","Secret":"t0ken"}'""")
        assert "access token" in error_of()
        assert "t0ken" not in error_of()

    @pytest.mark.filterwarnings("error")
    def test_missing(self, docker):
        docker.write({"credsStore": "vault"})
        assert "docker-credential-vault not installed" in error_of()

    def test_that_fails_is_quoted(self, docker):
        docker.write({"credsStore": "vault"})
        docker.helper("vault", "echo 'the vault is locked'; exit 3")
        error = error_of()
        assert "the vault is locked" in error
        assert f"set credentials for {HOST}" in error

    def test_that_fails_and_prints_a_secret_is_not_quoted(self, docker):
        docker.write({"credsStore": "vault"})
        docker.helper("vault", f"echo '{ANSWER}'; exit 3")
        assert "may contain a secret" in error_of()

    @pytest.mark.parametrize("answer", ["", PASSWORD, "[]", '{"Username":"a"}'])
    def test_an_answer_that_is_no_credentials_is_not_quoted(self, docker, answer):
        docker.write({"credsStore": "vault"})
        docker.helper("vault", f"echo '{answer}'")
        assert f"docker login {HOST}" in error_of()

    @pytest.mark.parametrize("name", [PASSPHRASE, *ASIDE.values()])
    def test_it_does_not_see_the_engines_secrets(self, docker, monkeypatch, name):
        monkeypatch.setenv(name, "engine")
        docker.write({"credsStore": "vault"})
        docker.helper("vault", f'echo "{{\\"Username\\":\\"${name}\\",\\"Secret\\":\\"s\\"}}"')
        assert credentials_for(HOST) == Credentials(username="", password="s")
