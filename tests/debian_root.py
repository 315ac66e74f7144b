"""Debian's smallest system in a folder, made of packages from where this machine's apt gets its."""

import platform
import shutil
from collections.abc import Sequence
from pathlib import Path

from host.errors import SetupError
from host.programs import output_of
from toolchain import debian
from toolchain.steps import run

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def bootstrap(root: Path, suite: str, packages: Sequence[str], what: str) -> None:
    """Make a root folder of a release of Debian, with these packages in it.

    Args:
        root: the folder, which is not there yet.
        suite: Debian's name of the release.
        packages: more than the smallest system has.
        what: says what it is for.

    Raises:
        SetupError: this machine can't; says what is missing.
    """
    mirror = _mirror(what)
    if shutil.which("debootstrap") is None:
        debian.install(("debootstrap",), f"debootstrap, which makes {what}, is missing")
    options = ["--variant=minbase", f"--include={','.join(packages)}"]
    run(
        f"making {what}",
        # In a mount namespace of its own: what it mounts goes with it, however it ends.
        ["unshare", "--mount", "debootstrap", *options, suite, root, mirror],
    )


def _mirror(what: str) -> str:
    form = "$(LABEL) $(COMPONENT) $(ARCHITECTURE) $(REPO_URI)"
    listed = output_of(["apt-get", "indextargets", "--format", form, "Created-By: Packages"]) or ""
    wanted = f"Debian main {ARCHITECTURES.get(platform.machine(), platform.machine())}"
    for line in listed.splitlines():
        known, _, address = line.rpartition(" ")
        if known == wanted:
            return address
    raise SetupError(
        f"{what} can't be made: it takes Debian's packages, and apt-get on this machine knows no "
        "archive of Debian's. Run this on Debian, after apt-get update."
    )
