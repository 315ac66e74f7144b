"""The userland of a node: Debian's smallest system and the tools that Talos runs.

A real node's userland is Talos's own, which comes only as an image; here it is made from packages.
"""

import hashlib
import shutil
from pathlib import Path

from host.console import say
from host.locks import made_once
from host.paths import tool_folder
from tests.debian_root import bootstrap
from tests.real.talos.parts.versions import DEBIAN
from toolchain.steps import run

PACKAGES = (
    "ca-certificates",
    "e2fsprogs",
    "iproute2",
    "iptables",
    "kmod",
    "libseccomp2",
    "mount",
    "nftables",
    "procps",
    "runc",
    "udev",
    "util-linux",
    "xfsprogs",
)
# Nobody reads or installs anything inside a node.
UNWANTED = (
    "usr/share/bash-completion",
    "usr/share/doc",
    "usr/share/i18n",
    "usr/share/info",
    "usr/share/lintian",
    "usr/share/locale",
    "usr/share/man",
    "usr/share/zoneinfo",
    "var/cache",
    "var/lib/apt",
    "var/lib/dpkg",
    "var/log",
)
# Talos puts its own files there.
REPLACED = ("etc/machine-id", "etc/os-release", "etc/resolv.conf")


def ensure() -> Path:
    """The userland as one tar archive; a changed recipe makes a new one."""
    recipe = hashlib.sha256(repr((PACKAGES, UNWANTED, REPLACED)).encode()).hexdigest()[:8]
    return made_once(tool_folder("node-rootfs", f"{DEBIAN}-{recipe}") / "rootfs.tar", _make)


def _make(archive: Path) -> None:
    say("making the nodes' userland from Debian packages, once")
    root = archive.parent / "rootfs"
    bootstrap(root, DEBIAN, PACKAGES, "the nodes' userland")
    for name in UNWANTED:
        shutil.rmtree(root / name, ignore_errors=True)
    for name in REPLACED:
        (root / name).unlink(missing_ok=True)
    run(
        "packing the nodes' userland",
        ["tar", "--create", "--numeric-owner", "--directory", root, "--file", archive, "."],
    )
