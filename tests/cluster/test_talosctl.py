"""Which talosctl is used, and what it gets to see."""

import pytest

from ops.cluster import talosctl
from ops.cluster.folder import Folder
from ops.errors import OpsError
from plan.talosctl import Version


@pytest.fixture
def on_path(tmp_path, monkeypatch):
    """Puts a script in talosctl's place: a double that only tells a version."""

    def put(script):
        program = tmp_path / "talosctl"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        return str(program)

    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return put


def test_the_one_on_path_is_used_by_its_whole_path(on_path):
    program = on_path('echo "Client:"; echo "Talos v1.13.2"')
    assert talosctl.find() == talosctl.Talosctl(program=program, version=Version(1, 13, 2))


def test_it_is_asked_for_its_own_version_and_not_for_a_clusters(on_path):
    on_path('[ "$*" = "version --client --short" ] && echo v1.12.0')
    assert talosctl.find().version == Version(1, 12, 0)


def test_without_one_the_user_is_told_which_to_install(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(OpsError, match=r"Install talosctl 1\.10 to 1\.14"):
        talosctl.find()


@pytest.mark.parametrize("script", ["echo broken >&2; exit 1", "echo no version"])
def test_one_that_does_not_tell_its_version_is_no_talosctl(on_path, script):
    on_path(script)
    with pytest.raises(OpsError, match="does not say its version"):
        talosctl.find()


def test_it_sees_nothing_of_pulumi_and_no_file_of_the_users(monkeypatch, tmp_path):
    for name in ("PULUMI_CONFIG_PASSPHRASE", "PULUMI_COMMAND_STDOUT", "TALOS_CACHE_MIRRORS"):
        monkeypatch.setenv(name, "secret")
    monkeypatch.setenv("KUBECONFIG", "/home/me/.kube/config")
    monkeypatch.setenv("TALOSCONFIG", "/home/me/.talos/config")
    monkeypatch.setenv("DOCKER_HOST", "unix:///there.sock")
    seen = talosctl.environment(Folder(tmp_path))
    assert "secret" not in seen.values()
    assert seen["KUBECONFIG"] == str(tmp_path / "kubeconfig")
    assert seen["TALOSCONFIG"] == str(tmp_path / "talosconfig")
    assert seen["DOCKER_HOST"] == "unix:///there.sock"
    assert seen["TALOS_HOME"] == f"{seen['HOME']}/.talos", "old and new share what they fetch"
