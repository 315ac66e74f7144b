"""Which talosctl is used, and with which environment."""

import pytest

from ops.cluster import talosctl
from ops.cluster.folder import Folder
from ops.errors import OpsError
from plan.talos.versions import Version


@pytest.fixture
def on_path(tmp_path, monkeypatch):
    """Puts a script in talosctl's place: a double that only prints a version."""

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
    with pytest.raises(OpsError, match=r"talosctl 1\.10 to 1\.14"):
        talosctl.find()


@pytest.mark.parametrize("script", ["echo broken >&2; exit 1", "echo no version"])
def test_one_that_does_not_print_its_version_is_not_used(on_path, script):
    on_path(script)
    with pytest.raises(OpsError, match="does not say its version"):
        talosctl.find()


class Managed:
    """A user with a version manager, and one talosctl that it has installed; all are scripts.

    A file below the user's HOME says which version to run, as for mise and asdf.
    """

    def __init__(self, folder, monkeypatch):
        self.home = folder / "home"
        self.real = self._program(folder / "installed" / "1.12.0" / "talosctl", "echo v1.12.0")
        self._bin = folder / "bin"
        self._shims = folder / "shims"
        (self.home / "versions").parent.mkdir()
        (self.home / "versions").write_text(str(self.real))
        monkeypatch.setenv("HOME", str(self.home))
        monkeypatch.setenv("XDG_STATE_HOME", str(folder / "state"))
        monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        monkeypatch.setenv("PATH", f"{self._shims}:{self._bin}:/usr/bin:/bin")

    def manager(self, name):
        """By its own name it answers `which`; by another name it is a shim."""
        real = '$(cat "$HOME/versions") || { echo "No version is set" >&2; exit 126; }'
        script = (
            f"real={real}\n"
            f'case "${{0##*/}} $1" in\n  "{name} which") echo "$real" ;;\n'
            f'  "{name} exec") shift 2; exec "$real" "$@" ;;\n  *) exec "$real" "$@" ;;\nesac'
        )
        return self._program(self._bin / name, script)

    def shim(self, *, link=None, script=None):
        path = self._shims / "talosctl"
        if link:
            path.parent.mkdir()
            path.symlink_to(link)
        else:
            self._program(path, script)

    def _program(self, path, script):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return path


@pytest.fixture
def managed(tmp_path, monkeypatch):
    return Managed(tmp_path, monkeypatch)


@pytest.mark.parametrize("manager", ["mise", "aqua"])
def test_behind_a_shim_that_is_a_link_is_the_real_program(managed, manager):
    managed.shim(link=managed.manager(manager))
    found = talosctl.find()
    assert found == talosctl.Talosctl(program=str(managed.real), version=Version(1, 12, 0))


def test_behind_a_shim_that_is_a_script_too(managed):
    managed.manager("asdf")
    managed.shim(script='exec asdf exec "talosctl" "$@"')
    assert talosctl.find().program == str(managed.real)


def test_a_shim_of_an_unknown_manager_is_refused_before_anything_is_made(managed, tmp_path):
    managed.manager("another")
    managed.shim(script='exec another exec talosctl "$@"')
    with pytest.raises(OpsError, match="works here, but not in another folder"):
        talosctl.find()
    assert not (tmp_path / "state").exists()
    (managed.home / "versions").unlink()
    with pytest.raises(OpsError, match=r"does not say its version: .*No such file"):
        talosctl.find()


def test_a_shim_that_works_anywhere_is_used_as_it_is(managed):
    managed.manager("mise")
    managed.shim(script=f'exec {managed.real} "$@"')
    assert talosctl.find().program.endswith("/shims/talosctl")


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
