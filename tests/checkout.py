"""A copy of the project in a folder of its own, used through `make` and `pulumi`."""

import json
import os
import shutil
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path

import docker
import yaml
from docker.errors import APIError

from host.passphrases import ASIDE
from ops.docker import api, temporary_container
from plan.settings.credentials import SECRET_KEYS
from plan.settings.keys import DEFAULTS
from tests.real.caches.sweep import PREFIX

ROOT = Path(__file__).resolve().parent.parent
NOT_COPIED = shutil.ignore_patterns(".work", ".git", "__pycache__", ".*_cache", ".hypothesis")
# The one image of Docker's that is surely there.
REGISTRY_IMAGE = str(DEFAULTS["cache.image"])
LEFT_OUT = (
    "MFLAGS",
    "STACK",
    "APART",
    "HALF",
    "VIRTUAL_ENV",
    "PYTHONDONTWRITEBYTECODE",
    *ASIDE.values(),
)
COMMAND_SECONDS = 180
IN_USE_SECONDS = 60


@dataclass
class Checkout:
    """A copy of the project with state of its own."""

    path: Path
    client: docker.DockerClient
    env: dict[str, str]
    stacks: set[str] = field(default_factory=set)
    seconds: int = COMMAND_SECONDS
    shells: dict[tuple, dict[str, str]] = field(default_factory=dict)
    looked_at: set[tuple] = field(default_factory=set)
    looks_again: bool = False
    """Whether a preview has to find nothing to change after a `make up` of new stack files."""
    kills: bool = False
    """Whether tests kill its commands: what these leave in Docker goes with a later one."""

    def run(self, *argv, check=True, env=None):
        done = subprocess.run(
            argv,
            cwd=self.path,
            env=env or self.env,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=self.seconds,
        )
        if check:
            assert done.returncode == 0, f"{argv} ended with {done.returncode}:\n{_said(done)}"
        return done

    def make(self, target, stack, *more, check=True):
        self.stacks.add(stack)
        done = self.run("make", target, f"STACK={stack}", *more, check=check)
        if self.looks_again and target == "up" and done.returncode == 0:
            self._look_again(stack)
        return done

    def _look_again(self, stack):
        """Once for what a stack file and the environment say: tests go back to where they began."""
        content = (self.path / "stacks" / f"Pulumi.{stack}.yaml").read_text()
        said = (stack, content, *sorted(self.env.items()))
        if said not in self.looked_at:
            self.looked_at.add(said)
            self.pulumi("preview", "--expect-no-changes", stack=stack)

    def pulumi(self, *arguments, stack, check=True):
        """Plain `pulumi`, in a shell that has evaluated what `make setup` prints."""
        self.stacks.add(stack)
        argv = ["pulumi", *arguments, "--stack", stack, "--non-interactive"]
        return self.run(*argv, check=check, env=self.shell_env(stack))

    def shell_env(self, stack):
        """The environment of a shell that is set up for this stack; each is kept open."""
        began_in = (stack, *sorted(self.env.items()))
        if began_in not in self.shells:
            line = f'eval "$(make -s setup STACK={stack})" && env -0'
            printed = self.run("bash", "-c", line).stdout
            entries = (entry.split("=", 1) for entry in printed.split("\0") if "=" in entry)
            self.shells[began_in] = dict(entries)
        return dict(self.shells[began_in])

    def ops(self, command, stack, *arguments, check=False, env=None):
        """Run `python -m ops`; what looks for clusters wants the env of `shell_env`."""
        return self.run(*ops_line(command, stack, *arguments), check=check, env=env)

    def write_stack(self, stack, **config):
        """Write a stack file; keeps the engine's salt, and secrets, where there are some."""
        path = self.path / "stacks" / f"Pulumi.{stack}.yaml"
        content = yaml.safe_load(path.read_text()) if path.exists() else {}
        before = content.get("config") or {}
        names = [f"talos-cache:{key}" for key in SECRET_KEYS]
        kept = {name: before[name] for name in names if name in before}
        given = kept | {f"talos-cache:{key}": value for key, value in config.items()}
        # None takes a secret out.
        content["config"] = {key: value for key, value in given.items() if value is not None}
        path.write_text(yaml.safe_dump(content, sort_keys=False))
        self.stacks.add(stack)

    def changes(self, stack, *flags):
        """What a preview says will change: a set of (operation, type, name)."""
        printed = self.pulumi("preview", "--json", *flags, stack=stack).stdout
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
            for container in api.containers(self.client)
            if container.has_labels(labels)
        }

    def passing(self, stack):
        """Containers that commands have made to look into the stack's volumes."""
        volumes = self.volumes(f"{PREFIX}-{stack}-")
        filters = {"label": temporary_container.LABEL, "volume": sorted(volumes)}
        return self.client.api.containers(all=True, filters=filters) if volumes else []

    def volumes(self, prefix):
        return {
            volume.name for volume in self.client.volumes.list() if volume.name.startswith(prefix)
        }


def ops_line(command, stack, *arguments):
    """A day-two command, to be run in a checkout."""
    return (".work/venv/bin/python", "-m", "ops", command, "--stack", stack, *arguments)


def _said(done):
    return f"{done.stdout[-6000:]}\n{done.stderr[-3000:]}"


@contextmanager
def checked_out(folder, client, *, looks_again=False):
    """A copy of the project; at the end its stacks are destroyed, with their volumes."""
    path = folder / "project"
    shutil.copytree(ROOT, path, ignore=NOT_COPIED)
    (path / ".work").mkdir()
    (path / ".work" / "venv").symlink_to(ROOT / ".work" / "venv")
    # What can't be downloaded here is not tried again; there is no such folder where all could be.
    if (tried := ROOT / ".work" / "unreachable").is_dir():
        shutil.copytree(tried, path / ".work" / "unreachable")
    env = _clean_env(folder)
    made = Checkout(path=path, client=client, env=env, looks_again=looks_again)
    yield made
    for stack in sorted(made.stacks):
        if (path / "stacks" / f"Pulumi.{stack}.yaml").exists():
            assert made.kills or not made.passing(stack), "every command removes its own"
            made.make("down", stack)
        assert made.containers(stack) == {}, "destroy leaves no container"
        for volume in made.volumes(f"{PREFIX}-{stack}-"):
            remove_volume(client, volume)


def remove_volume(client, name):
    """Remove it, and what commands that a test has killed left there, or still leave there.

    Docker goes on with what it was asked for when the one who asked is gone.
    """
    deadline = time.monotonic() + IN_USE_SECONDS
    while True:
        temporary_container.remove_from(client, [name])
        try:
            client.volumes.get(name).remove()
        except APIError as error:
            if error.status_code != HTTPStatus.CONFLICT or time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return


def _clean_env(folder):
    """The environment of a user who has never run the set-up, with the official plugins if any.

    Python keeps what it has compiled, as it does for users: these machines forbid it, and then each
    of a command's half a dozen processes compiles the whole project again.
    """
    home = folder / "pulumi-home"
    home.mkdir()
    plugins = Path(os.environ.get("PULUMI_HOME") or Path.home() / ".pulumi") / "plugins"
    if plugins.exists():
        (home / "plugins").symlink_to(plugins)
    parts = os.environ["PATH"].split(os.pathsep)
    env = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("PULUMI_", "MAKE")) and key not in LEFT_OUT
    }
    path = os.pathsep.join(part for part in parts if Path(part) != ROOT / ".work" / "bin")
    return {**env, "PATH": path, "PULUMI_HOME": str(home)}
