"""Real Talos nodes behind the caches of a checkout of its own; its upstream holds every image.

What a test makes carries the prefix of the end-to-end tests, and is removed at the end of its
module. The nodes see nothing but this machine: an image that does not come through a cache does
not come at all.
"""

import contextlib
import json
import os
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path

import docker
import pytest

from demo.upstream import Upstream
from ops.docker import api as docker_api
from plan.settings.keys import DEFAULTS
from plan.talos.images import NODE_IMAGE
from tests.checkout import Checkout, checked_out
from tests.real.caches.sweep import PREFIX
from tests.real.talos.parts.kubernetes import kubectl
from tests.real.talos.parts.upstream import upstream_data
from tests.real.talos.parts.versions import TALOS
from tests.real.talos.stories import command_lines
from toolchain import talosctl as builds

UPSTREAM_PORT = 15290
UP_SECONDS = 900
ANSWER_SECONDS = 60
USERS_OWN = "kind: Config\n# the user's own\n"


@pytest.fixture(scope="module")
def no_node_image(docker_client):
    """Node images have to come through a cache: one that Docker has already would not.

    Every module starts so, because the one before it has left Docker its node image.
    """
    for version in TALOS:
        for row in docker_client.api.images(name=f"{NODE_IMAGE}:v{version}"):
            docker_client.api.remove_image(row["Id"], force=True)


@pytest.fixture(scope="session")
def upstream(docker_client):
    """A registry with everything that a cluster pulls, under the usual names."""
    made = Upstream(
        client=docker_client,
        name=f"{PREFIX}-talos-upstream",
        image=str(DEFAULTS["cache.image"]),
        address=docker_api.bridge_gateway(docker_client),
        port=UPSTREAM_PORT,
        data=upstream_data(),
    )
    made.remove()
    made.start()
    yield made
    made.remove()


@dataclass
class Clusters:
    """A checkout whose stacks have clusters, and the tools that look into them."""

    checkout: Checkout
    folder: Path
    upstream: Upstream

    @property
    def states(self):
        """Where private folders of clusters are, while there are any."""
        return self.folder / "state" / "talos-cache"

    def use_talosctl(self, version):
        """Put a talosctl of this version on the PATH of everything that is run."""
        link = self.folder / "bin" / "talosctl"
        link.parent.mkdir(exist_ok=True)
        link.unlink(missing_ok=True)
        link.symlink_to(builds.ensure(version))

    def outputs(self, stack):
        return json.loads(self.checkout.pulumi("stack", "output", "--json", stack=stack).stdout)

    def private(self, stack, file, cluster="*"):
        """A file of the stack's (only) cluster; where the outputs say it is, but quicker."""
        [path] = self.states.glob(f"{stack}-*/{cluster}/{file}")
        return str(path)

    def talosctl(self, stack, node, *arguments, check=True, cluster="*"):
        """Run talosctl on one node; returns what it prints."""
        talosconfig = self.private(stack, "talosconfig", cluster)
        argv = ["talosctl", "--talosconfig", talosconfig, "--nodes", node, *arguments]
        return self.tool(argv, check=check)

    def kubectl(self, stack, *arguments, check=True):
        """Run kubectl on the stack's cluster; returns what it prints."""
        # kubectl's own notes would count as something that the cluster has left.
        notes = f"--cache-dir={self.folder / 'kubectl'}"
        access = ["--kubeconfig", self.private(stack, "kubeconfig")]
        return self.tool([str(kubectl()), notes, *access, *arguments], check=check)

    def tool(self, argv, *, check=True):
        done = subprocess.run(
            argv,
            env=self.checkout.env,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=ANSWER_SECONDS,
        )
        if check:
            assert done.returncode == 0, f"{argv}: {done.stdout}\n{done.stderr}"
        return done.stdout if check else done.stdout + done.stderr

    def nodes(self, name):
        """Node's name -> when its container was started."""
        api = self.checkout.client.api
        rows = api.containers(all=True, filters={"label": f"talos.cluster.name={name}"})
        found = {}
        for row in rows:
            with contextlib.suppress(docker.errors.NotFound):  # it has gone since
                inspected = api.inspect_container(row["Id"])
                found[inspected["Name"].lstrip("/")] = inspected["State"]["StartedAt"]
        return found

    def users_files(self):
        """Content of the talosconfig and kubeconfig that are the user's own."""
        return {path.name: path.read_text() for path in (self.folder / "user").iterdir()}


@contextlib.contextmanager
def clusters_in(folder, client, upstream):
    """A checkout with its own folders for all that a user's home would hold of a cluster."""
    user = folder / "user"
    user.mkdir()
    for name in ("talosconfig", "kubeconfig"):
        (user / name).write_text(USERS_OWN)
    with checked_out(folder, client) as checkout:
        checkout.seconds = UP_SECONDS
        checkout.env |= {
            "PATH": f"{folder / 'bin'}{os.pathsep}{checkout.env['PATH']}",
            "XDG_STATE_HOME": str(folder / "state"),
            "TALOSCONFIG": str(user / "talosconfig"),
            "KUBECONFIG": str(user / "kubeconfig"),
        }
        yield Clusters(checkout=checkout, folder=folder, upstream=upstream)
    assert not (folder / "state" / "talos-cache").exists(), "destroy leaves no private folder"


@pytest.fixture(scope="module")
def clusters(tmp_path_factory, docker_client, upstream, no_node_image):
    with clusters_in(tmp_path_factory.mktemp("talos"), docker_client, upstream) as made:
        yield made


@pytest.fixture(scope="module")
def before(docker_client, upstream):
    """What there was before the stack's first `up`."""
    return snapshot(docker_client)


def new_since(before, client):
    """What a snapshot taken now has more, by kind; kinds that have nothing more are left out."""
    now = snapshot(client)
    return {kind: now[kind] - before[kind] for kind in now if now[kind] - before[kind]}


def snapshot(client):
    """Everything on this machine that a cluster or its caches could leave behind.

    Of files those that a user has in his home; the private folders are looked at apart.
    """
    return {
        "containers": {row["Names"][0] for row in client.api.containers(all=True)},
        "networks": {row["Name"] for row in client.api.networks()},
        "volumes": {row["Name"] for row in client.api.volumes()["Volumes"] or []},
        # Those of a container come and go with it, under another name each time.
        "interfaces": {name for _, name in socket.if_nameindex() if _stays(name)},
        "processes": {line for line in command_lines() if _is_of_a_cluster(line)},
        "files": set(files_of_the_user(Path.home())),
    }


# Where talosctl, kubectl, Docker's tools and this project write, if nothing keeps them from it.
TOOLS_FOLDERS = (".talos", ".kube", ".docker", ".local/state")


def files_of_the_user(home):
    """What is in a home, and all that is in the folders of tools."""
    yield from (path.name for path in home.iterdir())
    for folder in TOOLS_FOLDERS:
        yield from (str(path.relative_to(home)) for path in (home / folder).rglob("*"))


def _stays(interface):
    return not interface.startswith("veth")


def _is_of_a_cluster(line):
    return any(part in line for part in ("talosctl", "ops.cluster", "qemu-system", "machined"))
