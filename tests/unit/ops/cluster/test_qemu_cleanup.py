"""Clusters of QEMU machines: what is found of them and removed; no QEMU needed.

Processes, network interfaces, namespaces and rules are real; CNI plugins are doubles, which record
their input.
"""

import base64
import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from ops.cluster import qemu_cleanup, qemu_host
from ops.cluster.folder import folder_of, owner_of, talos_home
from ops.errors import OpsError
from tests.fakes.programs import program
from tests.unit.ops.cluster.qemu import NAME, STACK, as_root, is_alive, plan_of, remove_by_hand


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


@as_root
def test_bridge_and_state_are_removed_and_removing_twice_is_fine(folder, bridge):
    (folder.state / NAME / "x.disk").write_text("disk")
    for _ in range(2):
        remove_by_hand(folder)
        assert not qemu_cleanup.has_interface(bridge)
        assert not folder.state.exists()


@as_root
def test_a_bridge_that_this_stack_did_not_make_is_named_and_left_alone(place, bridge):
    foreign, own = folder_of("another", NAME), folder_of(STACK, NAME)
    foreign.prepare(owner_of("another"))
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
    (home / "cache" / "results").mkdir(parents=True)
    for plugin in ("bridge", "firewall"):
        asked = f"{home}/{plugin}.asked"
        script = f"env | grep ^CNI_ >> {asked}; echo {plugin} >> {home}/order; cat >> {asked}"
        program(home / "bin", plugin, script)
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


@as_root
def test_networks_that_no_launcher_could_tear_down_are_torn_down(folder, cni):
    namespace = f"cnitest-{os.getpid()}"
    subprocess.run(["ip", "netns", "add", namespace], check=True)
    try:
        own, other = note(cni, NAME, namespace), note(cni, f"{NAME}-2", namespace)
        remove_by_hand(folder)
        assert (own.exists(), other.exists()) == (False, True)
        assert not Path("/var/run/netns", namespace).exists()
    finally:
        subprocess.run(["ip", "netns", "delete", namespace], stderr=subprocess.DEVNULL)
    assert (cni / "order").read_text().split() == ["firewall", "bridge"]
    asked = (cni / "bridge.asked").read_text()
    for part in (
        "CNI_COMMAND=DEL",
        "CNI_CONTAINERID=some-id",
        "CNI_IFNAME=veth0",
        f"CNI_NETNS=/var/run/netns/{namespace}",
        "CNI_ARGS=IP=10.77.0.2/24;IgnoreUnknown=1",
        "1500",
        f'"name": "{NAME}"',
        '"prevResult": {"ips": ',
    ):
        assert part in asked


def test_a_step_that_fails_is_reported_and_does_not_stop_the_others(folder, cni):
    path = note(cni, NAME, "cnitest-gone")
    program(cni / "bin", "firewall", "echo broken >&2; exit 3")
    with pytest.raises(OpsError, match=r"cni/bin/firewall ended with 3: broken"):
        remove_by_hand(folder)
    assert not folder.state.exists()
    assert path.exists(), "kept for the next try"
