"""Whether a set-up can write everywhere it needs to, checked before any work."""

import os
import pwd
import subprocess
import sys
from pathlib import Path

import pytest

from host.errors import SetupError
from host.paths import ROOT
from toolchain import __main__ as toolchain
from toolchain import places
from toolchain.versions import TALOSCTL


@pytest.fixture
def home(monkeypatch, tmp_path):
    """A home folder that all places are below."""
    folder = tmp_path / "home"
    folder.mkdir()
    for name in ("XDG_CACHE_HOME", "XDG_STATE_HOME", "PULUMI_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setattr(places, "WORK", tmp_path / "checkout" / ".work")
    return folder


def refused():
    with pytest.raises(SetupError) as caught:
        places.check()
    return str(caught.value)


def test_if_every_place_is_writable_nothing_is_said_and_nothing_is_left(home):
    assert places.check() == {}
    assert list(home.iterdir()) == []


@pytest.mark.parametrize("unset", [True, False])
def test_a_home_that_is_not_set_is_what_the_system_says(home, monkeypatch, capsys, unset):
    entry = pwd.struct_passwd(("me", "x", 0, 0, "", str(home), "/bin/sh"))
    monkeypatch.setattr(pwd, "getpwuid", lambda _: entry)
    monkeypatch.delenv("HOME") if unset else monkeypatch.setenv("HOME", "")
    assert places.check() == {"HOME": str(home)}
    assert f"HOME is not set: using {home}" in capsys.readouterr().err


@pytest.fixture
def homeless(home, monkeypatch):
    """As in a container that runs under a number without a name."""

    def unknown(_):
        raise KeyError("uid not found")

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    monkeypatch.delenv("HOME")
    with pytest.raises(RuntimeError):
        Path.home()


def test_without_any_home_it_says_what_to_set(homeless):
    assert "set HOME to a folder that this user can write to" in refused()


@pytest.mark.parametrize("arguments", [["setup"], ["talosctl", TALOSCTL[0]]])
def test_every_command_that_needs_a_home_checks_for_it_first(homeless, monkeypatch, arguments):
    for name in ("DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "argv", ["toolchain", *arguments])
    with pytest.raises(SetupError, match="set HOME"):
        toolchain.main()


def test_a_home_that_is_not_an_absolute_path_is_refused(home, monkeypatch):
    monkeypatch.setenv("HOME", "somewhere")
    assert "HOME is 'somewhere'" in refused()


def test_every_place_that_is_not_writable_is_reported_at_once(home, monkeypatch, tmp_path):
    file = tmp_path / "file"
    file.touch()
    monkeypatch.setenv("HOME", str(file))
    monkeypatch.setattr(places, "WORK", Path("/proc/checkout/.work"))
    monkeypatch.setenv("XDG_STATE_HOME", "relative/state")
    first, *lines = refused().splitlines()
    assert first == "nothing was done:"
    assert [line.split(" is ")[0].strip() for line in lines] == [
        "this checkout",
        "the tool cache",
        "the private folder",
        "Pulumi's folder",
    ]
    assert f"{file}: Not a directory: set XDG_CACHE_HOME or HOME" in lines[1]
    assert "'relative/state" in lines[2]
    assert "set XDG_STATE_HOME" in lines[2]


def test_a_full_disk_is_reported(home, monkeypatch):
    def on_a_full_disk(dir):
        return Path("/dev/full").open("wb")

    monkeypatch.setattr(places.tempfile, "TemporaryFile", on_a_full_disk)
    first, *lines = refused().splitlines()
    assert first == "nothing was done:"
    assert len(lines) == 4
    for line in lines:
        assert ": No space left on device: " in line


def test_the_command_ends_at_once_with_these_lines(home, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "toolchain", "setup"],
        cwd=ROOT,
        env={**os.environ, "XDG_CACHE_HOME": "/proc/nowhere"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1
    assert done.stdout == "", "no lines for the shell"
    assert done.stderr.startswith("set-up: nothing was done:\n  the tool cache ")
    assert len(done.stderr.splitlines()) == 2
