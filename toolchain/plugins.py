"""The three plugins: the official ones if they are found or can be fetched, else the fallbacks.

A plugin on PATH takes precedence over Pulumi's own plugin folder, so a fallback plugin gets a
launcher on PATH only if the official one is missing.
"""

import re
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from host.errors import SetupError
from host.paths import BIN, ROOT, VENV, WORK, pulumi_home
from toolchain import launchers
from toolchain.engine import Engine, foreign_path
from toolchain.files import link_if_different
from toolchain.steps import run

# A failed download is not retried sooner: `make up` must be quick without a network.
RETRY_AFTER_SECONDS = 24 * 3600
FETCH_SECONDS = 60
# The engine warns of every plugin on PATH, and the warning can't be switched off.
EXPECTED = 'its warnings "using ... from $PATH" are about fallback plugins, and expected'


@dataclass(frozen=True, kw_only=True)
class Plugin:
    """A plugin of the engine, and the module in fallback_plugins that can take its place."""

    kind: str
    name: str
    fallback: str
    requirement: str = ""

    @property
    def program(self) -> str:
        """The executable's name, which the engine looks for on PATH."""
        return f"pulumi-{self.kind}-{self.name}"


PLUGINS = (
    Plugin(kind="language", name="python", fallback="python.language_host"),
    Plugin(kind="resource", name="docker", fallback="docker.provider", requirement="pulumi-docker"),
    Plugin(
        kind="resource", name="command", fallback="command.provider", requirement="pulumi-command"
    ),
)


def ensure(engine: Engine) -> tuple[Plugin, ...]:
    """Put a launcher on PATH for every plugin that is missing; returns those plugins."""
    missing = tuple(plugin for plugin in PLUGINS if not _official(plugin, engine))
    BIN.mkdir(parents=True, exist_ok=True)
    for plugin in PLUGINS:
        launcher = BIN / plugin.program
        if plugin in missing:
            launchers.write(launcher, launcher_text(plugin))
        else:
            launcher.unlink(missing_ok=True)
    link = BIN / "pulumi"
    if engine.official:
        link.unlink(missing_ok=True)
    else:
        link_if_different(link, engine.program)
    return missing


def describe(missing: Sequence[Plugin]) -> str:
    """`python: fallback, docker: official, command: official`, and which warnings to expect."""
    origins = ", ".join(
        f"{plugin.name}: {'fallback' if plugin in missing else 'official'}" for plugin in PLUGINS
    )
    return f"{origins} ({EXPECTED})" if missing else origins


def _official(plugin: Plugin, engine: Engine) -> bool:
    version = _required_version(plugin) or engine.version
    return (
        shutil.which(plugin.program, path=foreign_path()) is not None
        or (engine.program.resolve().parent / plugin.program).exists()
        or _installed(plugin, version)
        or _fetched(plugin, version, engine)
    )


def _installed(plugin: Plugin, version: str) -> bool:
    folder = pulumi_home() / "plugins" / f"{plugin.kind}-{plugin.name}-v{version}"
    return (folder / plugin.program).exists()


def _fetched(plugin: Plugin, version: str, engine: Engine) -> bool:
    tried = WORK / "unreachable" / f"{plugin.program}-{version}"
    if tried.exists() and time.time() - tried.stat().st_mtime < RETRY_AFTER_SECONDS:
        return False
    argv = [str(engine.program), "plugin", "install", plugin.kind, plugin.name, f"v{version}"]
    try:
        run(f"fetching the plugin {plugin.name} {version}", argv, timeout=FETCH_SECONDS)
    except SetupError:
        tried.parent.mkdir(parents=True, exist_ok=True)
        tried.touch()
    return _installed(plugin, version)


def _required_version(plugin: Plugin) -> str:
    """The plugin's version is that of its Python package."""
    if not plugin.requirement:
        return ""
    requirements = (ROOT / "requirements.txt").read_text()
    pinned = re.search(rf"^{plugin.requirement}==(\S+)$", requirements, re.MULTILINE)
    if pinned is None:
        raise SetupError(f"requirements.txt does not pin {plugin.requirement}")
    return pinned[1]


def launcher_text(plugin: Plugin, root: Path = ROOT, python: Path = VENV / "bin" / "python") -> str:
    """A program that runs a fallback plugin."""
    program = f"from toolchain.fallback_plugins.start import start; start('{plugin.fallback}')"
    comment = f"Runs the fallback for the official {plugin.program}; made by make setup."
    return launchers.text(program, comment, root, python)
