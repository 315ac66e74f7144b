"""What is in the way of clusters on QEMU, and of clusters on Docker beside them; no QEMU needed.

Network interfaces and the kernel's limits are real.
"""

import json
import re
import socket
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from ops.cluster import docker_provisioner, host_networks, qemu_cleanup, qemu_host
from ops.cluster.folder import Folder, folder_of, owner_of, talos_home
from ops.cluster.host_networks import Network
from ops.cluster.provisioner import cluster_of
from ops.cluster.qemu_host import Machine
from tests.fakes.programs import program
from tests.unit.ops.cluster.qemu import NAME, STACK, as_root, interface, plan_of

MACHINE = Machine(qemu="qemu-double", packages="qemu-double-package")
SECURE_BOOT = ["iso-secureboot"]


def conflicts(of_others=False, **keys):
    return qemu_host.conflicts(plan_of(**keys), folder_of(STACK, NAME), of_others=of_others)


@pytest.mark.parametrize(
    ("there", "presets", "packages"),
    [
        ((), [], ["qemu-double-package", "iptables", "iproute2"]),
        (("qemu-double", "iptables", "ip"), [], []),
        (("qemu-double", "iptables", "ip"), SECURE_BOOT, ["swtpm-tools"]),
        (("qemu-double", "iptables", "ip", "swtpm"), SECURE_BOOT, []),
    ],
    ids=["nothing", "all", "no TPM for secure boot", "all for secure boot"],
)
def test_every_missing_program_is_named_with_its_package(
    tmp_path, monkeypatch, there, presets, packages
):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(host_networks, "SYSTEM_PATH", "")
    monkeypatch.setattr(qemu_host, "OTHER_QEMU", ())
    for name in there:
        program(tmp_path, name, "")
    texts = "\n".join(qemu_host.missing(plan_of(presets=presets), MACHINE))
    assert re.findall(r"apt-get install (.+)\)", texts) == packages


def test_a_tool_outside_of_a_users_path_counts(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    assert not any("command ip " in text for text in qemu_host.missing(plan_of(), MACHINE))


@pytest.mark.parametrize(
    ("keys", "end"),
    [
        ({"workers": 0}, "-controlplane-1.monitor"),
        ({"workers": 99}, "-controlplane-1.monitor"),
        ({"presets": SECURE_BOOT}, "-controlplane-1-tpm/swtpm.sock"),
    ],
)
def test_the_longest_socket(keys, end):
    folder = Folder(Path("/s/stack/tq1"))
    plan = plan_of(cidr="10.5.0.0/16", **keys)
    assert str(qemu_host.longest_socket(plan, folder)) == f"{folder.state}/{NAME}/{NAME}{end}"


@pytest.mark.parametrize("over", [0, 1])
def test_a_socket_path_that_the_kernel_would_refuse(place, monkeypatch, over):
    spare = 107 - len(str(qemu_host.longest_socket(plan_of(), folder_of(STACK, NAME))))
    monkeypatch.setenv("XDG_STATE_HOME", f"{place}/state" + "x" * (spare + over))
    found = [text for text in conflicts() if "XDG_STATE_HOME" in text]
    assert [("108 bytes" in text) for text in found] == [True] * over


def test_the_limit_is_the_kernels(place):
    longest = str(place / "s").ljust(qemu_host.SOCKET_PATH_BYTES, "x")
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(longest)
    with socket.socket(socket.AF_UNIX) as made, pytest.raises(OSError, match="too long"):
        made.bind(f"{longest}x")


def test_the_default_cluster_fits_in_an_ordinary_home(monkeypatch):
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.setenv("HOME", "/home/longusername")
    plan = plan_of(name="talos-default")
    path = qemu_host.longest_socket(plan, folder_of("qemu-cluster", plan.name))
    assert len(str(path)) <= qemu_host.SOCKET_PATH_BYTES


def test_a_cluster_that_was_made_by_hand_is_named(place):
    state = place / "home" / ".talos" / "clusters" / NAME / "state.yaml"
    state.parent.mkdir(parents=True)
    state.write_text("")
    assert any(str(state) in text and f"destroy --name {NAME}" in text for text in conflicts())


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


def network(name, cidr):
    return Network(interface=name, cidr=IPv4Network(cidr))


def test_networks_of_this_host():
    assert set(host_networks.networks_in(ADDRESSES, ROUTES, IPv4Network("10.77.0.0/24"))) == {
        network("lo", "127.0.0.0/8"),
        network("eth0", "192.0.2.0/24"),
        network("tun0", "10.77.0.16/28"),
        network("tun1", "10.77.0.9/32"),
    }


@pytest.mark.parametrize(
    ("name", "cidr", "is_named"),
    [
        ("eth0", "10.77.0.0/24", True),
        ("eth0", "10.77.0.128/25", True),
        ("eth0", "10.0.0.0/8", True),
        ("eth0", "10.78.0.0/24", False),
        ("talos01234567", "10.77.0.0/24", True),
        ("talos-of-ours", "10.77.0.0/24", False),
        ("docker0", "10.77.0.0/24", False),
        ("docker01", "10.77.0.0/24", True),
        ("br-0123456789ab", "10.77.0.0/24", False),
        ("br-lan", "10.77.0.0/24", True),
    ],
)
def test_an_overlap_is_named_once_unless_docker_reports_it_or_it_is_ours(name, cidr, is_named):
    plan = plan_of(cidr="10.77.0.0/24")
    found = host_networks.overlaps(plan, [network(name, cidr)] * 2, {"talos-of-ours"})
    assert [(name in text and cidr in text) for text in found] == [True] * is_named


def test_the_network_that_is_proposed_is_free():
    taken = [network("eth0", "10.0.0.0/8"), network("eth1", "172.16.0.0/12")]
    [text] = host_networks.overlaps(plan_of(cidr="10.77.0.0/24"), taken)
    assert text.endswith("for instance 192.168.210.0/24.")


@as_root
def test_an_address_of_this_machine_within_the_network_is_found_for_real(place):
    with interface("tqother0", "10.77.9.9/32"):
        texts = conflicts(cidr="10.77.9.0/24")
    assert any("10.77.9.9/32" in text and "tqother0" in text for text in texts)


@as_root
def test_plugins_that_talosctl_will_have_to_download_are_noted_once(place, capfd):
    folder = talos_home() / ".talos" / "cni" / "bin"
    program(folder, "bridge", "")
    for _ in range(2):
        conflicts()
    noted = capfd.readouterr().err
    assert noted.count(str(folder)) == noted.count("firewall, static, tc-redirect-tap") == 1


@as_root
@pytest.mark.parametrize("stack", [STACK, "another"])
def test_another_cluster_of_this_stack_may_be_about_to_go_and_another_stacks_is_not(place, stack):
    """A cluster that gets another name has its own network in its way, until it is replaced."""
    other = f"{NAME}-2"
    folder_of(stack, other).prepare(owner_of(stack))
    with interface(qemu_cleanup.bridge_of(other), "10.77.9.1/24") as bridge:
        in_the_way = [
            any(bridge in text for text in conflicts(of_others, cidr="10.77.9.0/24"))
            for of_others in (False, True)
        ]
    assert in_the_way == [True, stack != STACK]


@pytest.fixture(params=[True, False], ids=["local", "elsewhere"])
def on_docker(request, place, monkeypatch):
    """What is in the way of a cluster on Docker; Docker is a double without anything in it."""
    monkeypatch.setattr(docker_provisioner.api, "connect", object)
    monkeypatch.setattr(docker_provisioner.api, "is_local", lambda client: request.param)
    for name in ("network_conflicts", "node_conflicts"):
        monkeypatch.setattr(docker_provisioner.docker_nodes, name, lambda *_, **__: [])

    def look(cidr):
        plan = plan_of(provisioner="docker", cidr=cidr)
        provisioner = docker_provisioner.DockerProvisioner()
        return provisioner.conflicts(cluster_of(plan), of_others=False)

    look.is_local = request.param
    return look


@as_root
def test_a_cluster_on_docker_is_kept_from_a_network_that_docker_does_not_know(on_docker):
    """Such as that of a cluster on QEMU."""
    with interface(qemu_cleanup.bridge_of(NAME), "10.77.9.1/24") as bridge:
        texts = on_docker("10.77.9.0/24")
        assert bool(texts) == on_docker.is_local, "another machine's Docker has other networks"
        assert all("10.77.9.0/24" in text and bridge in text for text in texts)
        assert on_docker("10.77.8.0/24") == []
        folder_of(STACK, NAME).prepare(owner_of(STACK))
        assert on_docker("10.77.9.0/24") == [], "what a killed run of this stack has left"


def test_a_kernel_without_br_netfilter_is_noted_once_and_is_not_in_the_way(
    on_docker, monkeypatch, tmp_path, capfd
):
    monkeypatch.setattr(docker_provisioner, "BRIDGE_FILTER", tmp_path)
    assert on_docker("10.77.8.0/24") == []
    assert "br_netfilter" not in capfd.readouterr().err
    monkeypatch.setattr(docker_provisioner, "BRIDGE_FILTER", tmp_path / "not there")
    assert on_docker("10.77.8.0/24") == on_docker("10.77.8.0/24") == []
    assert capfd.readouterr().err.count("sudo modprobe br_netfilter") == on_docker.is_local
