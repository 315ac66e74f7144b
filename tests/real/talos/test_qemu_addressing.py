"""How machines on QEMU reach the caches, seen from where they are.

The machines are two network namespaces behind a bridge with the first address of a cluster's CIDR,
as talosctl makes it. In each runs a containerd of its own, and `ctr` pulls through caches that the
project itself has brought up. Nothing but this run's own addresses is there to be reached.
"""

import json
import os
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from demo import images
from demo.upstream import Upstream
from ops.docker import api
from plan.settings.keys import DEFAULTS
from tests.checkout import checked_out
from tests.real.caches.sweep import PREFIX
from tests.upstream_log import settled

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="makes namespaces and a bridge")

# That of a stack without a cluster.
CIDR = str(DEFAULTS["cluster.cidr"])
NETWORK = CIDR.rpartition(".")[0]
GATEWAY = f"{NETWORK}.1"
BRIDGE = "tqbridge0"
MACHINES = {"tqmachine1": f"{NETWORK}.2", "tqmachine2": f"{NETWORK}.3"}
UPSTREAM_PORT = 15440
EVERYWHERE, NARROW = "qemu-everywhere", "qemu-narrow"
BASE_PORTS = {EVERYWHERE: 15400, NARROW: 15420}
START_SECONDS = 30
PULL_SECONDS = 60
# One image for each of the ways, so that no machine has it from another way already.
IMAGES = {
    name: images.single("docker.io", f"library/{name}", "1", name.encode() * 1000)
    for name in ("by-bridge", "by-docker", "narrow-by-docker", "narrow-by-bridge")
}


def run(*argv, check=True, seconds=PULL_SECONDS):
    done = subprocess.run(
        [str(part) for part in argv],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=seconds,
    )
    if check:
        assert done.returncode == 0, f"{argv}: {done.stderr}"
    return done


@dataclass(frozen=True)
class Machine:
    """A network namespace that stands for a machine, and the containerd in it."""

    namespace: str
    address: str
    folder: Path

    def inside(self, *argv):
        return ["ip", "netns", "exec", self.namespace, *argv]

    def ctr(self, *arguments, check=True):
        socket = self.folder / "containerd.sock"
        return run(*self.inside("ctr", "--address", socket, *arguments), check=check)

    def pull(self, image, hosts, *, check=True):
        reference = f"docker.io/{image.repository}:{image.tag}"
        return self.ctr("images", "pull", "--hosts-dir", hosts, reference, check=check)


@pytest.fixture(scope="module")
def network():
    """The bridge with the machines behind it."""
    assert f" {NETWORK}." not in run("ip", "address").stdout, f"this test needs {CIDR} for itself"
    try:
        run("ip", "link", "add", BRIDGE, "type", "bridge")
        run("ip", "address", "add", f"{GATEWAY}/24", "dev", BRIDGE)
        run("ip", "link", "set", BRIDGE, "up")
        for index, (namespace, address) in enumerate(MACHINES.items()):
            add_machine(f"tqv{index}", namespace, address)
        yield
    finally:
        for namespace in MACHINES:
            run("ip", "netns", "delete", namespace, check=False)
        run("ip", "link", "delete", BRIDGE, check=False)


def add_machine(link, namespace, address):
    run("ip", "netns", "add", namespace)
    run("ip", "link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", namespace)
    run("ip", "link", "set", link, "master", BRIDGE, "up")
    inside = ("ip", "-netns", namespace)
    run(*inside, "link", "set", "lo", "up")
    run(*inside, "address", "add", f"{address}/24", "dev", "eth0")
    run(*inside, "link", "set", "eth0", "up")
    run(*inside, "route", "add", "default", "via", GATEWAY)


@pytest.fixture(scope="module")
def machines(network, tmp_path_factory):
    """A containerd in each namespace, with nothing shared."""
    made, processes = [], []
    assert shutil.which("containerd"), "containerd comes with Docker's packages"
    try:
        for namespace, address in MACHINES.items():
            machine = Machine(namespace, address, tmp_path_factory.mktemp(namespace))
            processes.append(start_containerd(machine))
            made.append(machine)
        yield made
    finally:
        for process in processes:
            process.terminate()
            process.wait(START_SECONDS)


def start_containerd(machine):
    config = machine.folder / "config.toml"
    config.write_text('version = 2\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n')
    argv = machine.inside(
        *("containerd", "--config", config, "--address", machine.folder / "containerd.sock"),
        *("--root", machine.folder / "root", "--state", machine.folder / "state"),
    )
    log = machine.folder / "log"
    with log.open("w") as output:
        process = subprocess.Popen([str(part) for part in argv], stdout=output, stderr=output)
    deadline = time.monotonic() + START_SECONDS
    while machine.ctr("version", check=False).returncode != 0:
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.1)
    return process


@pytest.fixture(scope="module")
def upstream(docker_client):
    made = Upstream(
        client=docker_client,
        name=f"{PREFIX}-qemu-upstream",
        image=str(DEFAULTS["cache.image"]),
        address=api.bridge_gateway(docker_client),
        port=UPSTREAM_PORT,
    )
    try:
        made.start()
        for image in IMAGES.values():
            made.push(image)
        yield made
    finally:
        made.remove()


@dataclass(frozen=True)
class Caches:
    """The caches of a stack: the URL that nodes are told, and the container of docker.io's."""

    url: str
    container: str
    said: str


@pytest.fixture(scope="module")
def stacks(docker_client, upstream, tmp_path_factory):
    """The guide's way (published everywhere) and the recommended one (Docker's bridge only)."""
    with checked_out(tmp_path_factory.mktemp("addressing"), docker_client) as checkout:
        made = {}
        for stack, addressing in ((EVERYWHERE, "qemu-bridge"), (NARROW, "docker-bridge")):
            checkout.write_stack(
                stack,
                addressing=addressing,
                prefix=f"{PREFIX}-{stack}",
                basePort=BASE_PORTS[stack],
                upstreams={"docker.io": {"remoteUrl": upstream.url}},
                cache={"onDestroy": "delete"},
            )
            done = checkout.make("up", stack)
            outputs = json.loads(checkout.pulumi("stack", "output", "--json", stack=stack).stdout)
            [document] = yaml.safe_load_all(outputs["machineConfigPatch"])
            made[stack] = Caches(
                url=document["endpoints"][0]["url"],
                container=outputs["caches"]["docker.io"]["container"],
                said=done.stdout + done.stderr,
            )
        yield made


@pytest.fixture
def hosts_dir(tmp_path):
    """Makes the folder that Talos writes for a mirror of docker.io with `skipFallback`."""

    def make(url):
        target = tmp_path / "docker.io"
        target.mkdir()
        host = (f"[host.'{url}']", "capabilities = ['pull', 'resolve']")
        lines = (f"server = '{url}'", "[host]", *host, "")
        (target / "hosts.toml").write_text("\n".join(lines))
        return tmp_path

    return make


def served(client, container):
    """Which machines a cache has given something to, by its log."""
    log = "\n".join(settled(client, container))
    return {address for address in MACHINES.values() if f"{address}:" in log}


def pulled_by_all(machines, image, hosts):
    for machine in machines:
        machine.pull(image, hosts)
        # What has come is whole: containerd has checked every byte against its digest.
        reference = f"docker.io/{image.repository}:{image.tag}"
        assert reference in machine.ctr("images", "list", "--quiet").stdout
        assert image.digest in machine.ctr("images", "list").stdout


def test_by_the_first_address_of_the_cluster_s_network(docker_client, stacks, machines, hosts_dir):
    """The guide's way: the bridge's own address, which is where the machine config points."""
    caches = stacks[EVERYWHERE]
    assert caches.url == f"http://{GATEWAY}:{BASE_PORTS[EVERYWHERE]}"
    pulled_by_all(machines, IMAGES["by-bridge"], hosts_dir(caches.url))
    assert served(docker_client, caches.container) == set(MACHINES.values())


def test_by_dockers_bridge_caches_that_are_published_everywhere(stacks, machines, hosts_dir):
    gateway = api.bridge_gateway(api.connect())
    url = f"http://{gateway}:{BASE_PORTS[EVERYWHERE]}"
    pulled_by_all(machines, IMAGES["by-docker"], hosts_dir(url))


def test_by_dockers_bridge_caches_that_are_published_nowhere_else(
    docker_client, stacks, machines, hosts_dir
):
    """The recommended way: it needs no address of the cluster, and exposes nothing."""
    caches = stacks[NARROW]
    gateway = api.bridge_gateway(docker_client)
    assert caches.url == f"http://{gateway}:{BASE_PORTS[NARROW]}"
    pulled_by_all(machines, IMAGES["narrow-by-docker"], hosts_dir(caches.url))
    assert served(docker_client, caches.container) == set(MACHINES.values())


def test_such_caches_are_not_there_at_any_other_address(stacks, machines, hosts_dir):
    """So it is the address that the tests before are about, and not that anything is open."""
    hosts = hosts_dir(f"http://{GATEWAY}:{BASE_PORTS[NARROW]}")
    refused = machines[0].pull(IMAGES["narrow-by-bridge"], hosts, check=False)
    assert refused.returncode != 0
    probe = machines[0].inside("bash", "-c", f"</dev/tcp/{GATEWAY}/{BASE_PORTS[NARROW]}")
    assert "Connection refused" in run(*probe, check=False).stderr


def test_only_caches_that_are_published_everywhere_warn(stacks):
    warning = "published on every address of this machine"
    assert warning in " ".join(stacks[EVERYWHERE].said.split())
    assert warning not in " ".join(stacks[NARROW].said.split())
