"""Clusters of QEMU machines, as far as they go where there is no Talos to boot.

Real are talosctl, QEMU, its firmware, the CNI plugins of Debian, bridge, namespaces and firewall.
The machines start from a boot image without anything in it, so they never become nodes. Fakes:
the boot image; `tc-redirect-tap`, a CNI plugin that no package registry has; and a front of QEMU
that leaves KVM out, which a machine for tests may have and not be able to use.
"""

import contextlib
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
import yaml

from ops.cluster import qemu_cleanup, qemu_host
from ops.cluster.folder import Folder
from ops.docker import api
from ops.stack.stack_files import PROJECT
from plan.caches import addressing, cache_plan
from plan.settings.stack import parse
from plan.talos import cluster, cluster_transport, mirrors
from plan.talos.cluster import seconds
from plan.talos.create_flags import create_argv
from plan.talos.images import EMPTY_SCHEMATIC
from plan.talos.mirrors import documents_patch, legacy_patch
from plan.talos.talosctl import Place
from plan.talos.unsupported import refusals
from plan.talos.versions import version_in
from tests.real.talos.conftest import ANSWER_SECONDS
from toolchain import debian
from toolchain import talosctl as builds

pytestmark = pytest.mark.skipif(
    platform.machine() != "x86_64" or os.geteuid() != 0,
    reason="makes networks and machines as root; the parts it installs are those for x86_64",
)

VERSIONS = ("1.11.5", "1.12.0", "1.13.0")
# One of each family, where the way is the same in all.
FAMILIES = ("1.11.5", "1.13.0")
NAME = "tqemu"
CIDR = "10.77.64.0/24"
GATEWAY = "10.77.64.1"
BRIDGE = qemu_cleanup.bridge_of(NAME)
PACKAGES = ("qemu-system-x86", "ovmf", "iptables", "iproute2", "containernetworking-plugins")
DEBIAN_PLUGINS = Path("/usr/lib/cni")
FIRMWARE = Path("/usr/share/OVMF/OVMF_VARS_4M.fd")
# Nothing listens there: what talosctl downloads from outside is refused at once.
CLOSED = "http://127.0.0.1:9"
UPSTREAMS = {
    "docker.io": {},
    "factory.talos.dev": {"skipFallback": True},
    "registry.k8s.io": {"overridePath": True},
}
# talosctl has taken every flag and every patch, and looks for what it needs.
ARRIVED = "QEMU executable (qemu-system-x86_64 or qemu-kvm) not found"
START_SECONDS = 90
END_SECONDS = 60


# Every line is taken


@pytest.fixture(params=VERSIONS)
def talosctl(request, tmp_path):
    """A talosctl that finds no QEMU and can download nothing; it keeps its boot images."""
    program = str(builds.ensure(request.param))
    home = tmp_path / "home"
    cached = home / ".talos" / "cache"
    cached.mkdir(parents=True)
    environment = {"HOME": str(home), "PATH": str(home), "HTTPS_PROXY": CLOSED}

    def run(*arguments):
        done = subprocess.run(
            [program, *arguments],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=ANSWER_SECONDS,
        )
        assert done.returncode != 0
        return done.stdout + done.stderr

    run.version = version_in(request.param)
    run.program = program
    run.cached = cached
    return run


def put_into_cache(said, cached):
    """Put a boot image where talosctl says that it wanted to download one to; None: it did not."""
    for line in said.splitlines():
        if line.startswith("downloading asset from "):
            path = Path(line.rpartition(' to "')[2].rstrip('"'))
            assert path.parent == cached
            path.write_bytes(bytes(1024))
            return path
    return None


def with_boot_images(talosctl, argv):
    """Run it until it has every boot image; returns what it says then."""
    for _ in range(3):
        said = talosctl(*argv)
        if put_into_cache(said, talosctl.cached) is None:
            break
        assert CLOSED.removeprefix("http://") in said
    return said


def mirrors_of(upstreams):
    chosen = parse({"upstreams": upstreams})
    return mirrors.build(cache_plan.build(chosen, addressing.resolve(chosen, GATEWAY)))


def clusters_for(version):
    """Every key that changes a QEMU cluster's line: each by itself, and many of them together."""
    options = (
        {"talosVersion": f"v1.{version.minor}.0"},
        {"talosVersion": "v1.10.2"},
        {"schematic": "0123456789abcdef" * 4},
        {"presets": ["iso"]},
        {"presets": ["iso-secureboot"]},
        {"presets": ["pxe"]},
        {"presets": ["disk-image"]},
        {"presets": ["iso", "maintenance"]},
        {"disks": ["virtio:10GiB"]},
        {"disks": ["virtio:10GiB", "virtio:6GiB", "virtio:6GiB"]},
        {"disks": ["nvme:10GiB", "scsi:600MiB", "ahci:1GiB", "ide:1GiB", "megaraid:1GiB"]},
        {"kubernetesVersion": "v1.33.0"},
        {"controlPlanes": 3, "workers": 0, "cidr": "10.77.64.0/29"},
        {"controlPlaneCpus": 1.5, "controlPlaneMemory": "3GiB", "workerMemory": "512MiB"},
        {"createTimeout": "90s"},
        {"wait": False},
    )
    together = {key: value for index in (0, 2, 9, 11, 13) for key, value in options[index].items()}
    for option in ({}, *options, together):
        config = {"provisioner": "qemu", "name": NAME, "cidr": CIDR, **option}
        chosen = parse({"cluster": config}).clusters[0]
        if not refusals(chosen, version):
            yield chosen


def special_patch(chosen, version, tmp_path):
    """The mirrors that no flag can say, as the program writes them, and a patch of the user's."""
    special = [mirror for mirror in mirrors_of(UPSTREAMS) if not mirror.is_plain]
    nodes = version_in(chosen.talos_version or "") or version
    own = tmp_path / "own.yaml"
    own.write_text("machine: {env: {A: b}}\n")
    patch = tmp_path / "mirrors.yaml"
    patch.write_text((documents_patch if nodes.reads_documents else legacy_patch)(special))
    return (("all", str(patch)), ("controlPlanes", str(own)), ("workers", str(own)))


def test_every_line_is_taken(talosctl, tmp_path):
    chosen_ones = list(clusters_for(talosctl.version))
    assert len(chosen_ones) >= (17 if talosctl.version.is_family_b else 12)
    for index, chosen in enumerate(chosen_ones):
        where = Place(
            program=talosctl.program,
            state=str(tmp_path / f"state-{index}"),
            talosconfig=str(tmp_path / "talosconfig"),
            patches=special_patch(chosen, talosctl.version, tmp_path),
        )
        argv = create_argv(chosen, mirrors_of(UPSTREAMS), talosctl.version, where)
        said = with_boot_images(talosctl, argv[1:])
        assert ARRIVED in said, f"{argv}: {said}"
        assert not (tmp_path / f"state-{index}").exists()
        if talosctl.version.is_family_b:
            check_mirrors(tmp_path, chosen, talosctl.version)


def check_mirrors(tmp_path, chosen, version):
    """In the config that talosctl has written each registry has its cache, and has it once."""
    expected = {mirror.host: [mirror.url] for mirror in mirrors_of(UPSTREAMS)}
    for kind in ("controlplane", "worker"):
        documents = list(yaml.safe_load_all((tmp_path / f"{kind}.yaml").read_text()))
        if (version_in(chosen.talos_version or "") or version).reads_documents:
            found = {
                document["name"]: [endpoint["url"] for endpoint in document["endpoints"]]
                for document in documents
                if document.get("kind") == "RegistryMirrorConfig"
            }
        else:
            entries = documents[0]["machine"]["registries"]["mirrors"]
            found = {host: entry["endpoints"] for host, entry in entries.items()}
        assert found == expected


def test_a_flag_or_value_that_there_is_not_would_be_seen(talosctl, tmp_path):
    chosen = next(clusters_for(talosctl.version))
    where = Place(
        program=talosctl.program,
        state=str(tmp_path / "state"),
        talosconfig=str(tmp_path / "talosconfig"),
    )
    argv = create_argv(chosen, (), talosctl.version, where)[1:]
    assert "unknown flag: --no-such-flag" in talosctl(*argv, "--no-such-flag", "1")
    for flag in ("--memory-workers", "--cidr"):
        wrong = [*argv, flag, "nonsense"]
        said = with_boot_images(talosctl, wrong)
        assert "nonsense" in said
        assert ARRIVED not in said


# A create that comes to nothing


@pytest.fixture(scope="module")
def parts():
    """What clusters on QEMU need on this machine."""
    plan = plan_of("missing", {})
    missing = qemu_host.missing(plan, qemu_host.MACHINES["x86_64"])
    if missing or not (FIRMWARE.exists() and (DEBIAN_PLUGINS / "bridge").exists()):
        debian.install(PACKAGES, "tests of clusters on QEMU need its parts")


def plan_of(stack, keys):
    config = {
        "provisioner": "qemu",
        "name": NAME,
        "cidr": CIDR,
        "controlPlaneMemory": "512MiB",
        "workerMemory": "512MiB",
        **keys,
    }
    settings = parse({"upstreams": UPSTREAMS, "cluster": config})
    return cluster.build(
        stack,
        settings.clusters,
        cache_plan.build(settings, addressing.resolve(settings, GATEWAY)),
        mirrors_of(UPSTREAMS),
        {},
    )[0]


def empty_kernel():
    """Something that QEMU takes for a Linux kernel that can load an initial RAM disk."""
    image = bytearray(1 << 20)
    # The setup header of the x86 boot protocol 2.12, as far as QEMU reads it.
    for offset, value in (
        (0x1F1, b"\4"),
        (0x202, b"HdrS"),
        (0x206, (0x020C).to_bytes(2, "little")),
        (0x211, b"\1"),
        (0x22C, (0x7FFFFFFF).to_bytes(4, "little")),
    ):
        image[offset : offset + len(value)] = value
    return bytes(image)


EMPTY_KERNEL = empty_kernel()


class Host:
    """Folders of a user's own, and the project's cluster command in them.

    Attributes:
        talos_home: talosctl's folder, which all clusters of a user share.
    """

    def __init__(self, folder, version):
        self.folder = folder
        self.version = version
        self.talos_home = folder / "cache" / PROJECT / "talos-home" / ".talos"
        self.environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("PULUMI_")},
            "HOME": str(folder),
            "XDG_STATE_HOME": str(folder / "s"),
            "XDG_CACHE_HOME": str(folder / "cache"),
            "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
            "HTTPS_PROXY": CLOSED,
        }
        (folder / "bin").mkdir()
        (folder / "bin" / "talosctl").symlink_to(builds.ensure(version))
        self.put(folder / "bin" / "qemu-system-x86_64", QEMU_WITHOUT_KVM)

    def put(self, path, script):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(script)
        path.chmod(0o755)

    def start(self, command, plan, *in_front, **more):
        """Start the command as the engine does."""
        process = subprocess.Popen(
            [*in_front, sys.executable, "-m", "ops.cluster", command],
            env={**self.environment, **cluster_transport.environment(plan), **more},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=(self.folder / "said").open("w"),
        )
        process.stdin.write(cluster_transport.secret_input(plan).encode())
        process.stdin.close()
        return process

    def run(self, command, plan, *in_front, **more):
        """Run it to its end; returns its exit status and what it says."""
        process = self.start(command, plan, *in_front, **more)
        process.wait(START_SECONDS)
        process.stdout.close()
        return process.returncode, self.said

    @property
    def said(self):
        return (self.folder / "said").read_text()

    @property
    def states(self):
        """The folders of all clusters' files, while there are any."""
        return self.folder / "s" / PROJECT

    def put_boot_images(self):
        """Boot images with nothing in them, in talosctl's own cache."""
        base = f"https---factory.talos.dev-image-{EMPTY_SCHEMATIC}-v{self.version}"
        for name in ("metal-amd64.iso", "kernel-amd64", "initramfs-amd64.xz"):
            path = self.talos_home / "cache" / f"{base}-{name}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(EMPTY_KERNEL if name.startswith("kernel") else bytes(1 << 20))

    def put_plugins(self):
        """CNI plugins, which talosctl would download."""
        plugins = self.talos_home / "cni" / "bin"
        plugins.mkdir(parents=True)
        for name in ("bridge", "firewall", "static"):
            shutil.copy(DEBIAN_PLUGINS / name, plugins)
        self.put(plugins / "tc-redirect-tap", FAKE_TAP)

    def left(self):
        """Everything of the cluster that there is on this machine."""
        namespaces = Path("/run/netns")
        notes = self.talos_home / "cni" / "cache" / "results"
        firewall = subprocess.run(["iptables-save"], capture_output=True, text=True, check=True)
        found = [
            *(str(process) for process in self.processes()),
            *(path.name for path in namespaces.glob("cnitest-*")),
            *(path.name for path in notes.glob("*")),
            *(
                line
                for line in firewall.stdout.splitlines()
                if any(part in line for part in (BRIDGE, NAME, CIDR.rpartition(".")[0]))
            ),
            *(str(path) for path in self.states.glob("**/*")),
        ]
        return [*found, BRIDGE] if qemu_cleanup.has_interface(BRIDGE) else found

    def processes(self):
        """Processes that use the folder, but for this one's own."""
        return qemu_cleanup.processes(self.folder)


QEMU_WITHOUT_KVM = """#!/bin/bash
exec -a "$0" /usr/bin/qemu-system-x86_64 "${@//,accel=kvm/}"
"""
# Makes the tap interface for the machine, and leaves it unconnected: nothing talks through it.
FAKE_TAP = f"""#!{sys.executable}
import json, os, subprocess, sys
request = json.load(sys.stdin)
namespace, machine = os.environ.get("CNI_NETNS"), os.environ.get("CNI_CONTAINERID")
if os.environ["CNI_COMMAND"] == "VERSION":
    print(json.dumps({{"cniVersion": "0.4.0", "supportedVersions": ["0.3.1", "0.4.0"]}}))
elif os.environ["CNI_COMMAND"] == "ADD":
    tuntap = ["ip", "tuntap", "add", "tap0", "mode", "tap"]
    subprocess.run(["nsenter", f"--net={{namespace}}", *tuntap], check=True)
    made = [{{"name": "tap0", "sandbox": namespace}}, {{"name": "tap0", "sandbox": machine}}]
    made[1]["mac"] = "0a:00:00:00:00:01"
    result = request["prevResult"]
    print(json.dumps({{**result, "interfaces": [*result["interfaces"], *made]}}))
"""


@pytest.fixture
def host_of(parts):
    """Makes a host with a talosctl of some version; afterwards nothing of it runs any more."""
    made = []

    def make(version):
        # Not pytest's own folder: the paths of sockets below it are too long.
        made.append(Host(Path(tempfile.mkdtemp(prefix="tq-")), version))
        return made[-1]

    yield make
    for host in made:
        sweep_everything(host)
        shutil.rmtree(host.folder)


def sweep_everything(host):
    """What a failed test leaves behind, its clusters' ways of removal being under test."""
    machines = (process.pid for process in host.processes())
    for process in {*every_process_of(host), *machines}:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    qemu_cleanup.sweep(Folder(host.folder / "none"), NAME, host.talos_home)


def wait_for(what, condition, limit=START_SECONDS):
    deadline = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < deadline, f"{what} not within {limit} s"
        time.sleep(0.1)


@pytest.mark.parametrize("version", FAMILIES)
def test_a_download_that_fails_leaves_nothing_and_says_why(host_of, version):
    host = host_of(version)
    kept = host.talos_home / "cache" / "kept.iso"
    kept.parent.mkdir(parents=True)
    kept.write_text("of another cluster")
    status, said = host.run("create", plan_of("down", {}))
    assert status == 1
    last = said.strip().splitlines()[-1]
    assert f"create of the cluster {NAME} failed" in last
    assert "factory.talos.dev/image" in last
    assert "connection refused" in last
    assert host.left() == []
    assert not host.states.exists()
    assert list(kept.parent.iterdir()) == [kept], "boot images of others, and nothing half done"
    again = host.run("create", plan_of("down", {}))[1]
    assert again.strip().splitlines()[-1] == last, "the next one gets as far"
    assert host.left() == []


def test_plugins_that_can_not_be_downloaded_leave_nothing(host_of):
    """One step further: the boot image is there, and is used as it is."""
    host = host_of("1.13.0")
    host.put_boot_images()
    images = {path: path.stat().st_mtime_ns for path in (host.talos_home / "cache").iterdir()}
    status, said = host.run("create", plan_of("down", {}))
    assert status == 1
    assert "downloading asset" not in said
    assert "talosctl-cni-bundle" in said.strip().splitlines()[-1]
    assert host.left() == []
    assert {path: path.stat().st_mtime_ns for path in images} == images
    again = host.run("create", plan_of("down", {}))[1]
    assert again.strip().splitlines()[-1] == said.strip().splitlines()[-1], "it gets as far"
    assert host.left() == []


def machines_run(host):
    return sum(process.program.startswith("qemu-") for process in host.processes()) == 2


@pytest.fixture(params=FAMILIES)
def running(request, host_of):
    """A host on which both machines of a cluster have started; they'll never be nodes."""
    host = host_of(request.param)
    host.put_boot_images()
    host.put_plugins()
    process = host.start("create", plan_of("run", {}))
    wait_for("both machines", lambda: machines_run(host) or process.poll() is not None)
    assert process.poll() is None, host.said
    yield host, process
    process.kill()
    process.wait()
    process.stdout.close()


def test_an_interrupted_create_removes_machines_that_run_and_the_next_one_starts_them(running):
    host, process = running
    assert GATEWAY in output_of("ip", "-4", "address", "show", "dev", BRIDGE)
    assert len(host.left()) > 10
    process.kill()  # as the engine ends a cancelled command
    wait_for("the end of it", lambda: not host.states.exists(), END_SECONDS)
    wait_for("the last word", lambda: "failed: interrupted" in host.said, END_SECONDS)
    assert host.left() == []
    again = host.start("create", plan_of("run", {}))
    try:
        wait_for("both machines", lambda: machines_run(host) or again.poll() is not None)
        assert again.poll() is None, host.said
    finally:
        again.kill()
        again.wait()
        again.stdout.close()
    wait_for("the end of it", lambda: not host.states.exists(), END_SECONDS)
    assert host.left() == []


def test_what_a_killed_create_leaves_is_removed_by_the_next_delete(running):
    """Everything is killed at once, so that nothing of it could tidy up."""
    host, _ = running
    status, said = other_stacks_create(host)
    assert status == 1
    assert f"There is a cluster {NAME} on QEMU already" in said
    assert "run-" in said.partition("its files: ")[2]
    for process in every_process_of(host):
        os.kill(process, signal.SIGKILL)
    assert qemu_cleanup.has_interface(BRIDGE)
    assert host.run("delete", plan_of("run", {}))[0] == 0
    assert host.left() == []
    assert not host.states.exists()
    assert host.run("delete", plan_of("run", {}))[0] == 0, "gone already is fine"


def other_stacks_create(host):
    """Another stack that wants the same name: told, and nothing of the first one touched."""
    before = host.processes()
    result = host.run("create", plan_of("other", {"cidr": "10.77.65.0/24"}))
    assert host.processes() == before
    return result


def every_process_of(host):
    """The command itself, and talosctl with all that it has started; but for QEMU itself."""
    commands = [
        int(entry.name)
        for entry in Path("/proc").iterdir()
        if entry.name.isdigit()
        and b"ops.cluster" in content(entry / "cmdline")
        and str(host.states.parent).encode() in content(entry / "environ")
    ]
    helpers = [process for process in host.processes() if process.program == "talosctl"]
    return [*commands, *(process.pid for process in helpers)]


def content(path):
    """Nothing, where the process has just ended."""
    with contextlib.suppress(OSError):
        return path.read_bytes()
    return b""


def output_of(*argv):
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout


def test_a_timeout_removes_machines_that_run_and_says_which_limit(host_of):
    host = host_of("1.13.0")
    host.put_boot_images()
    host.put_plugins()
    limit = "12s"
    started = time.monotonic()
    status, said = host.run("create", plan_of("slow", {"createTimeout": limit}))
    assert status == 1
    assert time.monotonic() - started > seconds(limit)
    assert f"not done within cluster.createTimeout, {limit}" in said.strip().splitlines()[-1]
    assert host.left() == []


def test_an_unprivileged_user_is_told_what_to_do(host_of):
    host = host_of("1.13.0")
    host.folder.chmod(0o777)
    (host.folder / "bin" / "talosctl").unlink()
    shutil.copy(builds.ensure("1.13.0"), host.folder / "bin" / "talosctl")
    # Nobody, who may use Docker, and read this checkout and its Python wherever they are.
    socket = Path("/var/run/docker.sock").stat()
    nobody = (
        *("setpriv", "--reuid=65534", "--regid=65534", f"--groups={socket.st_gid}"),
        *("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"),
    )
    status, said = host.run("create", plan_of("nobody", {}), *nobody)
    assert status == 1
    assert "Machines on QEMU need root privileges" in said
    assert "Run this as root, or let sudo work without a password" in said
    assert host.left() == []


def test_docker_is_asked_about_the_network_too(host_of):
    host = host_of("1.13.0")
    client = api.connect()
    network = client.networks.create("talos-cache-test-qemu", ipam={"Config": [{"Subnet": CIDR}]})
    try:
        status, said = host.run("create", plan_of("taken", {}))
    finally:
        network.remove()
    assert status == 1
    assert "overlaps" in said
    assert "talos-cache-test-qemu" in said
    assert host.left() == []
