"""The Pulumi CLI and engine: the official one on PATH, else one built from its Go module."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from host import shims
from host.console import say
from host.paths import BIN
from host.programs import output_of
from toolchain import go
from toolchain.versions import PULUMI

PACKAGE = "github.com/pulumi/pulumi/pkg/v3/cmd/pulumi"
VERSION_VARIABLE = "github.com/pulumi/pulumi/sdk/v3/go/common/version.Version"


@dataclass(frozen=True, kw_only=True)
class Engine:
    """Which `pulumi` is used, and where it comes from."""

    program: Path
    version: str
    official: bool

    def __str__(self) -> str:
        origin = "official" if self.official else "built here from its Go module"
        return f"pulumi {self.version} ({origin})"


def ensure() -> Engine:
    """Find or build an engine that is new enough."""
    official = shims.which("pulumi", path=foreign_path())
    if official:
        version = (output_of([official, "version"]) or "").removeprefix("v")
        if _numbers(version) >= _numbers(PULUMI):
            return Engine(program=Path(official), version=version, official=True)
        say(f"pulumi {version or '(no version)'} on PATH is older than {PULUMI}: not used")
    program = go.build("pulumi", PULUMI, PACKAGE, f"-X {VERSION_VARIABLE}={PULUMI}")
    return Engine(program=program, version=PULUMI, official=False)


def foreign_path() -> str:
    """PATH without this project's own folder, which may be on it from an earlier set-up."""
    parts = os.environ.get("PATH", "").split(os.pathsep)
    return os.pathsep.join(part for part in parts if part and Path(part).resolve() != BIN)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", version)[:3]))
