"""A checkout of its own for each module of tests: real engine, real Docker, real registry.

The project is copied to a temporary folder and used through `make` and `pulumi`, as a user would.
Everything made carries the prefix `talos-cache-test`, and is removed at the end of the module.
"""

import json
import os
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import docker
import pytest
import yaml

from demo import images
from demo.upstream import Upstream
from ops import docker_api
from plan.settings import DEFAULTS
from tests.e2e.sweep import PREFIX

ROOT = Path(__file__).resolve().parent.parent.parent
NOT_COPIED = shutil.ignore_patterns(".work", ".git", "__pycache__", ".*_cache", ".hypothesis")
COMMAND_SECONDS = 180
UPSTREAM_PORT = 15190
# Two workers run modules side by side; each has an upstream of its own.
WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))


def pytest_collection_modifyitems(items):
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.e2e)


@dataclass
class Checkout:
    """A copy of the project with state of its own."""

    path: Path
    client: docker.DockerClient
    env: dict[str, str]
    stacks: set[str] = field(default_factory=set)

    def run(self, *argv, check=True, env=None):
        done = subprocess.run(
            argv,
            cwd=self.path,
            env=env or self.env,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=COMMAND_SECONDS,
        )
        if check:
            assert done.returncode == 0, f"{argv} ended with {done.returncode}:\n{_said(done)}"
        return done

    def make(self, target, stack, *more, check=True):
        self.stacks.add(stack)
        return self.run("make", target, f"STACK={stack}", *more, check=check)

    def pulumi(self, *arguments, stack, check=True):
        """Plain `pulumi`, in a shell that has evaluated what `make setup` prints."""
        self.stacks.add(stack)
        argv = ["pulumi", *arguments, "--stack", stack, "--non-interactive"]
        return self.run(*argv, check=check, env=self.shell_env(stack))

    def shell_env(self, stack):
        line = f'eval "$(make -s setup STACK={stack})" && env -0'
        printed = self.run("bash", "-c", line).stdout
        return dict(entry.split("=", 1) for entry in printed.split("\0") if "=" in entry)

    def write_stack(self, stack, **config):
        """Write a stack file; keeps the engine's salt where there is one."""
        path = self.path / "stacks" / f"Pulumi.{stack}.yaml"
        content = yaml.safe_load(path.read_text()) if path.exists() else {}
        content["config"] = {f"talos-cache:{key}": value for key, value in config.items()}
        path.write_text(yaml.safe_dump(content, sort_keys=False))
        self.stacks.add(stack)

    def changes(self, stack):
        """What a preview says will change: a set of (operation, type, name)."""
        printed = self.pulumi("preview", "--json", stack=stack).stdout
        return {
            (step["op"], step["urn"].split("::")[2].split("$")[-1], step["urn"].split("::")[3])
            for step in json.loads(printed)["steps"]
            if step["op"] not in ("same", "refresh", "read")
        }

    def containers(self, stack):
        """Name -> id of the stack's containers, running or not."""
        labels = {"talos-cache.project": "talos-cache", "talos-cache.stack": stack}
        return {
            container.name: container.id
            for container in docker_api.containers(self.client)
            if container.has_labels(labels)
        }

    def volumes(self, prefix):
        return {
            volume.name for volume in self.client.volumes.list() if volume.name.startswith(prefix)
        }


def _said(done):
    return f"{done.stdout[-6000:]}\n{done.stderr[-3000:]}"


@pytest.fixture(scope="session")
def docker_client():
    return docker_api.connect()


@pytest.fixture(scope="module")
def checkout(tmp_path_factory, docker_client):
    path = tmp_path_factory.mktemp("checkout") / "project"
    shutil.copytree(ROOT, path, ignore=NOT_COPIED)
    (path / ".work").mkdir()
    (path / ".work" / "venv").symlink_to(ROOT / ".work" / "venv")
    shutil.copytree(ROOT / ".work" / "unreachable", path / ".work" / "unreachable")
    made = Checkout(path=path, client=docker_client, env=_clean_env(path.parent))
    yield made
    for stack in sorted(made.stacks):
        if (path / "stacks" / f"Pulumi.{stack}.yaml").exists():
            made.make("down", stack)
        assert made.containers(stack) == {}, "destroy leaves no container"
        for volume in made.volumes(f"{PREFIX}-{stack}-"):
            docker_client.volumes.get(volume).remove()


def _clean_env(folder):
    """The environment of a user who has never run the set-up, with the official plugins if any."""
    home = folder / "pulumi-home"
    home.mkdir()
    plugins = Path(os.environ.get("PULUMI_HOME") or Path.home() / ".pulumi") / "plugins"
    if plugins.exists():
        (home / "plugins").symlink_to(plugins)
    parts = os.environ["PATH"].split(os.pathsep)
    env = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("PULUMI_", "MAKE")) and key not in ("MFLAGS", "STACK", "VIRTUAL_ENV")
    }
    path = os.pathsep.join(part for part in parts if Path(part) != ROOT / ".work" / "bin")
    return {**env, "PATH": path, "PULUMI_HOME": str(home)}


IMAGES = (
    images.single("docker.io", "library/hello", "1", b"hello\n" * 1000),
    images.multi_platform("registry.k8s.io", "two-platforms", "v1", b"for each platform"),
    images.artifact("ghcr.io", "artifact", "v1", b"not an image\n"),
)


@pytest.fixture(scope="session")
def embedded_upstream(docker_client):
    """A registry on this machine that holds IMAGES; unplugged only inside a test."""
    upstream = Upstream(
        client=docker_client,
        name=f"{PREFIX}-upstream-{WORKER}",
        image=str(DEFAULTS["cache.image"]),
        address=docker_api.bridge_gateway(docker_client),
        port=UPSTREAM_PORT + WORKER,
    )
    upstream.start()
    for image in IMAGES:
        upstream.push(image)
    yield upstream
    upstream.remove()


def embedded(upstream, hosts):
    """The key `upstreams` for these hosts, all served by the embedded upstream."""
    return {host: {"remoteUrl": upstream.url} for host in hosts}
