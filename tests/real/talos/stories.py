"""What the tests of both families of talosctl have in common: stacks, waits, failures, looks."""

import contextlib
import ipaddress
import json
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import grpc
from docker.types import IPAMConfig, IPAMPool

from ops.cluster.docker_nodes import CLUSTER_LABEL
from tests.real.caches.sweep import PREFIX
from tests.real.talos.parts.cluster import node_patches
from tests.upstream_log import settled

HOSTS = ("docker.io", "registry.k8s.io", "ghcr.io")
TEAM = "registry.example.com"
SOON_SECONDS = 300
POLL_SECONDS = 0.5
# Every kind of request that a pull makes.
PULLS = ("/manifests/", "/blobs/")


def stack_config(stack, upstream, cluster, *, base_port, team=False):
    """A stack whose caches stand before the embedded upstream."""
    upstreams = {host: {"remoteUrl": upstream.url} for host in HOSTS}
    if team:
        upstreams[TEAM] = {"remoteUrl": upstream.url, "port": base_port + 10}
    return {
        "prefix": f"{PREFIX}-{stack}",
        "basePort": base_port,
        "upstreams": upstreams,
        "cluster": {
            "name": f"{PREFIX}-{stack}",
            "patches": node_patches(),
            "controlPlaneMemory": "3GiB",
            **cluster,
        },
    }


def node_ips(cidr, count):
    network = ipaddress.ip_network(cidr)
    return [str(network[2 + index]) for index in range(count)]


def soon(what, is_so, *, seconds=SOON_SECONDS, tell=lambda: ""):
    """Wait until something is so; gives what it then is. `tell` says more where it never is."""
    deadline = time.monotonic() + seconds
    while not (found := is_so()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}\n{tell()}"
        time.sleep(POLL_SECONDS)
    return found


def answers(clusters, stack, node, *, cluster="*"):
    """The versions, once a node's API answers: talosctl prints its own before it asks."""
    said = clusters.talosctl(stack, node, "version", "--short", check=False, cluster=cluster)
    return said if "NODE:" in said else ""


def hosts_toml(clusters, stack, node, host, *, cluster="*"):
    """What a node's containerd reads before it pulls from `host`; empty if it can't be read."""
    return _hosts_toml(clusters, stack, node, host, cluster)[0]


def has_no_mirror(clusters, stack, node, host):
    """Whether a node's containerd has no file for `host`."""
    return "no such file" in _hosts_toml(clusters, stack, node, host, "*")[1]


def _hosts_toml(clusters, stack, node, host, cluster):
    """The file, and why there is none: a node that is busy is not one that has none."""
    path = f"/etc/cri/conf.d/hosts/{host}/hosts.toml"
    shown = clusters.talosctl(stack, node, "read", path, check=False, cluster=cluster)
    return (shown, "") if "capabilities" in shown else ("", shown)


def requests_of(clusters, container):
    """The access log of a registry: one text per request for a manifest or a blob."""
    log = settled(clusters.checkout.client, container)
    return [line for line in log if "http.request" in line and _is_pull(line)]


def _is_pull(line):
    return any(part in line for part in PULLS)


def wait_until_ready(clusters, stack, nodes):
    """These and no others are Ready: `up` has waited for that, but one may miss a report since."""
    wanted = set(nodes)
    soon(f"Ready: {wanted}", lambda: _ready_nodes(clusters, stack) == wanted)


def _ready_nodes(clusters, stack):
    """Names of the Kubernetes nodes that are Ready; none while the API server does not answer."""
    try:
        shown = clusters.kubectl(stack, "get", "nodes", "-o", "json", check=False)
        nodes = json.loads(shown)["items"]
    except ValueError:
        return set()
    return {
        node["metadata"]["name"]
        for node in nodes
        for condition in node["status"]["conditions"]
        if condition["type"] == "Ready" and condition["status"] == "True"
    }


def run_pod(clusters, stack, name, image):
    """Run a pod that sleeps, on a worker, and wait until it is Running."""
    run = (stack, "run", name, f"--image={image}", "--restart=Never", "--", "sleep", "3600")
    get = (stack, "get", "pod", name, "-o", "jsonpath={.status.phase}")

    def is_there():
        said = clusters.kubectl(*run, check=False)
        return "created" in said or "AlreadyExists" in said

    soon(f"pod {name} is taken", is_there)
    soon(
        f"pod {name} is Running",
        lambda: clusters.kubectl(*get, check=False) == "Running",
        tell=lambda: clusters.kubectl(stack, "describe", "pod", name, check=False),
    )


def pull_by_cri(clusters, node, image):
    """Have the CRI of a node on Docker pull an image: the kubelet's call, without a kubelet.

    Its messages are runtime.v1's PullImageRequest and -Response of Kubernetes, each a field 1: an
    ImageSpec whose field 1 is the name, and the reference of what was pulled.
    """
    process = clusters.checkout.client.containers.get(node).attrs["State"]["Pid"]
    socket_path = f"unix:///proc/{process}/root/run/containerd/containerd.sock"
    # Servers in Go take no path for an authority.
    options = [("grpc.default_authority", "localhost")]
    with grpc.insecure_channel(socket_path, options) as channel:
        pull = channel.unary_unary("/runtime.v1.ImageService/PullImage")
        wanted = _field_1(_field_1(image.encode()))
        answer = pull(wanted, wait_for_ready=True, timeout=SOON_SECONDS)
    assert answer.startswith(b"\x0a"), answer


def _field_1(content):
    assert len(content) < 128, "its length is one byte"
    return b"\x0a" + bytes([len(content)]) + content


TAKEN_PORT = 15399
FOREIGN = f"{PREFIX}-foreign"


@contextlib.contextmanager
def nothing_around(clusters):
    yield


@contextlib.contextmanager
def port_taken(clusters):
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", TAKEN_PORT))
        taken.listen()
        yield


@contextlib.contextmanager
def foreign_network(clusters, subnet, labels):
    """A network that somebody else has made; it has to be there afterwards."""
    api = clusters.checkout.client.api
    pools = IPAMConfig(pool_configs=[IPAMPool(subnet=subnet)])
    made = api.create_network(FOREIGN, ipam=pools, labels=labels)["Id"]
    try:
        yield
        assert api.inspect_network(made)["Labels"] == labels, "it is neither used nor removed"
    finally:
        api.remove_network(made)


@dataclass(frozen=True)
class Failure:
    """A create that fails for real, and what its user has to read."""

    name: str
    says: str
    cluster: dict = field(default_factory=dict)
    around: Callable = nothing_around


def failures(minor, name, cidr):
    """For a talosctl of 1.<minor>; each is tried on a stack whose next `up` has to work."""
    same_name = partial(foreign_network, subnet="10.79.0.0/24", labels={CLUSTER_LABEL: name})
    image = f"ghcr.io/siderolabs/talos:v1.{minor}.99"
    return (
        Failure(
            "the-subnet-is-taken",
            f"overlaps with {cidr} of the Docker network {FOREIGN}",
            around=partial(foreign_network, subnet=cidr, labels={}),
        ),
        Failure(
            "the-name-is-taken",
            f"A cluster {name} already has the Docker network {FOREIGN}",
            around=same_name,
        ),
        Failure(
            "no-node-image",
            f"the node image {image} can't be pulled through its cache",
            {"image": image, "talosVersion": None},
        ),
        Failure(
            "a-port-is-taken",
            f"Port {TAKEN_PORT} of 127.0.0.1, which the cluster {name} exposes, is taken",
            {"exposedPorts": [f"{TAKEN_PORT}:80/tcp"]},
            port_taken,
        ),
        Failure(
            "bootstrap-does-not-end-in-time",
            "not done within cluster.createTimeout, 15s",
            {"createTimeout": "15s", "wait": True},
        ),
    )


def without_nothing(cluster):
    return {key: value for key, value in cluster.items() if value is not None}


def left_of(clusters, name):
    """What there is of a cluster on this machine; all of it empty after a failure."""
    api = clusters.checkout.client.api
    return {
        "nodes": set(clusters.nodes(name)),
        "networks": {row["Name"] for row in api.networks() if name in row["Name"]},
        # os.walk takes it as it is when folders go meanwhile.
        "files": {folder for folder, _, _ in os.walk(clusters.states)},
        "processes": {line for line in command_lines() if "talosctl" in line and name in line},
    }


NOTHING_LEFT = {"nodes": set(), "networks": set(), "files": set(), "processes": set()}


def command_lines():
    """Of everything that runs here, but for containers and for tests on a Docker of their own."""
    here = os.readlink("/proc/self/ns/pid")  # noqa: PTH115 - it leads to no file
    for entry in os.listdir("/proc"):  # noqa: PTH208 - names are enough
        with contextlib.suppress(OSError):  # it has ended since
            if entry.isdigit() and os.readlink(f"/proc/{entry}/ns/pid") == here:  # noqa: PTH115
                with open(f"/proc/{entry}/cmdline", "rb") as file:  # noqa: PTH123
                    yield file.read().replace(b"\0", b" ").decode(errors="replace").strip()


def check_failure(clusters, stack, config, failure):
    """An `up` that has to fail says why in its last words, and leaves nothing of the cluster."""
    clusters.checkout.write_stack(stack, **config)
    with failure.around(clusters):
        said = clusters.checkout.make("up", stack, check=False)
    assert said.returncode != 0
    assert failure.says in last_words(said.stdout), said.stdout
    assert left_of(clusters, config["cluster"]["name"]) == NOTHING_LEFT


def last_words(shown):
    """The end of the cluster's error; of the program's, if it did not get to the cluster.

    Outputs come behind the diagnostics only if the program got to them before the error did.
    """
    diagnostics = re.split(r"^(?:Outputs|Resources):", shown.split("Diagnostics:")[1], flags=re.M)[
        0
    ]
    _, _, of_cluster = diagnostics.partition("(cluster-command):")
    lines = (of_cluster.split("pulumi:pulumi:Stack")[0] or diagnostics).strip().splitlines()
    return lines[-1] if of_cluster else "\n".join(lines)


def check_interruption(clusters, stack, name, sent):
    """An `up` that gets a signal while nodes start leaves nothing of the cluster."""
    interrupted_up(clusters, stack, name, sent)
    soon("the end of all it made", lambda: left_of(clusters, name) == NOTHING_LEFT)


def interrupted_up(clusters, stack, name, sent):
    """`pulumi up` that gets a signal as soon as there are nodes; gives what it has printed."""
    argv = ["pulumi", "up", "--yes", "--skip-preview", "--non-interactive", "--stack", stack]
    process = subprocess.Popen(
        argv,
        cwd=clusters.checkout.path,
        env=clusters.checkout.shell_env(stack),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        soon("nodes", lambda: clusters.nodes(name) or process.poll() is not None)
        assert process.poll() is None, f"it ended before its nodes: {process.communicate()[0]}"
        process.send_signal(sent)
        printed, _ = process.communicate(timeout=SOON_SECONDS)
        return printed
    finally:
        process.kill()  # or its lock would fail every test behind this one


SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)
