"""What a set-up needs to write to, asked before any work."""

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


def test_where_all_can_be_written_nothing_is_said_and_nothing_is_left(home):
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

    def nobody(_):
        raise KeyError("uid not found")

    monkeypatch.setattr(pwd, "getpwuid", nobody)
    monkeypatch.delenv("HOME")
    with pytest.raises(RuntimeError):
        Path.home()


def test_without_any_home_it_says_what_to_set(homeless):
    assert "set HOME to a folder that this user can write to" in refused()


@pytest.mark.parametrize("words", [["setup"], ["talosctl", TALOSCTL[0]]])
def test_every_command_that_needs_a_home_asks_for_it_first(homeless, monkeypatch, words):
    for name in ("DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "argv", ["toolchain", *words])
    with pytest.raises(SetupError, match="set HOME to a folder"):
        toolchain.main()


def test_a_home_that_is_no_full_path_is_refused(home, monkeypatch):
    monkeypatch.setenv("HOME", "somewhere")
    assert refused() == "HOME is 'somewhere': it has to be the full path of your home folder"


def test_every_place_that_cant_be_written_is_told_at_once(home, monkeypatch, tmp_path):
    file = tmp_path / "file"
    file.touch()
    monkeypatch.setenv("HOME", str(file))
    monkeypatch.setattr(places, "WORK", Path("/proc/checkout/.work"))
    monkeypatch.setenv("XDG_STATE_HOME", "relative/state")
    first, *lines = refused().splitlines()
    assert first == "nothing was done:"
    assert [line.split(" can't be written")[0].split(" is '")[0].strip() for line in lines] == [
        "this checkout",
        "the cache of tools",
        "the private folder",
        "Pulumi's folder",
    ]
    assert f"{file}: Not a directory: set XDG_CACHE_HOME or HOME" in lines[1]
    assert "which is no full path: set XDG_STATE_HOME" in lines[2]


def test_a_full_disk_is_told(home, monkeypatch):
    def on_a_full_disk(dir):
        return Path("/dev/full").open("wb")

    monkeypatch.setattr(places.tempfile, "TemporaryFile", on_a_full_disk)
    first, *lines = refused().splitlines()
    assert first == "nothing was done:"
    assert len(lines) == 4
    for line in lines:
        assert "can't be written: " in line
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
    assert done.stdout == "", "no line to take over"
    assert done.stderr.startswith(
        "set-up: nothing was done:\n  the cache of tools can't be written"
    )
    assert len(done.stderr.splitlines()) == 2
