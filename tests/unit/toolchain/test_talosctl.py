"""Which talosctl is on PATH: the user's own, or one that is built because there is none."""

import pytest

from host.errors import SetupError
from toolchain import engine, talosctl


@pytest.fixture
def work_bin(tmp_path, monkeypatch):
    """The project's own folder on PATH, and a file in the place of the program that is built."""
    folder = tmp_path / "work-bin"
    folder.mkdir()
    built = tmp_path / "built"
    built.touch()
    monkeypatch.setattr(talosctl, "BIN", folder)
    monkeypatch.setattr(engine, "BIN", folder)
    monkeypatch.setattr(talosctl, "ensure", lambda version: built)
    monkeypatch.setenv("PATH", str(folder))
    return folder


def test_if_there_is_none_one_is_built_and_put_on_path(work_bin, tmp_path, capsys):
    talosctl.offer()
    talosctl.offer()
    assert (work_bin / "talosctl").resolve() == tmp_path / "built"
    assert "1.13.0" in capsys.readouterr().err


def test_the_users_own_is_never_hidden_also_one_that_came_later(work_bin, tmp_path, monkeypatch):
    talosctl.offer()
    own = tmp_path / "own"
    own.mkdir()
    (own / "talosctl").touch(mode=0o755)
    monkeypatch.setenv("PATH", f"{work_bin}:{own}")
    talosctl.offer()
    assert not (work_bin / "talosctl").exists()


def test_a_version_that_nothing_pins_is_refused():
    with pytest.raises(SetupError, match=r"talosctl 1\.9\.0"):
        talosctl.ensure("1.9.0")
