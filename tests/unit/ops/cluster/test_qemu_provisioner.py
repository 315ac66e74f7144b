"""Clusters of QEMU machines: what is in their way, and what is removed of them; no QEMU needed.

Processes, network interfaces, namespaces and rules are real. Doubles, named as such: `sudo` (which
runs commands as root or refuses, as a test says), CNI plugins (which record their input) and a
talosctl that never ends.
"""

import base64
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from ops.cluster import (
    command,
    docker_provisioner,
    host_networks,
    qemu_cleanup,
    qemu_host,
    qemu_provisioner,
)
from ops.cluster.folder import Folder, folder_of, owner_of, talos_home
from ops.cluster.host_networks import Network
from ops.cluster.provisioner import Cluster, cluster_of
from ops.cluster.qemu_host import Machine
from ops.cluster.qemu_provisioner import QemuProvisioner
from ops.errors import OpsError
from plan.settings.stack import parse
from plan.talos import cluster

STACK = "unit"
NAME = "tq1"
NOBODY = 65534
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="makes interfaces, or gives files away")


def plan_of(**keys):
    settings = parse({"cluster": {"provisioner": "qemu", "name": NAME, "workers": 1, **keys}})
    return cluster.build(STACK, settings.clusters, [], [], {})[0]


def remove_by_hand(folder):
    qemu_provisioner.remove_by_hand(Cluster(plan_of(), folder, owner_of(STACK)))


def conflicts_on_docker(plan):
    return docker_provisioner.DockerProvisioner().conflicts(cluster_of(plan), of_others=False)


@pytest.fixture
def place(monkeypatch):
    """A folder that any user can enter, with the user's files below it."""
    path = Path(tempfile.mkdtemp(prefix="tq-"))
    path.chmod(0o755)
    for variable, name in (
        ("XDG_STATE_HOME", "state"),
        ("XDG_CACHE_HOME", "cache"),
        ("HOME", "home"),
        ("PULUMI_HOME", "pulumi"),
    ):
        (path / name).mkdir()
        monkeypatch.setenv(variable, str(path / name))
    monkeypatch.delenv("TALOS_HOME", raising=False)
    monkeypatch.setattr(qemu_cleanup, "GRACE_SECONDS", 0.5)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def folder(place):
    """The private folder of a cluster that this stack is making."""
    made = folder_of(STACK, NAME)
    made.prepare(owner_of(STACK))
    (made.state / NAME).mkdir(parents=True)
    return made


@pytest.fixture
def started():
    """Starts processes and ends them at the end of the test."""
    running = []

    def start(program, *arguments, **more):
        """A `tail`, or another program, under the name of `program`."""
        executable = more.pop("executable", shutil.which("tail"))
        process = subprocess.Popen(
            [program, *arguments], executable=executable, stderr=subprocess.DEVNULL, **more
        )
        running.append(process)
        while Path(f"/proc/{process.pid}/cmdline").read_text().split("\0")[0] != program:
            assert is_alive(process)
            time.sleep(0.001)
        return process

    yield start
    for process in running:
        process.kill()
        process.wait()


def is_alive(process):
    return process.poll() is None


# Whose process is it?


@pytest.mark.parametrize(
    ("part", "names"),
    [
        ("/s/state", True),
        ("--state=/s/state", True),
        ("unix:/s/state/dev/dev-worker-1.monitor,server,nowait", True),
        ("/s/state2/dev", False),
        ("/s", False),
        ("--state", False),
    ],
)
def test_a_command_line_names_the_state_folder_or_another(part, names):
    assert qemu_cleanup.names(["talosctl", "x", part], Path("/s/state")) == names


def test_the_bridge_has_the_name_that_talosctl_gives_it():
    # As seen with talosctl 1.13.0 and `--name qt1`.
    assert qemu_cleanup.bridge_of("qt1") == "talosd7e1c6b1"


def test_processes_of_the_cluster_are_ended_and_no_others(folder, started):
    inside = folder.state / NAME
    log = (inside / "lb.log").open("w")
    machine = started("/usr/bin/qemu-system-x86_64", "-F", f"{inside}/{NAME}-worker-1.monitor")
    balancer = started("/opt/talosctl", "-F", "/dev/null", stdout=log)
    reader = started("tail", "-F", f"{inside}/lb.log")
    other = started("/opt/talosctl", "-F", f"{folder.state}2/{NAME}/x")
    reused = started("sleep", "60", executable=shutil.which("sleep"))
    (inside / "dhcpd.pid").write_text(str(reused.pid))
    remove_by_hand(folder)
    assert [is_alive(process) for process in (machine, balancer)] == [False, False]
    assert [is_alive(process) for process in (reader, other, reused)] == [True, True, True]


def test_a_launcher_is_ended_before_its_machine_which_it_would_restart(folder, started, tmp_path):
    machine = started("qemu-system-x86_64", "-F", f"{folder.state}/m")
    script = (
        f"trap 'kill -0 {machine.pid} && touch {tmp_path}/machine-was-there; "
        f"kill -9 {machine.pid}; exit' TERM; touch {tmp_path}/ready; while :; do sleep 0.02; done"
    )
    launcher = started(
        "talosctl", "-c", script, "x", str(folder.state), executable=shutil.which("sh")
    )
    deadline = time.monotonic() + 30
    while not (tmp_path / "ready").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    remove_by_hand(folder)
    assert not is_alive(launcher)
    assert machine.wait(5) == -signal.SIGKILL
    assert (tmp_path / "machine-was-there").exists()


def test_a_process_that_ignores_sigterm_is_killed(folder, started, monkeypatch):
    monkeypatch.setattr(qemu_cleanup, "GRACE_SECONDS", 1)
    deaf = started(
        "talosctl",
        "-F",
        f"{folder.state}/x",
        preexec_fn=lambda: signal.signal(signal.SIGTERM, signal.SIG_IGN),
    )
    remove_by_hand(folder)
    assert deaf.wait(5) == -signal.SIGKILL


# What is removed, and what is not


def test_the_state_is_removed_and_removing_twice_is_fine(folder):
    (folder.state / NAME / "x.disk").write_text("disk")
    remove_by_hand(folder)
    assert not folder.state.exists()
    remove_by_hand(folder)


@pytest.fixture
def bridge():
    """An interface named like the cluster's bridge."""
    name = qemu_cleanup.bridge_of(NAME)
    subprocess.run(["ip", "link", "add", name, "type", "bridge"], check=True)
    yield name
    subprocess.run(["ip", "link", "delete", name], stderr=subprocess.DEVNULL)


@as_root
def test_the_bridge_of_this_stacks_cluster_is_removed(folder, bridge):
    remove_by_hand(folder)
    assert not qemu_cleanup.has_interface(bridge)


@as_root
def test_a_bridge_that_this_stack_did_not_make_is_named_and_left_alone(place, bridge):
    foreign = folder_of("another", NAME)
    foreign.prepare(owner_of("another"))
    own = folder_of(STACK, NAME)
    remove_by_hand(own)
    assert qemu_cleanup.has_interface(bridge)
    texts = qemu_host.conflicts(plan_of(), own)
    assert any(bridge in text and str(foreign.path) in text for text in texts)


@as_root
def test_a_cluster_without_its_files_is_known_by_its_processes(place, bridge, started):
    own = folder_of(STACK, NAME)
    machine = started("qemu-system-x86_64", "-F", f"{own.state}/{NAME}/x.monitor")
    remove_by_hand(own)
    assert not is_alive(machine)
    assert not qemu_cleanup.has_interface(bridge)


@as_root
def test_every_copy_of_the_rule_is_removed_and_no_other(folder):
    if shutil.which("iptables") is None:
        pytest.skip("no iptables on this machine")
    bridge = qemu_cleanup.bridge_of(NAME)
    own = ["-i", bridge, "-o", bridge, "-j", "ACCEPT"]
    other = ["-i", "talosffffffff", "-o", "talosffffffff", "-j", "ACCEPT"]
    made_chain = iptables("-N", qemu_cleanup.CHAIN, check=False).returncode == 0
    try:
        for rule in (own, other, own):
            iptables("-I", qemu_cleanup.CHAIN, *rule)
        remove_by_hand(folder)
        printed = iptables("-S", qemu_cleanup.CHAIN).stdout
        assert qemu_cleanup.rules_of(bridge, printed) == 0
        assert qemu_cleanup.rules_of("talosffffffff", printed) == 1
    finally:
        iptables("-D", qemu_cleanup.CHAIN, *other, check=False)
        for _ in range(2):
            iptables("-D", qemu_cleanup.CHAIN, *own, check=False)
        if made_chain:
            iptables("-X", qemu_cleanup.CHAIN)


def iptables(*arguments, check=True):
    return subprocess.run(
        ["iptables", "-w", *arguments], check=check, capture_output=True, text=True
    )


@pytest.fixture
def cni(folder):
    """CNI plugins that record their input, in talosctl's folder for them."""
    home = talos_home() / ".talos" / "cni"
    (home / "bin").mkdir(parents=True)
    (home / "cache" / "results").mkdir(parents=True)
    for plugin in ("bridge", "firewall"):
        script = home / "bin" / plugin
        script.write_text(
            f"#!/bin/sh\nenv | grep ^CNI_ >> {home}/{plugin}.asked\necho {plugin} >> {home}/order\n"
            f"cat >> {home}/{plugin}.asked\n"
        )
        script.chmod(0o755)
    return home


def note(cni, network, namespace):
    config = {
        "name": network,
        "cniVersion": "0.4.0",
        "plugins": [{"type": "bridge", "mtu": 1500}, {"type": "firewall"}, {"type": "not-there"}],
    }
    content = {
        "kind": "cniCacheV1",
        "containerId": "some-id",
        "config": base64.b64encode(json.dumps(config).encode()).decode(),
        "ifName": "veth0",
        "networkName": network,
        "netns": f"/var/run/netns/{namespace}",
        "cniArgs": [["IP", "10.77.0.2/24"], ["IgnoreUnknown", "1"]],
        "result": {"ips": [{"address": "10.77.0.2/24"}]},
    }
    path = cni / "cache" / "results" / f"{network}-some-id-veth0"
    path.write_text(json.dumps(content))
    return path


def test_networks_that_no_launcher_could_tear_down_are_torn_down(folder, cni):
    own, other = note(cni, NAME, "cnitest-gone"), note(cni, f"{NAME}-2", "cnitest-gone")
    remove_by_hand(folder)
    assert not own.exists()
    assert other.exists()
    assert (cni / "order").read_text().split() == ["firewall", "bridge"]
    asked = (cni / "bridge.asked").read_text()
    for part in ("CNI_COMMAND=DEL", "CNI_CONTAINERID=some-id", "CNI_IFNAME=veth0", "1500"):
        assert part in asked
    assert "CNI_ARGS=IP=10.77.0.2/24;IgnoreUnknown=1" in asked
    assert f'"name": "{NAME}"' in asked
    assert '"prevResult": {"ips": ' in asked


@as_root
def test_the_namespace_of_such_a_network_goes_too(folder, cni):
    namespace = f"cnitest-{os.getpid()}"
    subprocess.run(["ip", "netns", "add", namespace], check=True)
    try:
        note(cni, NAME, namespace)
        remove_by_hand(folder)
        assert (
            namespace
            not in subprocess.run(
                ["ip", "netns", "list"], capture_output=True, text=True, check=True
            ).stdout
        )
        assert f"CNI_NETNS=/var/run/netns/{namespace}" in (cni / "bridge.asked").read_text()
    finally:
        subprocess.run(["ip", "netns", "delete", namespace], stderr=subprocess.DEVNULL)


@as_root
def test_a_talosctl_that_never_ends_its_destroy_is_not_waited_for(
    folder, place, monkeypatch, capfd
):
    (folder.state / NAME / "state.yaml").touch()
    double = place / "bin" / "talosctl"
    double.parent.mkdir()
    double.write_text('#!/bin/sh\ncase "$*" in *version*) echo v1.13.0;; *) sleep 60;; esac\n')
    double.chmod(0o755)
    monkeypatch.setenv("PATH", f"{double.parent}:{os.environ['PATH']}")
    monkeypatch.setattr(qemu_provisioner, "DESTROY_SECONDS", 0.5)
    started = time.monotonic()
    command.delete(plan_of(), None)
    assert time.monotonic() - started < 30
    assert "not done within 0.5 s" in capfd.readouterr().err
    assert not folder.path.exists()
    assert not folder.state.exists()


def test_a_step_that_fails_is_reported_and_does_not_stop_the_others(folder, cni):
    path = note(cni, NAME, "cnitest-gone")
    (cni / "bin" / "firewall").write_text("#!/bin/sh\necho broken >&2\nexit 3\n")
    with pytest.raises(OpsError, match=r"cni/bin/firewall ended with 3: broken"):
        remove_by_hand(folder)
    assert not folder.state.exists()
    assert path.exists(), "kept for the next try"


# Root privileges


@pytest.fixture
def user(place):
    """Everything in the test is done by an unprivileged user (who may be one anyway)."""
    if os.geteuid() == 0:
        for path in place.rglob("*"):
            os.chown(path, NOBODY, NOBODY)
        os.chown(place, NOBODY, NOBODY)
        os.setegid(NOBODY)
        os.seteuid(NOBODY)
    yield
    os.seteuid(os.getuid())
    os.setegid(os.getgid())


def put_sudo(place, monkeypatch, script):
    """A double of `sudo` in front of everything else on PATH; a shell script starts as root."""
    double = place / "bin" / "sudo"
    double.parent.mkdir(exist_ok=True)
    double.write_text(f'#!/bin/sh\necho "$@" >> {place}/sudo.asked\n{script}\n')
    double.chmod(0o755)
    monkeypatch.setenv("PATH", f"{double.parent}:{os.environ['PATH']}")


ADVICE = "ALL=(root) NOPASSWD: ALL"
REFUSES = "echo 'sudo: a password is required' >&2; exit 1"
LETS = 'while [ "${1#-}" != "$1" ]; do shift; done; exec "$@"'


@as_root
def test_root_needs_no_sudo():
    assert QemuProvisioner().wrap(["/x/talosctl", "cluster"]) == [
        "/x/talosctl",
        "cluster",
    ]


def test_sudo_keeps_the_variables_of_talosctls_folders_and_never_prompts(user):
    argv = QemuProvisioner().wrap(["/x/talosctl", "cluster"])
    kept = "--preserve-env=HOME,TALOS_HOME,TALOSCONFIG,KUBECONFIG"
    assert argv[:2] == ["sudo", "-n"]
    assert argv[2].startswith(kept)
    assert argv[3:] == ["/x/talosctl", "cluster"]


def test_a_sudo_that_would_prompt_is_found_before_anything_is_made(user, place, monkeypatch):
    put_sudo(place, monkeypatch, REFUSES)
    texts = qemu_host.conflicts(plan_of(), folder_of(STACK, NAME))
    [text] = [text for text in texts if "sudo: a password is required" in text]
    assert ADVICE in text


def test_a_sudo_that_does_not_prompt_is_not_in_the_way(user, place, monkeypatch):
    put_sudo(place, monkeypatch, LETS)
    texts = qemu_host.conflicts(plan_of(), folder_of(STACK, NAME))
    assert (place / "sudo.asked").exists()
    assert not any(ADVICE in text or "ended with" in text for text in texts)


def test_a_machine_without_sudo_says_so(user, place, monkeypatch):
    monkeypatch.setenv("PATH", str(place))
    texts = qemu_host.conflicts(plan_of(), folder_of(STACK, NAME))
    assert any("no command sudo" in text and ADVICE in text for text in texts)


@pytest.fixture
def roots_files(folder):
    """What talosctl leaves when it runs as root."""
    (folder.state / NAME / "x.disk").write_text("disk")
    folder.talosconfig.write_text("secret")
    folder.talosconfig.chmod(0o644)
    (folder.work / "controlplane.yaml").write_text("secret")
    (talos_home() / ".talos" / "cache").mkdir(parents=True)
    in_private = (folder.state / NAME, folder.talosconfig, folder.work / "controlplane.yaml")
    return (*in_private, talos_home() / ".talos")


def give_to_user(place, but):
    """Give everything there to the user, except some paths and what is below them."""
    for path in (place, *place.rglob("*")):
        if not any(path == kept or kept in path.parents for kept in but):
            os.chown(path, NOBODY, NOBODY)


@as_root
def test_files_that_root_made_are_handed_over(place, folder, roots_files, monkeypatch):
    put_sudo(place, monkeypatch, LETS)
    give_to_user(place, roots_files)
    with unprivileged():
        qemu_provisioner.hand_over(folder)
    owners = {path.lstat().st_uid for path in folder.path.rglob("*")}
    owners |= {path.lstat().st_uid for path in folder.state.rglob("*")}
    assert owners == {NOBODY}
    assert (place / "sudo.asked").read_text().count("chown") == 1


@as_root
def test_sudo_is_not_called_if_everything_is_the_users(place, folder, monkeypatch):
    put_sudo(place, monkeypatch, LETS)
    give_to_user(place, ())
    with unprivileged():
        qemu_provisioner.hand_over(folder)
        (folder.state / NAME).rmdir()
        remove_by_hand(folder)
    assert not (place / "sudo.asked").exists()


def test_access_is_the_users_only(folder):
    for file in (folder.talosconfig, folder.kubeconfig):
        file.write_text("secret")
        file.chmod(0o644)
    qemu_provisioner.hand_over(folder)
    assert {file.stat().st_mode & 0o777 for file in (folder.talosconfig, folder.kubeconfig)} == {
        0o600
    }


@as_root
def test_what_root_made_is_removed_by_one_call_of_sudo(
    place, folder, roots_files, bridge, started, monkeypatch
):
    log = (folder.state / NAME / "lb.log").open("w")
    balancer = started("/opt/talosctl", "-F", "/dev/null", stdout=log)
    put_sudo(place, monkeypatch, LETS)
    give_to_user(place, roots_files)
    with unprivileged():
        remove_by_hand(folder)
        folder.remove()
    assert not is_alive(balancer)
    assert not qemu_cleanup.has_interface(bridge)
    assert not folder.path.exists()
    assert (place / "sudo.asked").read_text().count("qemu_cleanup") == 1
    shared = {path.lstat().st_uid for path in talos_home().rglob("*")}
    assert shared == {NOBODY}, "boot images stay, and are the user's"


@as_root
def test_what_stays_without_root_is_named_with_the_command_that_removes_it(
    place, folder, roots_files, bridge, monkeypatch
):
    put_sudo(place, monkeypatch, REFUSES)
    give_to_user(place, roots_files)
    with unprivileged(), pytest.raises(OpsError) as refused:
        remove_by_hand(folder)
    text = str(refused.value)
    assert f"network interface {bridge}" in text
    assert str(folder.state) in text
    assert folder.marker.exists(), "the next try still knows whose it is"
    line = text.rpartition("remove it now: ")[2].replace("sudo ", "")
    subprocess.run(line, shell=True, check=True)
    assert not qemu_cleanup.has_interface(bridge)
    assert not folder.state.exists()


class unprivileged:  # noqa: N801 - used like a function
    """Within it the process is an unprivileged user's; a shell that it starts is root's again."""

    def __enter__(self):
        os.setegid(NOBODY)
        os.seteuid(NOBODY)

    def __exit__(self, *_):
        os.seteuid(0)
        os.setegid(0)


# What talosctl would stumble over


MACHINE = Machine(qemu="qemu-double", packages="qemu-double-package")


@pytest.fixture
def bare_path(tmp_path, monkeypatch):
    """A PATH with nothing but what the test puts there."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(host_networks, "SYSTEM_PATH", "")
    monkeypatch.setattr(qemu_host, "OTHER_QEMU", ())
    return tmp_path


def put(folder, *names):
    for name in names:
        (folder / name).write_text("")
        (folder / name).chmod(0o755)


def test_every_missing_program_is_named_with_its_package(bare_path):
    texts = "\n".join(qemu_host.missing(plan_of(), MACHINE))
    for part in ("qemu-double is not", "command iptables", "command ip "):
        assert part in texts
    assert "apt-get install qemu-double-package" in texts
    assert "swtpm" not in texts


def test_nothing_is_missing_if_each_program_is_there(bare_path):
    put(bare_path, "qemu-double", "iptables", "ip")
    assert qemu_host.missing(plan_of(), MACHINE) == []


def test_secure_boot_needs_a_tpm(bare_path):
    put(bare_path, "qemu-double", "iptables", "ip")
    [text] = qemu_host.missing(plan_of(presets=["iso-secureboot"]), MACHINE)
    assert "swtpm-tools" in text


def test_a_tool_outside_of_a_users_path_counts(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    texts = qemu_host.missing(plan_of(), MACHINE)
    assert not any("command ip " in text for text in texts)


@pytest.mark.parametrize(
    ("keys", "end"),
    [
        ({"workers": 0}, f"/{NAME}/{NAME}-controlplane-1.monitor"),
        ({"workers": 99}, f"/{NAME}/{NAME}-controlplane-1.monitor"),
        ({"presets": ["iso-secureboot"]}, f"/{NAME}/{NAME}-controlplane-1-tpm/swtpm.sock"),
    ],
)
def test_the_longest_socket(keys, end):
    folder = Folder(Path("/s/stack/tq1"))
    plan = plan_of(cidr="10.5.0.0/16", **keys)
    assert str(qemu_host.longest_socket(plan, folder)) == f"{folder.state}{end}"


@pytest.mark.parametrize("over", [0, 1])
def test_a_socket_path_that_the_kernel_would_refuse(place, monkeypatch, over):
    spare = 107 - len(str(qemu_host.longest_socket(plan_of(), folder_of(STACK, NAME))))
    monkeypatch.setenv("XDG_STATE_HOME", f"{place}/state" + "x" * (spare + over))
    texts = qemu_host.conflicts(plan_of(), folder_of(STACK, NAME))
    found = [text for text in texts if "XDG_STATE_HOME" in text]
    assert [("108 bytes" in text) for text in found] == [True] * over


@pytest.mark.parametrize("is_short_enough", [True, False])
def test_the_limit_is_the_kernels(place, is_short_enough):
    path = str(place / "s").ljust(qemu_host.SOCKET_PATH_BYTES + (not is_short_enough), "x")
    with socket.socket(socket.AF_UNIX) as made:
        if is_short_enough:
            made.bind(path)
        else:
            with pytest.raises(OSError, match="too long"):
                made.bind(path)


def test_the_default_cluster_fits_in_an_ordinary_home(monkeypatch):
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.setenv("HOME", "/home/longusername")
    plan = plan_of(name="talos-default")
    path = qemu_host.longest_socket(plan, folder_of("qemu", plan.name))
    assert len(str(path)) <= qemu_host.SOCKET_PATH_BYTES


def test_a_cluster_that_was_made_by_hand_is_named(place):
    state = place / "home" / ".talos" / "clusters" / NAME / "state.yaml"
    state.parent.mkdir(parents=True)
    state.write_text("")
    texts = qemu_host.conflicts(plan_of(), folder_of(STACK, NAME))
    assert any(str(state) in text and f"destroy --name {NAME}" in text for text in texts)


ADDRESSES = json.dumps(
    [
        {"ifname": "lo", "addr_info": [{"local": "127.0.0.1", "prefixlen": 8}]},
        {"ifname": "eth0", "addr_info": [{"local": "192.0.2.2", "prefixlen": 24}]},
        {"ifname": "down0"},
    ]
)
ROUTES = json.dumps(
    [
        {"dst": "default", "gateway": "192.0.2.1", "dev": "eth0"},
        {"dst": "192.0.2.0/24", "dev": "eth0"},
        {"dst": "10.0.0.0/8", "dev": "tun0"},
        {"dst": "10.77.0.16/28", "dev": "tun0"},
        {"dst": "10.77.0.9", "dev": "tun1"},
        {"type": "blackhole", "dst": "10.77.0.0/24"},
    ]
)


def test_networks_of_this_host():
    found = host_networks.networks_in(ADDRESSES, ROUTES, IPv4Network("10.77.0.0/24"))
    assert {(network.interface, str(network.cidr)) for network in found} == {
        ("lo", "127.0.0.0/8"),
        ("eth0", "192.0.2.0/24"),
        ("tun0", "10.77.0.16/28"),
        ("tun1", "10.77.0.9/32"),
    }


@pytest.mark.parametrize(
    ("interface", "cidr", "is_named"),
    [
        ("eth0", "10.77.0.0/24", True),
        ("eth0", "10.77.0.128/25", True),
        ("eth0", "10.0.0.0/8", True),
        ("talos01234567", "10.77.0.0/24", True),
        ("eth0", "10.78.0.0/24", False),
        ("docker0", "10.77.0.0/24", False),
        ("docker01", "10.77.0.0/24", True),
        ("br-0123456789ab", "10.77.0.0/24", False),
        ("br-lan", "10.77.0.0/24", True),
    ],
)
def test_a_network_that_overlaps_is_named_unless_docker_reports_it(interface, cidr, is_named):
    networks = [Network(interface=interface, cidr=IPv4Network(cidr))] * 2
    found = host_networks.overlaps(plan_of(cidr="10.77.0.0/24"), networks)
    assert [(interface in text and cidr in text) for text in found] == [True] * is_named


def test_the_bridge_of_an_earlier_try_of_this_stack_is_not_in_the_way():
    networks = [
        Network(interface=qemu_cleanup.bridge_of(NAME), cidr=IPv4Network("10.77.0.0/24")),
    ]
    plan = plan_of(cidr="10.77.0.0/24")
    assert host_networks.overlaps(plan, networks, {qemu_cleanup.bridge_of(plan.name)}) == []
    assert len(host_networks.overlaps(plan, networks)) == 1


def test_the_network_that_is_proposed_is_free():
    networks = [
        Network(interface="eth0", cidr=IPv4Network("10.0.0.0/8")),
        Network(interface="eth1", cidr=IPv4Network("172.16.0.0/12")),
    ]
    [text] = host_networks.overlaps(plan_of(cidr="10.77.0.0/24"), networks)
    assert text.endswith("for instance 192.168.210.0/24.")


@as_root
def test_an_address_of_this_machine_within_the_network_is_found_for_real(place):
    subprocess.run(["ip", "link", "add", "tqother0", "type", "bridge"], check=True)
    try:
        subprocess.run(["ip", "address", "add", "10.77.9.9/32", "dev", "tqother0"], check=True)
        texts = qemu_host.conflicts(plan_of(cidr="10.77.9.0/24"), folder_of(STACK, NAME))
        assert any("10.77.9.9/32" in text and "tqother0" in text for text in texts)
    finally:
        subprocess.run(["ip", "link", "delete", "tqother0"], check=True)


@as_root
def test_plugins_that_talosctl_will_have_to_download_are_noted(place, capfd):
    folder = talos_home() / ".talos" / "cni" / "bin"
    folder.mkdir(parents=True)
    (folder / "bridge").touch()
    for _ in range(2):
        qemu_host.conflicts(plan_of(), folder_of(STACK, NAME))
    noted = capfd.readouterr().err
    assert noted.count(str(folder)) == noted.count("firewall, static, tc-redirect-tap") == 1


@pytest.mark.parametrize("stack", [STACK, "another"])
def test_another_cluster_of_this_stack_may_be_about_to_go_and_another_stacks_is_not(place, stack):
    """A cluster that gets another name has its own network in its way, until it is replaced."""
    folder_of(stack, "tq2").prepare(owner_of(stack))
    bridge = qemu_cleanup.bridge_of("tq2")
    subprocess.run(["ip", "link", "add", bridge, "type", "bridge"], check=True)
    try:
        subprocess.run(["ip", "address", "add", "10.77.9.1/24", "dev", bridge], check=True)
        plan, own = plan_of(cidr="10.77.9.0/24"), folder_of(STACK, NAME)
        in_the_way = [
            any(bridge in text for text in qemu_host.conflicts(plan, own, of_others=of_others))
            for of_others in (False, True)
        ]
    finally:
        subprocess.run(["ip", "link", "delete", bridge], check=True)
    assert in_the_way == [True, stack != STACK]


@as_root
@pytest.mark.parametrize("is_local", [True, False])
def test_a_cluster_on_docker_is_kept_from_a_network_that_docker_does_not_know(
    place, bridge, monkeypatch, is_local
):
    """Such as that of a cluster on QEMU. Docker here is a double without anything in it."""
    monkeypatch.setattr(docker_provisioner.api, "connect", object)
    monkeypatch.setattr(docker_provisioner.api, "is_local", lambda client: is_local)
    for name in ("network_conflicts", "node_conflicts"):
        monkeypatch.setattr(docker_provisioner.docker_nodes, name, lambda *_, **__: [])
    subprocess.run(["ip", "address", "add", "10.77.9.1/24", "dev", bridge], check=True)
    plan = plan_of(provisioner="docker", cidr="10.77.9.0/24")
    texts = conflicts_on_docker(plan)
    assert bool(texts) == is_local, "another machine's Docker has other networks around it"
    assert all("10.77.9.0/24" in text and bridge in text for text in texts)
    assert conflicts_on_docker(plan_of(provisioner="docker", cidr="10.77.8.0/24")) == []
    folder_of(STACK, NAME).prepare(owner_of(STACK))
    assert conflicts_on_docker(plan) == [], "what a killed run of this stack has left"


@pytest.mark.parametrize("is_local", [True, False])
def test_a_kernel_without_br_netfilter_is_noted_once_and_is_not_in_the_way(
    place, monkeypatch, tmp_path, capfd, is_local
):
    monkeypatch.setattr(docker_provisioner.api, "connect", object)
    monkeypatch.setattr(docker_provisioner.api, "is_local", lambda client: is_local)
    for name in ("network_conflicts", "node_conflicts"):
        monkeypatch.setattr(docker_provisioner.docker_nodes, name, lambda *_, **__: [])
    plan = plan_of(provisioner="docker", cidr="10.77.8.0/24")
    there = tmp_path / "there"
    there.touch()
    monkeypatch.setattr(docker_provisioner, "BRIDGE_FILTER", there)
    assert conflicts_on_docker(plan) == []
    assert "br_netfilter" not in capfd.readouterr().err
    monkeypatch.setattr(docker_provisioner, "BRIDGE_FILTER", tmp_path / "not there")
    assert conflicts_on_docker(plan) == conflicts_on_docker(plan) == []
    assert capfd.readouterr().err.count("sudo modprobe br_netfilter") == is_local
