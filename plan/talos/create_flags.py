"""The talosctl command lines that create and destroy a cluster, for each talosctl version.

No other file has the flags of these. There are two families: A (1.10, 1.11) has one command,
`cluster create --provisioner P`; B (1.12 to 1.14) has `cluster create docker` and `cluster create
qemu` with flags of their own. A's bare `cluster create` means QEMU in B, so it is not used there.
Source: siderolabs/talos, cmd/talosctl/cmd/mgmt/cluster, at the tags of these releases.
"""

import shlex
from collections.abc import Sequence

from plan.network import LOOPBACK
from plan.settings.cluster import ClusterSettings
from plan.settings.patches import SCOPES
from plan.settings.stack import parse
from plan.talos.images import EMPTY_SCHEMATIC, FACTORY, installer_image, node_image
from plan.talos.mirrors import (
    Mirror,
    registry_mirror_values,
)
from plan.talos.talosctl import Place, repeated
from plan.talos.versions import (
    USUAL_ARCHITECTURE,
    Version,
    node_version,
)

PATCH_FILE = "mirrors.yaml"


def create_argv(
    cluster: ClusterSettings, mirrors: Sequence[Mirror], talosctl: Version, place: Place
) -> list[str]:
    """The line that creates the cluster and waits until it is ready, unless `wait: false`.

    Mirrors that are not plain must be in one of the place's patches.
    """
    if not talosctl.is_family_b:
        form = ["--provisioner", cluster.provisioner]
    else:
        form = [cluster.provisioner]
    return [
        *(place.program, "cluster", "create", *form),
        *("--name", cluster.name, "--state", place.state),
        *_nodes(cluster, talosctl),
        *_sizes(cluster, talosctl),
        *_software(cluster, talosctl, place.architecture),
        *repeated("--registry-mirror", registry_mirror_values(mirrors)),
        *_patch_flags(place, talosctl),
        *_exposed_ports(cluster, talosctl),
        "--talosconfig-destination" if talosctl.is_family_b else "--talosconfig",
        place.talosconfig,
        *_waiting(cluster, talosctl),
    ]


def destroy_argv(cluster: ClusterSettings, talosctl: Version, place: Place) -> list[str]:
    """The line that destroys the cluster; it also deletes the whole folder `place.state`."""
    argv = [place.program, "cluster", "destroy", "--name", cluster.name, "--state", place.state]
    if talosctl.is_family_b:
        return [*argv, "--force"]  # the state names the provisioner
    return [*argv, "--provisioner", cluster.provisioner, "--force"]


def create_line(cluster: ClusterSettings | None, mirrors: Sequence[Mirror]) -> str:
    """A shell line to paste; if a mirror needs a patch, it first writes that to a file.

    Without a cluster in the stack, the line creates the cluster that `cluster: {}` describes.
    """
    cluster = cluster or default_cluster()
    talosctl = node_version(cluster, Version(1, 13, 0))
    plain = all(mirror.is_plain for mirror in mirrors)
    form = (
        ["--provisioner", cluster.provisioner]
        if not talosctl.is_family_b
        else [cluster.provisioner]
    )
    argv = ["sudo", "--preserve-env=HOME"] if cluster.provisioner == "qemu" else []
    argv += ["talosctl", "cluster", "create", *form, "--name", cluster.name]
    argv += [*_nodes(cluster, talosctl), *_software(cluster, talosctl, USUAL_ARCHITECTURE)]
    if plain:
        argv += repeated("--registry-mirror", registry_mirror_values(mirrors))
        return shlex.join(argv)
    # All mirrors are in the patch, so none is also a flag: talosctl would join the endpoints.
    output = "machineConfigPatch" if talosctl.reads_documents else "legacyMachineConfigPatch"
    line = shlex.join([*argv, "--config-patch", f"@{PATCH_FILE}"])
    if any(mirror.login for mirror in mirrors):
        # The file contains a password: only its owner may read it.
        return (
            f"(umask 077 && pulumi stack output --show-secrets {output} > {PATCH_FILE}) && {line}"
        )
    return f"pulumi stack output {output} > {PATCH_FILE} && {line}"


def default_cluster() -> ClusterSettings:
    """The cluster that `cluster: {}` describes."""
    return parse({"cluster": {}}).clusters[0]


def _nodes(cluster: ClusterSettings, talosctl: Version) -> list[str]:
    docker_b = talosctl.is_family_b and cluster.provisioner == "docker"
    argv = ["--workers", str(cluster.workers), "--subnet" if docker_b else "--cidr", cluster.cidr]
    return argv if docker_b else [*argv, "--controlplanes", str(cluster.control_planes)]


def _sizes(cluster: ClusterSettings, talosctl: Version) -> list[str]:
    control_plane, worker = cluster.control_plane_machine, cluster.worker_machine
    of_control_planes = "-controlplanes" if talosctl.is_family_b else ""
    unit = "MiB" if talosctl.is_family_b else ""
    argv = [
        *(f"--cpus{of_control_planes}", control_plane.cpus, "--cpus-workers", worker.cpus),
        *(f"--memory{of_control_planes}", f"{control_plane.memory}{unit}"),
        *("--memory-workers", f"{worker.memory}{unit}"),
    ]
    if not cluster.disks:
        return argv
    if talosctl.is_family_b:
        sizes = ",".join(f"{disk.driver}:{disk.size}MiB" for disk in cluster.disks)
        return [*argv, "--disks", sizes]
    first, *others = cluster.disks
    argv += ["--disk", str(first.size)]
    if others:
        argv += ["--extra-disks", str(len(others)), "--extra-disks-size", str(others[0].size)]
        # talosctl's default is "ide".
        argv += ["--extra-disks-drivers", ",".join(disk.driver for disk in others)]
    return argv


def _software(cluster: ClusterSettings, talosctl: Version, architecture: str) -> list[str]:
    argv = []
    if cluster.provisioner == "docker":
        argv += ["--image", node_image(cluster, talosctl)]
    if cluster.provisioner == "qemu":
        argv += _boot(cluster, talosctl, architecture)
    if cluster.talos_version and not (talosctl.is_family_b and cluster.provisioner == "docker"):
        argv += ["--talos-version", cluster.talos_version]
    if cluster.kubernetes_version:
        argv += ["--kubernetes-version", cluster.kubernetes_version.removeprefix("v")]
    return argv


def _boot(cluster: ClusterSettings, talosctl: Version, architecture: str) -> list[str]:
    """What VMs boot. Family A's default is a kernel in a folder of Talos's own build."""
    if talosctl.is_family_b:
        argv = ["--schematic-id", cluster.schematic] if cluster.schematic else []
        return [*argv, "--presets", ",".join(cluster.presets)] if cluster.presets else argv
    version = cluster.talos_version or talosctl
    assets = f"https://{FACTORY}/image/{cluster.schematic or EMPTY_SCHEMATIC}/{version}"
    return [
        # Not ${ARCH}, which talosctl replaces only in paths, not in URLs.
        *("--vmlinuz-path", f"{assets}/kernel-{architecture}"),
        *("--initrd-path", f"{assets}/initramfs-{architecture}.xz"),
        *("--install-image", installer_image(cluster, talosctl)),
    ]


def _patch_flags(place: Place, talosctl: Version) -> list[str]:
    flags = (
        ("--config-patch", "--config-patch-controlplanes", "--config-patch-workers")
        if talosctl.is_family_b
        else ("--config-patch", "--config-patch-control-plane", "--config-patch-worker")
    )
    by_scope = dict(zip(SCOPES, flags, strict=True))
    return [part for scope, file in place.patches for part in (by_scope[scope], f"@{file}")]


def _exposed_ports(cluster: ClusterSettings, talosctl: Version) -> list[str]:
    """Published on loopback; talosctl's default is every address."""
    if not cluster.exposed_ports:
        return []
    host_ip = "--host-ip" if talosctl.is_family_b else "--docker-host-ip"
    return ["--exposed-ports", ",".join(cluster.exposed_ports), host_ip, LOOPBACK]


def _waiting(cluster: ClusterSettings, talosctl: Version) -> list[str]:
    if talosctl.is_family_b:
        return []
    if cluster.wait:
        return ["--wait", "--wait-timeout", cluster.create_timeout]
    return ["--wait=false", "--skip-kubeconfig"]  # Kubernetes does not run yet
