"""Credentials from Docker's own configuration, with scripts in the place of credential helpers."""

import base64
import json
import time

import pytest

from host.passphrases import ASIDE, PASSPHRASE
from ops.docker import docker_config
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

    @pytest.mark.parametrize("content", ["{", "", "\x00", "[" * 100_000])
    def test_no_json(self, docker, content):
        docker.write(content)
        assert "config.json is not readable as JSON: mend it" in error_of()

    @pytest.mark.parametrize(
        "content", ["[]", '"text"', "null", '{"auths": []}', '{"credHelpers": 1}']
    )
    def test_other_json(self, docker, content):
        docker.write(content)
        assert "JSON object: mend it" in error_of()

    def test_a_folder_in_its_place(self, docker):
        (docker.folder / "config.json").mkdir()
        assert "can't be read: Is a directory" in error_of()


class TestEntries:
    @pytest.mark.parametrize(
        "key",
        [HOST, f"https://{HOST}", f"http://{HOST}", f"https://{HOST}/v1/", f"https://{HOST}/v2/"],
    )
    def test_every_spelling(self, docker, key):
        docker.write({"auths": {"https://other.example.com": {}, key: entry()}})
        assert credentials_for(HOST) == ALICE

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

    def test_the_hosts_own_name_is_the_first_choice(self, docker):
        bob = Credentials(username="bob", password="b")
        docker.write({"auths": {f"https://{HOST}/v1/": entry(bob), HOST: entry()}})
        assert credentials_for(HOST) == ALICE

    def test_other_hosts_are_nobodys_concern(self, docker):
        docker.write({"auths": {"broken.example.com": {"auth": "%%%"}, HOST: entry()}})
        assert credentials_for(HOST) == ALICE
        assert credentials_for(f"not-{HOST}") is None

    @pytest.mark.parametrize(
        "auth", ["%%%", "YWxpY2U=", 7, "é", base64.b64encode(b"\xff:\xfe").decode()]
    )
    def test_damaged(self, docker, auth):
        docker.write({"auths": {HOST: {"auth": auth}}})
        assert f"the entry for {HOST} is damaged: run docker login {HOST}" in error_of()

    def test_no_object(self, docker):
        docker.write({"auths": {HOST: "alice"}})
        assert f"the entry for {HOST} is damaged" in error_of()

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
            "echo 'Credentials not found in native keychain'; exit 1",
            """echo '{"ServerURL":"","Username":"","Secret":""}'""",
        ],
    )
    def test_what_it_does_not_have_may_stand_in_the_file(self, docker, script):
        docker.write({"credsStore": "vault"})
        docker.helper("vault", script)
        assert credentials_for(HOST) is None
        docker.write({"credsStore": "vault", "auths": {HOST: entry()}})
        assert credentials_for(HOST) == ALICE

    def test_an_identity_token(self, docker):
        docker.write({"credsStore": "vault"})
        docker.helper("vault", """echo '{"Username":"<token>","Secret":"t0ken"}'""")
        assert "make an access token there" in error_of()
        assert "t0ken" not in error_of()

    def test_missing(self, docker):
        docker.write({"credsStore": "vault"})
        assert "docker-credential-vault, which is not on PATH" in error_of()

    def test_that_can_not_be_started(self, docker):
        docker.write({"credsStore": "vault"})
        (docker.bin / "docker-credential-vault").write_bytes(b"\x7fELF nothing")
        (docker.bin / "docker-credential-vault").chmod(0o755)
        assert "docker-credential-vault can't be started" in error_of()

    @pytest.mark.parametrize("name", ["../vault", "/bin/vault", "", " ", 7, ["vault"]])
    def test_no_name_of_a_helper(self, docker, name):
        docker.write({"credHelpers": {HOST: name}})
        if name:
            assert "is no name of a credential helper" in error_of()
        else:
            assert credentials_for(HOST) is None

    def test_that_fails_is_quoted(self, docker):
        docker.write({"credsStore": "vault"})
        docker.helper("vault", "echo 'the vault is locked'; echo 'run vault open' >&2; exit 3")
        assert error_of().endswith("(exit status 3): the vault is locked run vault open")

    def test_that_fails_with_a_secret_in_its_words_is_not(self, docker):
        docker.write({"credsStore": "vault"})
        docker.helper("vault", f"echo '{ANSWER}'; exit 3")
        assert "may hold a secret" in error_of()

    @pytest.mark.parametrize(
        "said", ["", "alice", "[]", '{"Username":"a"}', '{"Username":"a","Secret":1}']
    )
    def test_that_says_something_else(self, docker, said):
        docker.write({"credsStore": "vault"})
        docker.helper("vault", f"echo '{said}'")
        assert "something else than credentials" in error_of()

    def test_that_says_something_else_is_not_quoted(self, docker):
        docker.write({"credsStore": "vault"})
        docker.helper("vault", f"echo '{PASSWORD}'")
        assert "something else than credentials" in error_of()

    def test_that_waits_for_ever_is_ended_with_what_it_has_started(self, docker, monkeypatch):
        monkeypatch.setattr(docker_config, "HELPER_SECONDS", 0.5)
        docker.write({"credsStore": "vault"})
        docker.helper("vault", f"echo '{ANSWER}'\nsleep 60")
        started = time.monotonic()
        assert "is not done within 0.5 s" in error_of()
        assert time.monotonic() - started < 10

    @pytest.mark.parametrize("name", [PASSPHRASE, *ASIDE.values()])
    def test_it_does_not_see_the_engines_secrets(self, docker, monkeypatch, name):
        monkeypatch.setenv(name, "engine")
        docker.write({"credsStore": "vault"})
        docker.helper("vault", f'echo "{{\\"Username\\":\\"${name}\\",\\"Secret\\":\\"s\\"}}"')
        assert credentials_for(HOST) == Credentials(username="", password="s")
