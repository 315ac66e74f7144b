"""What the other Docker needs of a machine, and what is said where it is not there."""

import os
import sys
from types import SimpleNamespace

import pytest

from host.errors import SetupError
from tests import debian_root
from tests.real.engines import __main__ as engines
from tests.real.engines import inside, root
from toolchain import debian

OTHERS = """\
Debian-Security main amd64 http://mirror.test/security/
Node main amd64 http://elsewhere.test/node/
Debian contrib amd64 http://mirror.test/contrib/
Debian main arm64 http://mirror.test/ports/
"""


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache of the user's; nothing is installed or made."""
    monkeypatch.setattr(root, "tool_folder", lambda *_: tmp_path / "tool")
    monkeypatch.setattr(debian_root.platform, "machine", lambda: "x86_64")
    ran = []
    monkeypatch.setattr(debian_root, "run", lambda _, argv: ran.append([str(one) for one in argv]))
    return ran


def apt_knows(monkeypatch, listed):
    monkeypatch.setattr(debian_root, "output_of", lambda _: listed)


def refusal(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["engines", "overlay2"])
    with pytest.raises(SystemExit) as ended:
        engines.main()
    assert ended.value.code == 1
    return capsys.readouterr().err


def test_who_is_not_root_is_told(cache, monkeypatch, capsys):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert "run this as root" in refusal(monkeypatch, capsys)


def test_a_missing_command_is_named(cache, monkeypatch, capsys):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(root.shutil, "which", lambda tool: None if tool == "unshare" else tool)
    said = refusal(monkeypatch, capsys)
    assert "the commands unshare, which are missing" in said
    assert "apt-get install util-linux" in said


@pytest.mark.parametrize("listed", [None, "", OTHERS], ids=["no apt", "no list", "not Debian's"])
def test_a_machine_without_debians_packages_is_told(cache, monkeypatch, capsys, listed):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    apt_knows(monkeypatch, listed)
    said = refusal(monkeypatch, capsys)
    assert "a Debian trixie with Docker can't be made" in said
    assert "Run this on Debian, after apt-get update" in said


def test_a_missing_debootstrap_that_cannot_be_installed_is_named(cache, monkeypatch, capsys):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    apt_knows(monkeypatch, f"{OTHERS}Debian main amd64 http://mirror.test/debian/")
    monkeypatch.setattr(root, "TOOLS", ())
    monkeypatch.setattr(debian_root.shutil, "which", lambda _: None)
    assert debian.shutil is debian_root.shutil, "so there is no apt-get either"
    said = refusal(monkeypatch, capsys)
    assert "debootstrap, which makes a Debian trixie with Docker, is missing" in said
    assert "apt-get install debootstrap" in said


def test_the_packages_come_from_where_apt_gets_them(cache, monkeypatch, tmp_path):
    apt_knows(monkeypatch, f"{OTHERS}Debian main amd64 http://mirror.test/debian/")
    monkeypatch.setattr(debian_root.shutil, "which", lambda tool: tool)
    debian_root.bootstrap(tmp_path / "root", "trixie", ("one", "two"), "a thing")
    [[*_, packages, suite, folder, mirror]] = cache
    assert packages == "--include=one,two"
    assert (suite, folder) == ("trixie", str(tmp_path / "root"))
    assert mirror == "http://mirror.test/debian/"


def daemon(version, driver):
    client = SimpleNamespace(version=lambda: {"Version": version}, info=lambda: {"Driver": driver})
    return SimpleNamespace(client=lambda: client)


@pytest.mark.parametrize(
    ("name", "version", "driver"),
    [("containerd", "26.1.5+dfsg1", "overlayfs"), ("machine", "20.10.24+dfsg1", "btrfs")],
)
def test_the_docker_and_the_image_store_asked_for_are_said(name, version, driver, capsys):
    inside.check(daemon(version, driver), name)
    said = capsys.readouterr().err
    assert f"Docker {version}" in said
    assert f"{name}, storage driver {driver}" in said


@pytest.mark.parametrize(
    ("version", "driver"), [("20.10.24+dfsg1", "overlay2"), ("26.1.5+dfsg1", "overlayfs")]
)
def test_another_docker_or_image_store_is_an_error(version, driver):
    with pytest.raises(SetupError, match=rf"this is Docker {version[:6]}.* and not Docker 26\.1"):
        inside.check(daemon(version, driver), "overlay2")
