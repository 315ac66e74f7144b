"""talosctl: the user's own if there is one, else one built from its Go module."""

import shutil
from pathlib import Path

from host.console import say
from host.errors import SetupError
from host.paths import BIN, ROOT
from toolchain import go
from toolchain.engine import foreign_path
from toolchain.files import link_if_different
from toolchain.versions import TALOSCTL

PACKAGE = "github.com/siderolabs/talos/cmd/talosctl"


def ensure(version: str) -> Path:
    """The program `talosctl` in this version (such as `1.13.0`), built unless it exists already.

    Raises:
        SetupError: no module here pins this version.
    """
    if version not in TALOSCTL:
        raise SetupError(f"no talosctl {version} can be built here, only {', '.join(TALOSCTL)}")
    module = ROOT / "toolchain" / "go" / f"talosctl-{version}"
    return go.build("talosctl", version, PACKAGE, module=module)


def offer() -> None:
    """Put a talosctl into `.work/bin`, which is first on PATH, if the user has none."""
    link = BIN / "talosctl"
    if shutil.which("talosctl", path=foreign_path()) is not None:
        link.unlink(missing_ok=True)  # the user may have installed one since
        return
    newest = TALOSCTL[-1]
    say(f"no talosctl on PATH: using {newest}, built from its Go module")
    link_if_different(link, ensure(newest))
