"""Which Docker is chosen, and how one answers; the daemons are fakes."""

import dataclasses
import errno
import hashlib
import http.client
import json
import os
import re
import socket
import threading

import pytest
import trustme

from host import docker_endpoint
from host.docker_endpoint import (
    Endpoint,
    NoAnswerError,
    NobodyListensError,
    NotAllowedError,
    SlowError,
)
from host.errors import SetupError
from tests.fakes.dockerd import Answer, tls_server, unix_server
from toolchain import docker_engine

USUAL = "unix:///var/run/docker.sock"
NO_TLS = {"DOCKER_TLS": "", "DOCKER_TLS_VERIFY": "", "DOCKER_CERT_PATH": ""}


class Machine:
    """The user's variables and docker configuration; both empty at first."""

    def __init__(self, folder, monkeypatch):
        self.folder = folder
        self._monkeypatch = monkeypatch
        for name in (*docker_endpoint.VARIABLES, "DOCKER_CONTEXT"):
            monkeypatch.setenv(name, "")  # so that it is as before at the end, whoever sets it
            monkeypatch.delenv(name)
        self.set(DOCKER_CONFIG=folder)

    def set(self, **variables):
        for name, value in variables.items():
            self._monkeypatch.setenv(name, str(value))

    def configure(self, **content):
        (self.folder / "config.json").write_text(json.dumps(content))

    def context(self, name, host, *, tls=(), skips=False):
        """As `docker context create` keeps it."""
        digest = hashlib.sha256(name.encode()).hexdigest()
        meta = self.folder / "contexts" / "meta" / digest / "meta.json"
        meta.parent.mkdir(parents=True)
        docker = {"Host": host, "SkipTLSVerify": skips}
        meta.write_text(json.dumps({"Name": name, "Metadata": {}, "Endpoints": {"docker": docker}}))
        folder = self.folder / "contexts" / "tls" / digest / "docker"
        for file in tls:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / file).touch()
        return folder


@pytest.fixture
def machine(tmp_path, monkeypatch):
    return Machine(tmp_path, monkeypatch)


class TestChosen:
    def test_without_a_choice_it_is_the_default_socket(self, machine):
        assert docker_endpoint.chosen() == Endpoint(url=USUAL)
        machine.configure(auths={})
        assert docker_endpoint.chosen() == Endpoint(url=USUAL)
        machine.configure(currentContext="default")
        assert docker_endpoint.chosen() == Endpoint(url=USUAL)
        assert docker_endpoint.chosen().environment == {"DOCKER_HOST": "", **NO_TLS}

    def test_the_active_context(self, machine):
        machine.configure(currentContext="colima")
        machine.context("colima", "unix:///home/me/.colima/docker.sock")
        endpoint = docker_endpoint.chosen()
        assert endpoint.url == "unix:///home/me/.colima/docker.sock"
        assert "'colima'" in endpoint.source
        assert str(machine.folder / "config.json") in endpoint.source
        assert endpoint.environment == {"DOCKER_HOST": endpoint.url, **NO_TLS}

    def test_variables_win_in_the_docker_commands_order(self, machine):
        machine.configure(currentContext="colima")
        for name in ("colima", "desktop"):
            machine.context(name, f"unix:///{name}.sock")
        machine.set(DOCKER_CONTEXT="desktop")
        assert docker_endpoint.chosen().url == "unix:///desktop.sock"
        machine.set(DOCKER_HOST="unix:///mine.sock")
        assert docker_endpoint.chosen() == Endpoint(url="unix:///mine.sock", source="DOCKER_HOST")
        machine.set(DOCKER_HOST="", DOCKER_CONTEXT="default")
        assert docker_endpoint.chosen() == Endpoint(url=USUAL)

    @pytest.mark.parametrize(
        ("host", "url"),
        [
            ("unix://", USUAL),
            ("unix:///a b.sock", "unix:///a b.sock"),
            ("tcp://127.0.0.1", "tcp://127.0.0.1:2375"),
            ("tcp://build.lan:99/", "tcp://build.lan:99"),
            ("127.0.0.1:2375", "tcp://127.0.0.1:2375"),
            ("tcp://[fd00::1]", "tcp://[fd00::1]:2375"),
        ],
    )
    def test_every_part_gets_a_form_that_it_accepts(self, machine, host, url):
        machine.set(DOCKER_HOST=host)
        assert docker_endpoint.chosen().environment["DOCKER_HOST"] == url

    @pytest.mark.parametrize(
        ("host", "shown"),
        [
            ("ssh://me:secret@build.lan", "ssh://...@build.lan"),
            ("npipe:////./pipe/docker_engine", "npipe:////./pipe/docker_engine"),
            ("/var/run/docker.sock", "/var/run/docker.sock"),
            ("tcp://", "tcp://"),
            ("tcp://host:port", "tcp://host:port"),
            ("tcp://host/path", "tcp://host/path"),
            ("tcp://me:secret@host", "tcp://...@host"),
        ],
    )
    def test_an_address_that_some_part_can_not_use_is_refused(self, machine, host, shown):
        machine.set(DOCKER_HOST=host)
        with pytest.raises(SetupError, match=rf"{re.escape(shown)} .*DOCKER_HOST") as caught:
            docker_endpoint.chosen()
        assert "secret" not in str(caught.value)

    def test_tls_of_variables(self, machine):
        for name in docker_endpoint.TLS_FILES:
            (machine.folder / name).touch()
        # A folder alone does not turn on TLS, as for the docker command.
        machine.set(DOCKER_HOST="tcp://host", DOCKER_CERT_PATH="/nowhere")
        assert docker_endpoint.chosen().environment == {
            "DOCKER_HOST": "tcp://host:2375",
            **NO_TLS,
        }
        # Without one it uses its own folder; the Go client would use no TLS.
        machine.set(DOCKER_TLS_VERIFY="1", DOCKER_CERT_PATH="")
        assert docker_endpoint.chosen().environment == {
            "DOCKER_HOST": "tcp://host:2376",
            "DOCKER_TLS": "",
            "DOCKER_TLS_VERIFY": "1",
            "DOCKER_CERT_PATH": str(machine.folder),
        }
        machine.set(DOCKER_TLS_VERIFY="", DOCKER_TLS="1")
        with pytest.raises(SetupError, match="DOCKER_TLS without DOCKER_TLS_VERIFY"):
            docker_endpoint.chosen()

    def test_tls_of_a_context(self, machine):
        machine.set(DOCKER_CONTEXT="lab")
        folder = machine.context("lab", "tcp://lab:2376", tls=docker_endpoint.TLS_FILES)
        assert docker_endpoint.chosen().environment == {
            "DOCKER_HOST": "tcp://lab:2376",
            "DOCKER_TLS": "",
            "DOCKER_TLS_VERIFY": "1",
            "DOCKER_CERT_PATH": str(folder),
        }

    @pytest.mark.parametrize("tls", [docker_endpoint.TLS_FILES, ()])
    def test_tls_without_verification_is_refused(self, machine, tls):
        """Pulumi's provider can't do that, and without certificates it was taken for no TLS."""
        machine.set(DOCKER_CONTEXT="lab")
        machine.context("lab", "tcp://lab:2376", tls=tls, skips=True)
        with pytest.raises(SetupError, match=r"'lab' in .*skip-tls-verify"):
            docker_endpoint.chosen()

    @pytest.mark.parametrize("tls", [docker_endpoint.TLS_FILES, ()])
    @pytest.mark.parametrize(
        "host", ["tcp://lab", "tcp://lab:99", "unix:///colima.sock", "unix://"]
    )
    def test_what_is_exported_leads_to_the_same_docker(self, machine, host, tls):
        # These are about DOCKER_HOST, which is not set yet.
        machine.set(DOCKER_TLS="1", DOCKER_TLS_VERIFY="1", DOCKER_CERT_PATH="/nowhere")
        machine.set(DOCKER_CONTEXT="some")
        machine.context("some", host, tls=tls)
        endpoint = docker_endpoint.chosen()
        machine.set(**endpoint.environment)
        again = docker_endpoint.chosen()
        assert again == dataclasses.replace(endpoint, source="DOCKER_HOST")
        assert again == docker_endpoint.without_context()

    def test_incomplete_certificates_are_refused(self, machine):
        machine.set(DOCKER_CONTEXT="lab")
        machine.context("lab", "tcp://lab:2376", tls=["ca.pem"])
        with pytest.raises(SetupError, match=r"cert\.pem, key\.pem"):
            docker_endpoint.chosen()

    def test_a_context_that_is_not_there_or_not_readable(self, machine):
        machine.configure(currentContext="gone")
        with pytest.raises(SetupError, match=r"'gone' in .* context use default"):
            docker_endpoint.chosen()
        machine.context("gone", "unix:///x")
        for text in ("{", "[]", "{}", '{"Endpoints": {"docker": 1}}'):
            [meta] = machine.folder.glob("contexts/meta/*/meta.json")
            meta.write_text(text)
            with pytest.raises(SetupError, match=r"'gone' in .* read"):
                docker_endpoint.chosen()

    @pytest.mark.parametrize("text", ["{", "[]"])
    def test_a_configuration_that_is_not_readable(self, machine, text):
        (machine.folder / "config.json").write_text(text)
        with pytest.raises(SetupError, match=r"config\.json.* read"):
            docker_endpoint.chosen()

    def test_the_provider_knows_no_context(self, machine):
        machine.set(DOCKER_CONTEXT="colima")
        machine.context("colima", f"unix://{machine.folder}/link.sock")
        provider, used = docker_endpoint.without_context(), docker_endpoint.chosen()
        assert provider.url == USUAL
        assert not docker_endpoint.same(provider, used)
        # As Docker Desktop makes it.
        (machine.folder / "link.sock").symlink_to("/var/run/docker.sock")
        assert docker_endpoint.same(provider, used)
        machine.set(DOCKER_HOST="tcp://host")
        assert docker_endpoint.without_context() == docker_endpoint.chosen()


def at(path, source="DOCKER_HOST"):
    return Endpoint(url=f"unix://{path}", source=source)


def version_of(endpoint):
    return docker_endpoint.ask(endpoint, "/version", "Version")


@pytest.fixture
def forbidden(monkeypatch):
    """As for a user who is not in the group; the tests may run as root, who is never refused."""

    def refuse(*_):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(docker_endpoint._UnixConnection, "connect", refuse)
    monkeypatch.setattr(http.client.HTTPConnection, "connect", refuse)


class TestAsk:
    def test_a_socket_that_answers(self, tmp_path):
        with unix_server(tmp_path / "s"):
            assert version_of(at(tmp_path / "s")) == "27.1.0"

    def test_nobody_listens(self, tmp_path):
        with pytest.raises(NobodyListensError, match=r"/s \(from DOCKER_HOST\): No such file"):
            version_of(at(tmp_path / "s"))
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(tmp_path / "s"))
        with pytest.raises(NobodyListensError, match="refused"):
            version_of(at(tmp_path / "s"))

    def test_one_that_is_busy_is_not_away(self, tmp_path, monkeypatch):
        monkeypatch.setattr(docker_endpoint, "ANSWER_SECONDS", 0.1)
        with socket.socket(socket.AF_UNIX) as silent:
            silent.bind(str(tmp_path / "s"))
            silent.listen()
            with pytest.raises(SlowError, match=r"0\.1 s"):
                version_of(at(tmp_path / "s"))

    def test_a_socket_that_this_user_may_not_use(self, tmp_path, forbidden):
        with pytest.raises(NotAllowedError, match=r"/s \(from DOCKER_HOST\): Permission denied"):
            version_of(at(tmp_path / "s"))
        with pytest.raises(NoAnswerError, match="Permission denied") as caught:
            version_of(Endpoint(url="tcp://127.0.0.1:1", source="x"))
        assert not isinstance(caught.value, NotAllowedError), "a firewall has no group"

    @pytest.mark.parametrize("host", ["build..lan", f"{'a' * 64}.lan", ".lan", "a b"])
    @pytest.mark.parametrize("folder", [None, "with TLS"])
    def test_a_wrong_host_name_is_reported(self, tmp_path, host, folder):
        if folder:
            with tls_server(tmp_path):
                pass  # for its certificates
        endpoint = Endpoint(url=f"tcp://{host}:1", source="x", certificates=folder and tmp_path)
        with pytest.raises(NoAnswerError, match=rf"tcp://{host}:1 \(from x\): "):
            version_of(endpoint)

    @pytest.mark.parametrize("body", [b"hello", b"{}", b"[]", b"\xff"])
    def test_something_else_answers(self, tmp_path, monkeypatch, body):
        monkeypatch.setattr(Answer, "body", body)
        with (
            unix_server(tmp_path / "s"),
            pytest.raises(NoAnswerError, match="HTTP 200"),
        ):
            version_of(at(tmp_path / "s"))

    def test_by_tls_with_certificates_on_both_sides(self, tmp_path):
        with tls_server(tmp_path) as url:
            with_tls = Endpoint(url=url, source="x", certificates=tmp_path)
            assert version_of(with_tls) == "27.1.0"
            trustme.CA().cert_pem.write_to_path(tmp_path / "ca.pem")
            with pytest.raises(NoAnswerError, match="CERTIFICATE_VERIFY_FAILED"):
                version_of(with_tls)
            with pytest.raises(NoAnswerError):
                version_of(Endpoint(url=url, source="x"))
            (tmp_path / "key.pem").write_text("no key")
            with pytest.raises(NoAnswerError):
                version_of(with_tls)


@pytest.fixture
def never_started(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(docker_engine, "_start", pytest.fail)


@pytest.fixture
def slow_server(tmp_path, monkeypatch):
    """Does not answer the first request, like one that systemd starts on the first request."""
    requests, second = [], threading.Event()

    def answer(self):
        requests.append(self.path)
        if len(requests) > 1:
            second.set()
            plain(self)
        else:
            second.wait(60)

    plain = Answer.do_GET
    monkeypatch.setattr(Answer, "do_GET", answer)
    with unix_server(tmp_path / "slow"):
        yield tmp_path / "slow"
    assert len(requests) == 2


class TestChoose:
    def test_a_dead_one_that_was_chosen_stops_everything(self, machine, never_started, capsys):
        machine.configure(currentContext="colima")
        machine.context("colima", f"unix://{machine.folder}/none.sock")
        with pytest.raises(SetupError, match=r"none\.sock .*'colima'"):
            docker_engine.choose()
        assert f"unix://{machine.folder}/none.sock" in capsys.readouterr().err

    def test_every_child_goes_to_the_chosen_one(self, machine, never_started, capsys):
        machine.set(DOCKER_CONTEXT="colima", DOCKER_TLS_VERIFY="1", DOCKER_CERT_PATH="/x")
        path = machine.folder / "s"
        machine.context("colima", f"unix://{path}")
        with unix_server(path):
            endpoint = docker_engine.choose()
        assert {name: os.environ.get(name, "") for name in docker_endpoint.VARIABLES} == {
            "DOCKER_HOST": f"unix://{path}",
            **NO_TLS,
        }
        assert str(endpoint) in capsys.readouterr().err

    def test_beside_a_dockerd_that_is_busy_no_second_one_is_started(
        self, tmp_path, monkeypatch, never_started, capsys
    ):
        monkeypatch.setattr(docker_endpoint, "ANSWER_SECONDS", 0.1)
        monkeypatch.setattr(docker_engine, "SLOW_SECONDS", 0.2)
        with socket.socket(socket.AF_UNIX) as silent:
            silent.bind(str(tmp_path / "s"))
            silent.listen()
            with pytest.raises(SetupError, match=r"0\.2 s\. .*systemctl restart"):
                docker_engine.ensure(at(tmp_path / "s", source=""))
        assert "waiting up to 0.2 s more" in capsys.readouterr().err

    @pytest.mark.parametrize("source", ["", "DOCKER_HOST"])
    def test_one_that_is_slow_is_waited_for(
        self, machine, monkeypatch, never_started, source, slow_server
    ):
        monkeypatch.setattr(docker_engine, "ensure_client", lambda: None)
        monkeypatch.setattr(docker_endpoint, "ANSWER_SECONDS", 0.1)
        if source:
            machine.set(DOCKER_HOST=f"unix://{slow_server}")
            docker_engine.choose()
        else:
            assert "27.1.0" in docker_engine.ensure(at(slow_server, source))

    @pytest.mark.parametrize("source", ["", "DOCKER_HOST"])
    def test_a_user_who_may_not_use_it_learns_about_the_group(
        self, machine, never_started, forbidden, source, tmp_path
    ):
        machine.set(DOCKER_HOST=f"unix://{tmp_path}/s")
        with pytest.raises(SetupError, match=r"Permission denied\. .*usermod -aG docker") as caught:
            docker_engine.ensure(at(tmp_path / "s", "")) if not source else docker_engine.choose()
        assert "Start it" not in str(caught.value)
        assert "Errno" not in str(caught.value)
