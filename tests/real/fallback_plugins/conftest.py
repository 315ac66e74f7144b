"""The real engine with the fallback plugins on PATH, and small Pulumi projects to run it on."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from toolchain.plugins import PLUGINS, launcher_text

# One for each worker: the first to end removes its image.
IMAGE = f"fallback-test-busybox:{os.getpid()}"
# Twenty for each worker.
WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
PORTS = range(15400 + WORKER * 20, 15420 + WORKER * 20)
PATIENCE = 120
PREAMBLE = """
import pulumi, pulumi_command as command, pulumi_docker as docker
config = pulumi.Config()
"""


@dataclass
class Project:
    """One Pulumi project with one stack, and Docker things whose names start with `prefix`."""

    directory: Path
    environment: dict[str, str]
    prefix: str

    def write(self, program: str, *, options: str = "", config: str = "") -> None:
        """Writes the program, and Pulumi.yaml with these parts besides the runtime."""
        lines = [
            "name: fallbacks",
            f"runtime: {{name: python, options: {{virtualenv: {sys.prefix}}}}}",
            f"options: {{{options}}}" if options else "",
            f"config: {config}" if config else "",
        ]
        (self.directory / "Pulumi.yaml").write_text("\n".join(lines) + "\n")
        (self.directory / "__main__.py").write_text(PREAMBLE + textwrap.dedent(program))

    def pulumi(self, *arguments: str, fails: bool = False) -> str:
        """Runs the CLI, which must succeed or fail as expected; returns its output."""
        done = subprocess.run(
            ["pulumi", *arguments, "--non-interactive"],
            cwd=self.directory,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert (done.returncode != 0) == fails, done.stdout
        return done.stdout

    def up(self, *, fails: bool = False) -> str:
        return self.pulumi("up", "--yes", "--skip-preview", fails=fails)

    def preview(self, *arguments: str, fails: bool = False) -> str:
        return self.pulumi("preview", "--diff", *arguments, fails=fails)

    def outputs(self) -> dict[str, Any]:
        return dict(json.loads(self.pulumi("stack", "output", "--json", "--show-secrets")))

    def state_file(self) -> str:
        return next(self.directory.parent.glob("state/.pulumi/stacks/*/dev.json")).read_text()

    def resources(self) -> dict[str, dict[str, Any]]:
        """The state's resources by logical name."""
        state = json.loads(self.state_file())["checkpoint"]["latest"]["resources"]
        return {resource["urn"].rpartition("::")[2]: resource for resource in state}


def has_traceback_of_a_plugin(shown: str) -> bool:
    """Whether a resource plugin printed a traceback; an interrupted program may print its own."""
    of_a_plugin = r'File "[^"]*/toolchain/fallback_plugins/(?!python/program\.py)'
    return re.search(of_a_plugin, shown) is not None


def docker(*arguments: str) -> str:
    """The output of the Docker CLI."""
    done = subprocess.run(["docker", *arguments], check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture(scope="session")
def pulumi_binary() -> Path:
    found = os.environ.get("TALOS_CACHE_PULUMI") or shutil.which("pulumi")
    if not found or not Path(found).exists():
        pytest.fail("no pulumi: put it on PATH or name it in TALOS_CACHE_PULUMI")
    return Path(found)


@pytest.fixture(scope="session")
def launchers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("launchers")
    for plugin in PLUGINS:
        launcher = directory / plugin.program
        launcher.write_text(launcher_text(plugin, python=Path(sys.executable)))
        launcher.chmod(0o755)
    return directory


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A tiny image whose default command serves HTTP on port 5000."""
    yield made_image(tmp_path_factory.mktemp("image"))
    docker("rmi", "-f", IMAGE)


def made_image(folder: Path) -> str:
    """Makes the image in this folder; returns its name."""
    root = folder / "root"
    (root / "bin").mkdir(parents=True)
    (root / "tmp").mkdir()
    shutil.copy("/bin/busybox", root / "bin" / "busybox")
    for applet in ("sh", "cat", "ls", "sleep", "httpd", "stat", "true", "false"):
        (root / "bin" / applet).symlink_to("busybox")
    archive = shutil.make_archive(str(folder / "image"), "tar", root)
    docker("import", "-c", 'CMD ["/bin/httpd", "-f", "-p", "5000", "-h", "/tmp"]', archive, IMAGE)
    return IMAGE


@pytest.fixture
def prefix() -> Iterator[str]:
    """See `removed`."""
    with removed() as own:
        yield own


@contextmanager
def removed() -> Iterator[str]:
    """A prefix for the caller's own names; everything in Docker with it is removed afterwards."""
    own = f"fallback-test-{uuid4().hex[:8]}"
    yield own
    for kind, listed in (("container", "ps -aq"), ("volume", "volume ls -q")):
        found = docker(*listed.split(), "--filter", f"name={own}").split()
        if found:
            docker(kind, "rm", "-f", *(["-v"] if kind == "container" else []), *found)
    if networks := docker("network", "ls", "-q", "--filter", f"name={own}").split():
        docker("network", "rm", *networks)
    if tags := docker("images", "--format", "{{.Repository}}:{{.Tag}}", own).split():
        docker("rmi", *tags)


@pytest.fixture
def project(
    tmp_path: Path, pulumi_binary: Path, launchers: Path, image: str, prefix: str
) -> Project:
    """A project with the stack `dev`; its program can use the image `fallback-test-busybox:1`."""
    for folder in ("program", "home", "state"):
        (tmp_path / folder).mkdir()
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PULUMI_")}
    environment = {
        **kept,
        "PATH": f"{launchers}:{pulumi_binary.parent}:{os.environ['PATH']}",
        "PULUMI_HOME": str(tmp_path / "home"),
        "PULUMI_BACKEND_URL": f"file://{tmp_path / 'state'}",
        "PULUMI_CONFIG_PASSPHRASE": "test",
        "PULUMI_SKIP_UPDATE_CHECK": "true",
    }
    project = Project(tmp_path / "program", environment, prefix)
    project.write("")
    project.pulumi("stack", "init", "dev")
    return project


@pytest.fixture
def ports() -> Iterator[int]:
    """See `free_ports`."""
    return free_ports()


def free_ports() -> Iterator[int]:
    """Free ports on the loopback interface."""
    return iter(port for port in PORTS if _is_free(port))


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def words_for(image: str, prefix: str, folder: Path | str) -> dict[str, Any]:
    """The values of the words in braces of a scenario, in this run."""
    ports = free_ports()
    return {
        "image": image,
        "port": next(ports),
        "port2": next(ports),
        "name": prefix,
        "folder": str(folder),
        # More than a pipe holds.
        "long": "x" * 100_000,
    }
