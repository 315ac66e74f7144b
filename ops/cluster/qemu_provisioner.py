"""A cluster of QEMU machines on this host: what it needs, and what is left of it.

What talosctl looks for itself stands here too, for it looks late: after downloads, and after files
and processes of the new cluster are there. Source: siderolabs/talos,
pkg/provision/providers/qemu/{arch,preflight,preflight_linux}.go, v1.11.5 to v1.13.0.
"""

import functools
import getpass
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from host.paths import ROOT
from ops.cluster import qemu_cleanup
from ops.cluster.folder import Folder, clusters_beside, owner_of, talos_home
from ops.cluster.host_networks import networks_now, overlaps, program
from ops.cluster.supervisor import say
from ops.errors import OpsError
from plan.talos.cluster import ClusterPlan
from plan.talos.talosctl import KEPT_BY_SUDO

# Less the byte that ends it; from the kernel's struct sockaddr_un.
SOCKET_PATH_BYTES = 107
SUDO_SECONDS = 30
SWEEP_SECONDS = 300
KVM = Path("/dev/kvm")
# From siderolabs/talos, pkg/provision/providers/qemu/preflight_linux.go.
CNI_PLUGINS = ("bridge", "firewall", "static", "tc-redirect-tap")
SECURE_BOOT = "iso-secureboot"


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What talosctl wants on a kind of host: QEMU, and in any of the folders one file of each."""

    qemu: str
    packages: str
    folders: tuple[str, ...]
    code: tuple[str, ...]
    variables: tuple[str, ...]


MACHINES = {
    "x86_64": Machine(
        qemu="qemu-system-x86_64",
        packages="qemu-system-x86 ovmf",
        folders=(
            "/usr/share/ovmf",
            "/usr/share/OVMF",
            "/usr/share/qemu",
            "/usr/share/ovmf/x64",
        ),
        code=(
            *("OVMF_CODE_4M.secboot.fd", "OVMF_CODE.secboot.4m.fd", "OVMF_CODE.secboot.fd"),
            *("OVMF.secboot.fd", "edk2-x86_64-secure-code.fd", "ovmf-x86_64-ms-4m-code.bin"),
            *("OVMF_CODE_4M.fd", "OVMF_CODE.4m.fd", "OVMF_CODE.fd", "OVMF.fd"),
            "ovmf-x86_64-4m-code.bin",
        ),
        variables=(
            *("OVMF_VARS_4M.fd", "OVMF_VARS.4m.fd", "OVMF_VARS.fd"),
            "ovmf-x86_64-4m-vars.bin",
        ),
    ),
    "aarch64": Machine(
        qemu="qemu-system-aarch64",
        packages="qemu-system-arm qemu-efi-aarch64",
        folders=(
            "/usr/share/AAVMF",
            "/usr/share/qemu-efi-aarch64",
            "/usr/share/OVMF",
            "/usr/share/edk2/aarch64",
            "/usr/share/edk2/experimental",
        ),
        code=(
            *("AAVMF_CODE.secboot.fd", "QEMU_EFI.secboot.testonly.fd", "AAVMF_CODE.fd"),
            *("QEMU_EFI.fd", "OVMF.stateless.fd", "edk2-aarch64-code.fd"),
        ),
        variables=("AAVMF_VARS.fd", "QEMU_VARS.fd", "edk2-arm-vars.fd"),
    ),
}
OTHER_QEMU = ("qemu-kvm", "/usr/libexec/qemu-kvm")


def privileged(argv: Sequence[str]) -> list[str]:
    """The line with root's rights, which networks and machines need; it never asks for a password.

    talosctl up to 1.11 finds its folder by HOME.
    """
    if os.geteuid() == 0:
        return list(argv)
    return ["sudo", "-n", f"--preserve-env={KEPT_BY_SUDO}", *argv]


def hand_over(folder: Folder) -> None:
    """Give the files that root made to the user, and keep them the user's only.

    Raises:
        OpsError: there are some, and no rights to give them away.
    """
    foreign = [path for path in (folder.path, folder.state, talos_home()) if _has_foreign(path)]
    if foreign and os.geteuid() != 0:
        user = f"{os.geteuid()}:{os.getegid()}"
        _as_root(["chown", "--recursive", "--no-dereference", user, *map(str, foreign)])
    for file in (folder.talosconfig, folder.kubeconfig):
        if file.exists():
            file.chmod(0o600)


def conflicts(plan: ClusterPlan, folder: Folder, *, of_others: bool = False) -> list[str]:
    """What is missing or in the way, one text each with what to do.

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
    ours = _is_ours(plan, folder)
    found = [
        *missing(plan, machine),
        _without_rights(),
        _too_long(longest_socket(plan, folder)),
        _same_bridge(plan, folder, ours=ours),
        _same_state(plan),
        *network_conflicts(plan, folder, of_others=of_others),
    ]
    return [text for text in found if text]


def network_conflicts(plan: ClusterPlan, folder: Folder, *, of_others: bool = False) -> list[str]:
    """Networks of this host that the cluster's, on QEMU or Docker, would overlap with.

    Those of Docker are left out, others' clusters on QEMU are among them. Docker itself looks at
    its own only.

    Args:
        plan: of the cluster.
        folder: its private folder.
        of_others: leave out the other clusters of this stack.
    """
    siblings = clusters_beside(folder.path.parent) if of_others else []
    own = [*siblings, *([plan.name] if _is_ours(plan, folder) else [])]
    return overlaps(plan, networks_now(plan), {qemu_cleanup.bridge_of(name) for name in own})


def remove(plan: ClusterPlan, folder: Folder) -> None:
    """End the processes of the cluster, remove its bridge, rule and state; gone already is fine.

    Raises:
        OpsError: something of it is left; names it and the line that removes it.
    """
    is_ours = folder.recorded(owner_of(plan.stack)) or qemu_cleanup.processes(folder.state)
    if not is_ours:
        return  # a bridge of that name, if there is one, is somebody else's
    home = talos_home() / ".talos"
    if os.geteuid() == 0:
        qemu_cleanup.sweep(folder, plan.name, home)
    elif left := qemu_cleanup.left(folder, plan.name):
        sweep = [sys.executable, "-B", "-m", "ops.cluster.qemu_cleanup"]
        line = [*sweep, str(folder.path), plan.name, str(home)]
        try:
            _as_root(line)
        except OpsError as error:
            by_hand = f"cd {shlex.quote(str(ROOT))} && sudo {shlex.join(line)}"
            raise OpsError(
                f"this is left of the cluster {plan.name}: {', '.join(left)}; {error} Run this "
                f"again then, or remove it now: {by_hand}"
            ) from error
    hand_over(folder)


def longest_socket(plan: ClusterPlan, folder: Folder) -> Path:
    """The longest path of a UNIX socket that talosctl will have QEMU or its TPM make."""
    counts = {"controlplane": plan.settings.control_planes, "worker": plan.settings.workers}
    end = "-tpm/swtpm.sock" if SECURE_BOOT in plan.settings.presets else ".monitor"
    sockets = (
        folder.state / plan.name / f"{plan.name}-{kind}-{count}{end}"
        for kind, count in counts.items()
        if count
    )
    return max(sockets, key=lambda path: len(os.fsencode(path)))


def missing(plan: ClusterPlan, machine: Machine) -> list[str]:
    """Programs and files that talosctl will want, and this host has not."""
    install = f"Install it (Debian and Ubuntu: sudo apt-get install {machine.packages})."
    texts = []
    if not any(map(program, (machine.qemu, *OTHER_QEMU))):
        texts.append(f"QEMU is missing: {machine.qemu} is not on PATH. {install}")
    for what, names in (("code", machine.code), ("variables", machine.variables)):
        if not any(Path(folder, name).exists() for folder in machine.folders for name in names):
            texts.append(
                f"The UEFI firmware's {what} for the machines is missing: talosctl looks for "
                f"{names[-1]} and the like in {', '.join(machine.folders)}. {install}"
            )
    tools = {"iptables": "iptables", "ip": "iproute2"}
    if SECURE_BOOT in plan.settings.presets:
        tools["swtpm"] = "swtpm-tools"
    texts += [
        f"The command {tool} is missing, which networks of machines on QEMU need. Install it "
        f"(Debian and Ubuntu: sudo apt-get install {package})."
        for tool, package in tools.items()
        if program(tool) is None
    ]
    return texts


def _is_ours(plan: ClusterPlan, folder: Folder) -> bool:
    return folder.recorded(owner_of(plan.stack)) is not None


def _without_rights() -> str:
    if os.geteuid() == 0:
        return ""
    try:
        _as_root(["true"])
    except OpsError as error:
        return str(error)
    return ""


def _as_root(argv: Sequence[str]) -> None:
    """Run something with root's rights, its output in the error.

    In a session of its own, as talosctl runs: sudo then remembers no password of this terminal.

    Raises:
        OpsError: it fails, or there are no such rights; with what to do.
    """
    try:
        done = subprocess.run(
            privileged(argv),
            cwd=ROOT,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "LC_ALL": "C"},  # sudo's words are compared
            start_new_session=True,
            timeout=SWEEP_SECONDS,
        )
    except FileNotFoundError as error:
        raise OpsError(f"there is no command {error.filename}. {_how_to_be_root()}") from error
    except subprocess.TimeoutExpired as error:
        raise OpsError(f"{argv[0]} is not done within {SWEEP_SECONDS} s.") from error
    said = (done.stderr or done.stdout).strip()
    if done.returncode != 0 and said.startswith(("sudo: ", "Sorry, user")):
        raise OpsError(f"root's rights are refused ({said}). {_how_to_be_root()}")
    if done.returncode != 0:
        raise OpsError(said or f"{argv[0]} ended with {done.returncode}")


def _how_to_be_root() -> str:
    return (
        "Machines on QEMU need root's rights for their network. Run this as root, or let sudo work "
        f"without a password: echo '{getpass.getuser()} ALL=(root) NOPASSWD: ALL' | sudo tee "
        "/etc/sudoers.d/talos-cache (sudo -v beforehand is not enough: it is good for one terminal "
        "and some minutes)."
    )


def _too_long(socket: Path) -> str:
    length = len(os.fsencode(socket))
    if length <= SOCKET_PATH_BYTES:
        return ""
    return (
        f"A socket of a machine would be {socket}; that path has {length} bytes, and Linux allows "
        f"{SOCKET_PATH_BYTES}. Write a shorter cluster.name, or set XDG_STATE_HOME to a folder "
        "with a shorter path, for good: the cluster's state is looked for there."
    )


def _same_bridge(plan: ClusterPlan, folder: Folder, *, ours: bool) -> str:
    bridge = qemu_cleanup.bridge_of(plan.name)
    if ours or not qemu_cleanup.has_interface(bridge):
        return ""
    others = sorted(folder.path.parent.parent.glob(f"*/{plan.name}/{folder.marker.name}"))
    maker = f"(its files: {others[0].parent}) " if others else ""
    return (
        f"There is a cluster {plan.name} on QEMU already {maker}with the network interface "
        f"{bridge}, and this stack did not make it. Write another cluster.name, or remove that "
        "cluster where it was made: make down there, or talosctl cluster destroy --name "
        f"{plan.name}."
    )


def _same_state(plan: ClusterPlan) -> str:
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
    return ""


@functools.cache
def _note_on_kvm() -> None:
    if not KVM.exists():
        say(f"note: there is no {KVM}; machines on QEMU run without it, but slowly")


@functools.cache
def _note_on_plugins(folder: Path) -> None:
    """Not an obstacle: talosctl fetches them, where it reaches GitHub."""
    lacking = [name for name in CNI_PLUGINS if not (folder / name).exists()]
    if lacking:
        say(f"note: {folder} lacks {', '.join(lacking)}; talosctl will download them from GitHub")


def _has_foreign(path: Path) -> bool:
    """Whether something there belongs to somebody else."""
    if not path.exists():
        return False
    inside = (
        Path(folder, name)
        for folder, folders, files in os.walk(path)
        for name in (*folders, *files)
    )
    return any(item.lstat().st_uid != os.geteuid() for item in (path, *inside))
