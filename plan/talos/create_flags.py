"""From a cluster and a talosctl's version to the lines that make, patch and destroy it.

The only place that knows talosctl's flags. Two families: A (1.10, 1.11) has one command, `cluster
create --provisioner P`; B (1.12 to 1.14) has `cluster create docker` and `cluster create qemu` with
flags of their own. The bare form of A means QEMU in B, so it is never used there.
Source: siderolabs/talos, cmd/talosctl/cmd/mgmt/cluster, at the tags of these releases.
"""

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from plan.caches.addressing import LOOPBACK
from plan.settings.checks import Problem
from plan.settings.cluster import AUTO, MAINTENANCE, ONE, SCOPES, ClusterSettings
from plan.settings.stack import parse
from plan.talos.mirrors import (
    AUTH_KIND,
    Mirror,
    legacy_registries,
    patch_documents,
    registry_mirror_values,
)
from plan.talos.patches import NO_CNI, leaves_nodes_without_cni

OLDEST = (1, 10)
# The first release with a command per provisioner; also the first whose nodes read documents.
FAMILY_B_FROM = (1, 12)
NEWEST = (1, 14)
# The first nodes whose CRI takes new credentials of registries without a reboot.
LIVE_AUTH_FROM = (1, 14)
# The first talosctl without the mode `reboot`.
NO_REBOOT_MODE_FROM = (1, 14)
# The first talosctl whose create does not wait for nodes that can't be ready without a CNI.
LEAVES_CNI_OUT_FROM = (1, 13)
NO_REBOOT = "no-reboot"
# What the printed line is for where the stack names no Talos version.
USUAL = "v1.13.0"
USUAL_KUBERNETES = "v1.36.0"
USUAL_ARCHITECTURE = "amd64"
NODE_IMAGE = "ghcr.io/siderolabs/talos"
INSTALLER = "ghcr.io/siderolabs/installer"
FACTORY = "factory.talos.dev"
# The image factory's name for "nothing added".
EMPTY_SCHEMATIC = "376567988ad370138ad8b2698212367b8edcb69b5fd68c80be1f2ec7d603b4ba"
# The preset whose installer is another one.
SECURE_BOOT = "iso-secureboot"
# What has the version of Kubernetes as its tag, whatever the registry.
_OF_KUBERNETES = frozenset(
    ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy", "kubelet")
)
PATCH_FILE = "mirrors.yaml"
# The variables that sudo has to let through; talosctl downloads boot images itself.
KEPT_BY_SUDO = (
    "HOME,TALOS_HOME,TALOSCONFIG,KUBECONFIG,"
    "HTTP_PROXY,HTTPS_PROXY,NO_PROXY,http_proxy,https_proxy,no_proxy"
)


@dataclass(frozen=True, order=True)
class Version:
    """A release of talosctl or Talos.

    Attributes:
        prerelease: such as "-rc.1"; not compared, for flags and formats are those of its release.
    """

    major: int
    minor: int
    patch: int
    prerelease: str = field(default="", compare=False)

    def __str__(self) -> str:
        return f"v{self.major}.{self.minor}.{self.patch}{self.prerelease}"

    @property
    def release(self) -> tuple[int, int]:
        """Major and minor."""
        return self.major, self.minor

    @property
    def is_family_b(self) -> bool:
        """Whether a talosctl of it has a command per provisioner."""
        return self.release >= FAMILY_B_FROM

    @property
    def reads_documents(self) -> bool:
        """Whether a node of it reads mirrors as documents."""
        return self.release >= FAMILY_B_FROM


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a run of talosctl finds and leaves its files; paths.

    Attributes:
        program: talosctl itself.
        state: folder that holds this cluster's state and nothing else: talosctl deletes it.
        talosconfig: file for the client's configuration.
        patches: (scope, file) of every machine config patch, in order.
        architecture: of this machine, as Go names it.
    """

    program: str
    state: str
    talosconfig: str
    patches: tuple[tuple[str, str], ...] = ()
    architecture: str = USUAL_ARCHITECTURE


def version_in(text: str) -> Version | None:
    """The first version that a text names, such as a tag or what talosctl prints."""
    found = re.search(r"\bv?(\d+)\.(\d+)\.(\d+)(-(?:alpha|beta|rc)\.\d+)?", text)
    if found is None:
        return None
    major, minor, patch, prerelease = found.groups(default="")
    return Version(int(major), int(minor), int(patch), prerelease)


def node_version(cluster: ClusterSettings, talosctl: Version) -> Version:
    """The Talos version of the nodes: the one asked for, or else talosctl's own."""
    for text in (cluster.talos_version, cluster.image_version):
        if text and (version := version_in(text)):
            return version
    return talosctl


def node_image(cluster: ClusterSettings, talosctl: Version) -> str:
    """The image of Docker nodes."""
    return cluster.image or f"{NODE_IMAGE}:{cluster.talos_version or talosctl}"


def installer_image(cluster: ClusterSettings, talosctl: Version) -> str:
    """The image that a VM installs itself from, and pulls through the caches for that."""
    version = cluster.talos_version or talosctl
    if talosctl.is_family_b:
        secure = "-secureboot" if SECURE_BOOT in cluster.presets else ""
        return f"{FACTORY}/metal-installer{secure}/{cluster.schematic or EMPTY_SCHEMATIC}:{version}"
    installer = f"{FACTORY}/installer/{cluster.schematic}" if cluster.schematic else INSTALLER
    return f"{installer}:{version}"


def image_list_argv(program: str, talosctl: Version, version: str) -> list[str] | str:
    """The line that lists what a cluster of a Talos version needs; or why there is none.

    Args:
        program: path of talosctl.
        talosctl: its version.
        version: of Talos, as in v1.13.0.
    """
    wanted = version_in(version)
    if wanted is None:
        return f"'{version}' is no version of Talos: write for instance {USUAL}"
    if wanted.release != talosctl.release:
        release = ".".join(map(str, wanted.release))
        return (
            f"only talosctl {release} knows what Talos {version} needs, and {talosctl} is on PATH: "
            "install that one, or give a list of images"
        )
    return [program, "image", "k8s-bundle" if talosctl.is_family_b else "default"]


def with_kubernetes(names: Iterable[str], kubernetes: str) -> list[str]:
    """A list with another version of Kubernetes than talosctl's own.

    Only talosctl from 1.13 on has a flag for it, `--k8s-version`; it changes the same images.

    Args:
        names: of images, as talosctl lists them.
        kubernetes: as in v1.36.0, or without the v; empty for talosctl's own.
    """
    if not kubernetes:
        return list(names)
    parts = (name.rpartition(":") for name in names)
    tag = f"v{kubernetes.removeprefix('v')}"
    return [
        f"{repository}:{tag if repository.rpartition('/')[2] in _OF_KUBERNETES else own}"
        for repository, _, own in parts
    ]


def nodes_images_argv(
    program: str, talosconfig: str, nodes: Sequence[str], namespace: str
) -> list[str]:
    """The line that lists the images on live nodes; namespace "system" or "cri"."""
    access = ["--talosconfig", talosconfig, "--nodes", ",".join(nodes)]
    return [program, *access, "image", "list", "--namespace", namespace]


def node_images(printed: str) -> list[str]:
    """The tagged images in what `talosctl image list` prints, each once."""
    lines = [line.split() for line in printed.splitlines()]
    # A node without images: talosctl from 1.13 on prints not even the heading then.
    if not lines or "IMAGE" not in lines[0]:
        return []
    column = lines[0].index("IMAGE")
    names = (line[column] for line in lines[1:] if len(line) > column)
    return list(dict.fromkeys(name for name in names if "@" not in name and "/" in name))


def refusals(cluster: ClusterSettings, talosctl: Version) -> tuple[Problem, ...]:
    """What this talosctl can't do for this cluster; it would fail late, or ignore a flag."""
    oldest, newest = (".".join(map(str, release)) for release in (OLDEST, NEWEST))
    if not OLDEST <= talosctl.release <= NEWEST:
        rule = f"talosctl {oldest} to {newest} are supported"
        fix = f"install one of these, for instance {USUAL}"
        return (_problem("talosctlVersion", f"talosctl {talosctl}", rule, fix),)
    wanted = cluster.talosctl_version
    if wanted != AUTO and str(version_in(wanted)) != str(talosctl):
        rule = f"the stack wants talosctl {wanted}"
        fix = f"install that one, or write talosctlVersion: {AUTO}"
        return (_problem("talosctlVersion", f"talosctl {talosctl} on PATH", rule, fix),)
    problems = _version_refusals(cluster, talosctl)
    problems += (_family_b if talosctl.is_family_b else _family_a)(cluster, talosctl)
    return tuple(problems)


def all_refusals(clusters: Sequence[ClusterSettings], talosctl: Version) -> tuple[Problem, ...]:
    """Those of every cluster of a stack, each with its place in the stack file."""
    return tuple(
        problem if cluster.slug == ONE else _in_list(problem, index)
        for index, cluster in enumerate(clusters)
        for problem in refusals(cluster, talosctl)
    )


def waits_for_a_cni(cluster: ClusterSettings, talosctl: Version) -> str:
    """What a user should know of a create that waits for nodes that never get ready; or nothing."""
    texts = [patch.text for patch in cluster.patches]
    waits = (cluster.wait or talosctl.is_family_b) and MAINTENANCE not in cluster.presets
    if not waits or talosctl.release >= LEAVES_CNI_OUT_FROM or not leaves_nodes_without_cni(texts):
        return ""
    most = "20 minutes" if talosctl.is_family_b else f"createTimeout ({cluster.create_timeout})"
    other = "" if talosctl.is_family_b else ", or write wait: false"
    return (
        f"the cluster {cluster.name} has no CNI (cluster.network.cni.name: {NO_CNI}), so its nodes "
        f"don't get ready, and talosctl {talosctl} waits for that: create fails after {most}. "
        f"Install talosctl 1.13 or newer, which does not wait{other}, or bring the CNI in the same "
        "patch: docs/clusters.md shows both"
    )


def create_argv(
    cluster: ClusterSettings, mirrors: Sequence[Mirror], talosctl: Version, place: Place
) -> list[str]:
    """The line that creates the cluster and, but for `wait: false`, waits until it is ready.

    Mirrors that are not plain have to be in one of the place's patches.
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
        *_repeated("--registry-mirror", registry_mirror_values(mirrors)),
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
        return [*argv, "--force"]  # the provisioner stands in the state
    return [*argv, "--provisioner", cluster.provisioner, "--force"]


def read_config_argv(place: Place, node: str) -> list[str]:
    """The line that prints a node's machine config."""
    return [*_to_node(place, node), "get", "machineconfig", "v1alpha1", "--output", "yaml"]


def boot_argv(place: Place, node: str) -> list[str]:
    """The line that prints what is another after every boot of a node."""
    return [*_to_node(place, node), "read", "/proc/sys/kernel/random/boot_id"]


def service_argv(place: Place, node: str, service: str) -> list[str]:
    """The line that prints how a node's service is: its `spec` says whether it is `healthy`."""
    return [*_to_node(place, node), "get", "services", service, "--output", "yaml"]


def patch_argv(place: Place, node: str, mode: str) -> list[str]:
    """The line that applies the place's patches to a live node, all in one step."""
    patches = _repeated("--patch", (f"@{file}" for _, file in place.patches))
    return [*_to_node(place, node), "patch", "machineconfig", *patches, "--mode", mode]


def patch_line(place: Place, node: str, patches: Iterable[str]) -> str:
    """A shell line to paste: applies these patches, in this order, to a live node."""
    argv = patch_argv(replace(place, patches=()), node, NO_REBOOT)
    return shlex.join([*argv, *_repeated("--patch", patches)])


def patch_mode(
    talosctl: Version, nodes: Version, texts: Iterable[str], *, allow_reboot: bool
) -> str:
    """How patches are applied: without a reboot, unless one is allowed and may be needed.

    Raises:
        ValueError: a reboot is needed, and this talosctl can't ask for one with a patch.
    """
    if not allow_reboot:
        return NO_REBOOT
    if not any(needs_reboot(text, nodes) for text in texts):
        return "auto"
    if talosctl.release >= NO_REBOOT_MODE_FROM:
        raise ValueError(f"talosctl {talosctl} can't have nodes reboot for a patch; 1.13 can")
    return "reboot"


def needs_reboot(patch: str, nodes: Version) -> bool:
    """Whether a live node takes this patch only when it reboots.

    Credentials of registries reach a node's CRI only then, up to Talos 1.13.
    """
    if nodes.release >= LIVE_AUTH_FROM:
        return False
    return any(
        document.get("kind") == AUTH_KIND
        or any(
            isinstance(entry, Mapping) and entry.get("auth")
            for entry in legacy_registries(document, "config").values()
        )
        for document in patch_documents(patch)
    )


def reboots(said: str) -> bool:
    """Whether a node reboots for a patch, by what talosctl says when it has applied it."""
    return "Applied configuration with a reboot" in said


def create_line(cluster: ClusterSettings | None, mirrors: Sequence[Mirror]) -> str:
    """One shell line to paste; preceded by the one that writes the patch where a mirror needs it.

    Without a cluster in the stack the line makes talosctl's default cluster.
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
        argv += _repeated("--registry-mirror", registry_mirror_values(mirrors))
        return shlex.join(argv)
    # The patch holds every mirror, so none is given twice: talosctl would join the endpoints.
    output = "machineConfigPatch" if talosctl.reads_documents else "legacyMachineConfigPatch"
    line = shlex.join([*argv, "--config-patch", f"@{PATCH_FILE}"])
    if any(mirror.login for mirror in mirrors):
        # The file holds a password: nobody else may read it.
        return (
            f"(umask 077 && pulumi stack output --show-secrets {output} > {PATCH_FILE}) && {line}"
        )
    return f"pulumi stack output {output} > {PATCH_FILE} && {line}"


def default_cluster() -> ClusterSettings:
    """The cluster that `cluster: {}` describes."""
    return parse({"cluster": {}}).clusters[0]


def _in_list(problem: Problem, index: int) -> Problem:
    return replace(problem, path=f"{ONE}[{index}]{problem.path.removeprefix(ONE)}")


def _problem(key: str, found: str, rule: str, fix: str) -> Problem:
    return Problem(path=f"cluster.{key}", found=found, rule=rule, fix=fix)


def _version_refusals(cluster: ClusterSettings, talosctl: Version) -> list[Problem]:
    nodes = node_version(cluster, talosctl)
    if nodes.release <= talosctl.release:
        return []
    key = "talosVersion" if cluster.talos_version else "image"
    rule = f"talosctl {talosctl} knows no machine config newer than its own"
    fix = f"install a talosctl of {nodes.major}.{nodes.minor}, or choose an older Talos"
    return [_problem(key, f"Talos {nodes}", rule, fix)]


def _family_a(cluster: ClusterSettings, talosctl: Version) -> list[Problem]:
    problems = []
    upgrade = "install talosctl 1.12 or newer"
    if cluster.presets:
        rule = f"talosctl {talosctl} has no presets"
        problems.append(_problem("presets", ", ".join(cluster.presets), rule, upgrade))
    if len({disk.size for disk in cluster.disks[1:]}) > 1:
        rule = f"talosctl {talosctl} makes all disks behind the first one of one size"
        problems.append(_problem("disks", "disks of several sizes", rule, upgrade))
    if odd := [disk.driver for disk in cluster.disks if disk.driver != "virtio"]:
        rule = f"talosctl {talosctl} is told no drivers here: disks are virtio"
        problems.append(_problem("disks", odd[0], rule, f"write virtio, or {upgrade}"))
    if cluster.provisioner == "docker" and cluster.exposed_ports and cluster.control_planes > 1:
        rule = f"talosctl {talosctl} publishes them on every control plane, which clashes"
        fix = f"write controlPlanes: 1, or {upgrade}"
        problems.append(_problem("exposedPorts", cluster.exposed_ports[0], rule, fix))
    if cluster.image and not (cluster.talos_version or version_in(cluster.image_version or "")):
        rule = f"talosctl {talosctl} can't read the Talos version from the image's tag"
        problems.append(_problem("image", cluster.image, rule, "write its talosVersion too"))
    return problems


def _family_b(cluster: ClusterSettings, talosctl: Version) -> list[Problem]:
    problems = []
    older = "use talosctl 1.11"
    if not cluster.wait:
        rule = f"talosctl {talosctl} always waits until the cluster is ready"
        problems.append(_problem("wait", "false", rule, f"remove it, or {older}"))
    if cluster.provisioner == "docker" and cluster.control_planes > 1:
        rule = f"talosctl {talosctl} makes exactly one control plane on Docker"
        fix = f"write controlPlanes: 1, choose provisioner: qemu, or {older}"
        problems.append(_problem("controlPlanes", str(cluster.control_planes), rule, fix))
    tag = version_in(cluster.image_version or "")
    asked = version_in(cluster.talos_version or "") or tag
    if cluster.image and (tag is None or tag != asked):
        rule = f"talosctl {talosctl} reads the Talos version from the image's tag"
        fix = "give the image a tag such as v1.13.0, and leave talosVersion out"
        problems.append(_problem("image", cluster.image, rule, fix))
    return problems


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
        # Its own default is "ide".
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
    """What VMs boot. Family A would else take a kernel from a folder of Talos's own build."""
    if talosctl.is_family_b:
        argv = ["--schematic-id", cluster.schematic] if cluster.schematic else []
        return [*argv, "--presets", ",".join(cluster.presets)] if cluster.presets else argv
    version = cluster.talos_version or talosctl
    assets = f"https://{FACTORY}/image/{cluster.schematic or EMPTY_SCHEMATIC}/{version}"
    return [
        # The architecture itself: talosctl puts it in place of ${ARCH} in paths, not in URLs.
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
    """Published on loopback, where talosctl's default is every address."""
    if not cluster.exposed_ports:
        return []
    host_ip = "--host-ip" if talosctl.is_family_b else "--docker-host-ip"
    return ["--exposed-ports", ",".join(cluster.exposed_ports), host_ip, LOOPBACK]


def _waiting(cluster: ClusterSettings, talosctl: Version) -> list[str]:
    if talosctl.is_family_b:
        return []
    if cluster.wait:
        return ["--wait", "--wait-timeout", cluster.create_timeout]
    return ["--wait=false", "--skip-kubeconfig"]  # there is no Kubernetes to ask for one yet


def _to_node(place: Place, node: str) -> list[str]:
    return [place.program, "--talosconfig", place.talosconfig, "--nodes", node]


def _repeated(flag: str, values: Iterable[str]) -> list[str]:
    return [part for value in values for part in (flag, value)]
