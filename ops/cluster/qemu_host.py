"""What a cluster on QEMU needs on this host, and what conflicts with it.

Programs that talosctl looks for itself are here too, because it looks after its downloads. Source:
siderolabs/talos, pkg/provision/providers/qemu/{arch,preflight,preflight_linux}.go, v1.11.5 to
v1.13.0.
"""

import functools
import os
import platform
import sys
from dataclasses import dataclass
from pathlib import Path

from ops.cluster import host_networks, qemu_cleanup
from ops.cluster.folder import Folder, talos_home
from ops.cluster.host_networks import program
from ops.cluster.root_rights import run_as_root
from ops.cluster.supervisor import say
from ops.errors import OpsError
from plan.talos.cluster import ClusterPlan

# Without the byte that ends it; from the kernel's struct sockaddr_un.
SOCKET_PATH_BYTES = 107
KVM = Path("/dev/kvm")
# From siderolabs/talos, pkg/provision/providers/qemu/preflight_linux.go.
CNI_PLUGINS = ("bridge", "firewall", "static", "tc-redirect-tap")
SECURE_BOOT = "iso-secureboot"


@dataclass(frozen=True, kw_only=True)
class Machine:
    """QEMU for a kind of host, and the Debian packages of it and of the UEFI firmware."""

    qemu: str
    packages: str


# talosctl knows which firmware files will do, and says so before it makes anything (ADR 0037).
MACHINES = {
    "x86_64": Machine(qemu="qemu-system-x86_64", packages="qemu-system-x86 ovmf"),
    "aarch64": Machine(qemu="qemu-system-aarch64", packages="qemu-system-arm qemu-efi-aarch64"),
}
OTHER_QEMU = ("qemu-kvm", "/usr/libexec/qemu-kvm")


def conflicts(plan: ClusterPlan, folder: Folder, *, of_others: bool = False) -> list[str]:
    """What is missing or conflicts, one text each with the fix.

    Args:
        plan: of the cluster.
        folder: its private folder.
        of_others: leave out the other clusters of this stack.
    """
    machine = MACHINES.get(platform.machine())
    if sys.platform != "linux" or machine is None:
        return [
            f"The cluster {plan.name} is on QEMU, which this program drives on Linux on x86_64 and "
            f"aarch64 only; this is {sys.platform} on {platform.machine()}. Write "
            "cluster.provisioner: docker."
        ]
    _note_on_kvm()
    _note_on_plugins(talos_home() / ".talos" / "cni" / "bin")
    texts = [
        *missing(plan, machine),
        _without_rights(),
        _too_long(longest_socket(plan, folder)),
        _same_bridge(plan, folder),
        _same_state(plan),
        *host_networks.conflicts(plan, folder, of_others=of_others),
    ]
    return [text for text in texts if text]


def longest_socket(plan: ClusterPlan, folder: Folder) -> Path:
    """The longest path of a UNIX socket that talosctl will have QEMU or its TPM create."""
    counts = {"controlplane": plan.settings.control_planes, "worker": plan.settings.workers}
    end = "-tpm/swtpm.sock" if SECURE_BOOT in plan.settings.presets else ".monitor"
    sockets = (
        folder.state / plan.name / f"{plan.name}-{kind}-{count}{end}"
        for kind, count in counts.items()
        if count
    )
    return max(sockets, key=lambda path: len(os.fsencode(path)))


def missing(plan: ClusterPlan, machine: Machine) -> list[str]:
    """Programs that talosctl will run and this host does not have."""
    texts = []
    if not any(map(program, (machine.qemu, *OTHER_QEMU))):
        texts.append(
            f"QEMU is missing: {machine.qemu} is not on PATH. Install it (Debian and Ubuntu: "
            f"sudo apt-get install {machine.packages})."
        )
    tools = {"iptables": "iptables", "ip": "iproute2"}
    if SECURE_BOOT in plan.settings.presets:
        tools["swtpm"] = "swtpm-tools"
    texts += [
        f"The command {tool} is missing, which clusters on QEMU need. Install it "
        f"(Debian and Ubuntu: sudo apt-get install {package})."
        for tool, package in tools.items()
        if program(tool) is None
    ]
    return texts


def _without_rights() -> str | None:
    if os.geteuid() == 0:
        return None
    try:
        run_as_root(["true"])
    except OpsError as error:
        return str(error)
    return None


def _too_long(socket: Path) -> str | None:
    length = len(os.fsencode(socket))
    if length <= SOCKET_PATH_BYTES:
        return None
    return (
        f"A socket of a machine would be {socket}; that path has {length} bytes, and Linux allows "
        f"{SOCKET_PATH_BYTES}. Write a shorter cluster.name, or set XDG_STATE_HOME to a folder "
        "with a shorter path, permanently: the cluster's state is looked for there."
    )


def _same_bridge(plan: ClusterPlan, folder: Folder) -> str | None:
    bridge = qemu_cleanup.bridge_of(plan.name)
    if host_networks.is_recorded(plan, folder) or not qemu_cleanup.has_interface(bridge):
        return None
    others = sorted(folder.path.parent.parent.glob(f"*/{plan.name}/{folder.marker.name}"))
    maker = f"(its files: {others[0].parent}) " if others else ""
    return (
        f"There is a cluster {plan.name} on QEMU already {maker}with the network interface "
        f"{bridge}, and this stack did not make it. Write another cluster.name, or remove that "
        "cluster where it was made: make down there, or talosctl cluster destroy --name "
        f"{plan.name}."
    )


def _same_state(plan: ClusterPlan) -> str | None:
    """A cluster that the user's own talosctl made; its folder names it even while it is down."""
    homes = {os.environ.get("TALOS_HOME") or "", str(Path.home() / ".talos")} - {""}
    for home in sorted(homes):
        state = Path(home) / "clusters" / plan.name / "state.yaml"
        if state.exists():
            return (
                f"There is a cluster {plan.name} already, made by hand ({state}). Write another "
                "cluster.name, or remove that cluster: sudo --preserve-env=HOME talosctl cluster "
                f"destroy --name {plan.name}."
            )
    return None


@functools.cache
def _note_on_kvm() -> None:
    if not KVM.exists():
        say(f"note: there is no {KVM}; machines on QEMU run without it, but slowly")


@functools.cache
def _note_on_plugins(folder: Path) -> None:
    """Not an error: talosctl fetches them if it reaches GitHub."""
    absent = [name for name in CNI_PLUGINS if not (folder / name).exists()]
    if absent:
        say(f"note: {', '.join(absent)} not in {folder}; talosctl will download them from GitHub")
