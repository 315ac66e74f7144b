"""The key `cluster`: one Talos cluster, or a list of them, behind the caches of a stack."""

import ipaddress
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from plan.problems import text
from plan.settings.checks import (
    Checks,
    is_integer,
    leaf,
    number_in,
)

PROVISIONERS = ("docker", "qemu")
AUTO = "auto"
# Logical name of the only cluster of a stack.
ONE = "cluster"
# Where a patch applies; the order is that in which talosctl applies them.
SCOPES = ("all", "controlPlanes", "workers")
PATCH_KEYS = dict(zip(("patches", "controlPlanePatches", "workerPatches"), SCOPES, strict=True))
# Keys that mean something to one provisioner only -> that provisioner.
ONLY = {
    "image": "docker",
    "exposedPorts": "docker",
    "schematic": "qemu",
    "presets": "qemu",
    "disks": "qemu",
}
BOOT_PRESETS = ("iso", "iso-secureboot", "pxe", "disk-image")
# Machines that boot and get no machine config.
MAINTENANCE = "maintenance"
PRESETS = (*BOOT_PRESETS, MAINTENANCE)
DISK_DRIVERS = ("virtio", "ide", "ahci", "scsi", "nvme", "megaraid")

# The longest host name (63) less the longest of what talosctl puts behind the cluster's name.
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,42}[a-z0-9])?")
_EXACT_VERSION = re.compile(r"v?[0-9]{1,4}\.[0-9]{1,4}\.[0-9]{1,4}(-[a-z0-9.]+)?")
_IMAGE = re.compile(
    # Without a dot or a port it would be a part of docker.io's name for the image.
    r"(?P<host>(?=localhost/|[^/]*[.:])[a-z0-9][a-z0-9.-]*(:[0-9]{1,5})?)/(?P<path>[a-z0-9][a-z0-9._/-]*)"
    r":(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})"
)
_SCHEMATIC = re.compile(r"[0-9a-f]{64}")
_SIZE = re.compile(r"(?P<count>[0-9]{1,6})(?P<unit>MiB|GiB)")
_PORT = r"([1-9][0-9]{0,4})"
_EXPOSED = re.compile(rf"(?P<ip>[0-9.]+:)?(?P<host>{_PORT}):(?P<node>{_PORT})/(tcp|udp)")
# In JSON: that of a character made of two halves, or any other.
_ESCAPE = re.compile(r"\\(?:u(d[89ab]..)\\u(?:d[c-f]..)|.)")
_HIGHEST_PORT = 65535


@dataclass(frozen=True, kw_only=True)
class Patch:
    """One machine config patch of the user's; exactly one of `file` and `text` is given.

    Attributes:
        scope: one of SCOPES.
        file: path of a YAML file, relative to the project, until it has been read.
        text: YAML.
    """

    scope: str
    file: str = ""
    text: str = ""

    def __repr__(self) -> str:
        """Leave the text out: a patch may hold secrets, and tracebacks show reprs."""
        return f"Patch(scope={self.scope!r}, file={self.file!r})"


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Size of a kind of nodes: CPUs as talosctl reads them ("2", "0.5"), memory in MiB."""

    cpus: str
    memory: int


@dataclass(frozen=True, kw_only=True)
class Disk:
    """A disk of a VM; the size in MiB."""

    driver: str
    size: int


@dataclass(frozen=True, kw_only=True)
class ClusterSettings:
    """A Talos cluster behind the caches. Versions are exact; None leaves them to talosctl.

    `warm` fills the caches before the cluster is made: with the list in `warm_file`, a path
    relative to the project, or where that is empty with what talosctl lists.

    `slug` is the logical name of its component: that of a stack's one cluster stays the same when
    the cluster is renamed, so that the old one goes before the new one comes.
    """

    slug: str
    provisioner: str
    name: str
    control_planes: int
    workers: int
    cidr: str
    talos_version: str | None
    image: str | None
    schematic: str | None
    presets: tuple[str, ...]
    kubernetes_version: str | None
    control_plane_machine: Machine
    worker_machine: Machine
    disks: tuple[Disk, ...]
    exposed_ports: tuple[str, ...]
    patches: tuple[Patch, ...]
    talosctl_version: str
    create_timeout: str
    wait: bool
    warm: bool
    warm_file: str
    merge_kubeconfig: bool
    allow_reboot: bool

    @property
    def node_ips(self) -> tuple[str, ...]:
        """Addresses of the nodes, control planes first: talosctl counts from the second one on."""
        network = ipaddress.ip_network(self.cidr)
        return tuple(str(network[2 + i]) for i in range(self.control_planes + self.workers))

    @property
    def image_version(self) -> str | None:
        """The Talos version that the node image's tag says, as talosctl reads it: with its v."""
        tag = self.image.rpartition(":")[2] if self.image else ""
        return tag if tag.startswith("v") else None


def parse_clusters(check: Checks, value: object) -> tuple[ClusterSettings, ...]:
    """The clusters of a stack; mistakes go to `check`."""
    if value is None:
        return ()
    if not isinstance(value, list):
        return (_cluster(check, value, ONE),)
    if not value:
        check.add("cluster", value, "a mapping, or a list of mappings", "leave the key out")
    clusters = tuple(
        _cluster(check.under("cluster", f"cluster[{index}]"), item, "")
        for index, item in enumerate(value)
    )
    _refuse_same_names(check, clusters)
    _refuse_overlaps(check, clusters)
    return clusters


def _cluster(check: Checks, value: object, slug: str) -> ClusterSettings:
    if value is not None and not isinstance(value, Mapping):
        # Not shown: patches may be in it.
        rule = "a mapping of keys to values"
        check.hidden("cluster", rule, "write for instance {provisioner: docker}")
        value = None
    group = check.mapping("cluster", value, "cluster")
    provisioner = check.choice("cluster.provisioner", group, PROVISIONERS)
    _refuse_keys_of_the_other(check, group, provisioner)
    control_planes = check.integer("cluster.controlPlanes", group, 1, 9, "a count of nodes")
    workers = check.integer("cluster.workers", group, 0, 99, "a count of nodes")
    rule = (
        "lower-case letters, digits and, between them, '-'; at most 44 of them "
        "(the nodes' names start with it)"
    )
    name = check.matching("cluster.name", group, _NAME, rule, "write for instance dev")
    wait = check.boolean("cluster.wait", group)
    return ClusterSettings(
        slug=slug or f"{ONE}-{name}",
        provisioner=provisioner,
        name=name,
        control_planes=control_planes,
        workers=workers,
        cidr=_cidr(check, group.get("cidr"), control_planes + workers),
        talos_version=_version(check, "cluster.talosVersion", group),
        image=_image(check, group.get("image")),
        schematic=_schematic(check, group.get("schematic")),
        presets=_presets(check, group.get("presets")),
        kubernetes_version=_version(check, "cluster.kubernetesVersion", group),
        control_plane_machine=_machine(check, group, "controlPlane"),
        worker_machine=_machine(check, group, "worker"),
        disks=_disks(check, group.get("disks")),
        exposed_ports=_exposed_ports(check, group.get("exposedPorts")),
        patches=_patches(check, group),
        talosctl_version=_talosctl_version(check, group),
        create_timeout=check.duration("cluster.createTimeout", group),
        wait=wait,
        **_warm(check, group.get("warm")),
        merge_kubeconfig=_merge_kubeconfig(check, group, wait=wait),
        allow_reboot=check.boolean("cluster.allowReboot", group),
    )


def _refuse_keys_of_the_other(check: Checks, group: Mapping[str, Any], provisioner: str) -> None:
    for key, only in ONLY.items():
        if group.get(key) not in (None, []) and provisioner in PROVISIONERS and provisioner != only:
            rule = f"only clusters on {only} have it, and this one is on {provisioner}"
            check.add(f"cluster.{key}", group[key], rule, "remove it")


def _merge_kubeconfig(check: Checks, group: Mapping[str, Any], *, wait: bool) -> bool:
    merge = check.boolean("cluster.mergeKubeconfig", group)
    if merge and not wait:
        rule = "there is no kubeconfig before Kubernetes is ready, and wait: false does not wait"
        fix = "remove it, or remove wait: false"
        check.add("cluster.mergeKubeconfig", merge, rule, fix)
    presets = group.get("presets")
    if merge and isinstance(presets, list) and MAINTENANCE in presets:
        rule = f"machines in {MAINTENANCE} are no Kubernetes cluster, so there is no kubeconfig"
        fix = f"remove it, or the preset {MAINTENANCE}"
        check.add("cluster.mergeKubeconfig", merge, rule, fix)
    return merge


def _warm(check: Checks, value: object) -> dict[str, Any]:
    if isinstance(value, str) and value.startswith("@") and len(value) > 1:
        return {"warm": True, "warm_file": value[1:]}
    if value is not None and not isinstance(value, bool):
        rule = "true, false, or the sign @ and the path of a list with one image a line"
        check.add("cluster.warm", value, rule, "write true, or the sign before the path")
    return {"warm": value is True, "warm_file": ""}


def _refuse_same_names(check: Checks, clusters: tuple[ClusterSettings, ...]) -> None:
    names: set[str] = set()
    for path, cluster in _without_mistakes(check, "name", clusters):
        if cluster.name in names:
            rule = "every cluster of a stack has a name of its own, and an earlier one has this one"
            check.add(path, cluster.name, rule, "choose another name")
        names.add(cluster.name)


def _refuse_overlaps(check: Checks, clusters: tuple[ClusterSettings, ...]) -> None:
    taken = [ipaddress.ip_network(cluster.cidr) for cluster in clusters]
    proposals = (ipaddress.ip_network(f"10.{second}.0.0/24") for second in range(5, 256))
    free = (net for net in proposals if not any(net.overlaps(other) for other in taken))
    earlier: list[ClusterSettings] = []
    for path, cluster in _without_mistakes(check, "cidr", clusters):
        network = ipaddress.ip_network(cluster.cidr)
        for other in earlier:
            if ipaddress.ip_network(other.cidr).overlaps(network):
                rule = f"it overlaps with the network of {other.name}, {other.cidr}"
                proposal = next(free, None)
                fix = f"write for instance {proposal}" if proposal else "shrink the larger network"
                check.add(path, cluster.cidr, rule, fix)
                break
        earlier.append(cluster)


def _without_mistakes(
    check: Checks, key: str, clusters: tuple[ClusterSettings, ...]
) -> list[tuple[str, ClusterSettings]]:
    """Path of the key -> cluster, but for those whose value of it is only a stand-in."""
    told = {problem.path for problem in check.problems}
    paths = [f"cluster[{index}]" for index in range(len(clusters))]
    return [
        (f"{path}.{key}", cluster)
        for path, cluster in zip(paths, clusters, strict=True)
        if not told & {path, f"{path}.{key}"}
    ]


def _cidr(check: Checks, value: object, nodes: int) -> str:
    key = "cluster.cidr"
    default = check.default(key)
    rule = "an IPv4 network such as 10.5.0.0/24, no smaller than a /29, its host bits zero"
    try:
        written = default if value is None else value
        if not isinstance(written, str) or "/" not in written:
            raise ValueError
        network = ipaddress.IPv4Network(written, strict=False)
    except ValueError:
        check.add(key, value, rule, f"write for instance {default}")
        return default
    if str(network) != written:
        check.add(key, value, rule, f"did you mean {network}?")
    elif network.prefixlen > 29:
        check.add(key, value, rule, "choose a larger network, for instance a /24")
    elif network.num_addresses < nodes + 3:  # the network itself, the gateway, the broadcast
        why = f"{nodes} nodes, the gateway and the network's own two addresses need more room"
        check.add(key, written, why, "choose a larger network, for instance a /24")
    else:
        return str(network)
    return default


def _version(check: Checks, key: str, group: Mapping[str, Any], other: str = "") -> str | None:
    value = group.get(leaf(key))
    if value is None:
        return None
    if not isinstance(value, str) or not _EXACT_VERSION.fullmatch(value):
        instance = "v1.36.0" if leaf(key) == "kubernetesVersion" else "v1.13.0"
        fix = f'write for instance "{instance}"'
        check.add(key, value, f"an exact version such as {instance}{other}", fix)
        return None
    # The tags of Talos's images and Kubernetes's releases start with "v", which people leave out.
    return f"v{value.removeprefix('v')}"


def _talosctl_version(check: Checks, group: Mapping[str, Any]) -> str:
    if group.get("talosctlVersion") in (None, AUTO):
        return AUTO
    other = f", or {AUTO} for the one that is installed"
    return _version(check, "cluster.talosctlVersion", group, other) or AUTO


def _image(check: Checks, value: object) -> str | None:
    if value is None:
        return None
    if isinstance(value, str) and _IMAGE.fullmatch(value):
        return value
    rule = "an image reference with its registry and an exact tag"
    check.add("cluster.image", value, rule, "write for instance ghcr.io/siderolabs/talos:v1.13.0")
    return None


def _schematic(check: Checks, value: object) -> str | None:
    if value is None:
        return None
    if isinstance(value, str) and _SCHEMATIC.fullmatch(value):
        return value
    rule = "the id of a schematic: 64 hexadecimal digits, as the image factory shows it"
    check.add("cluster.schematic", value, rule, "copy it from the image factory's page")
    return None


def _machine(check: Checks, group: Mapping[str, Any], kind: str) -> Machine:
    return Machine(
        cpus=_cpus(check, f"cluster.{kind}Cpus", group),
        memory=_memory(check, f"cluster.{kind}Memory", group),
    )


def _cpus(check: Checks, key: str, group: Mapping[str, Any]) -> str:
    value = group.get(leaf(key))
    if value is None:
        return check.default(key)
    number = number_in(value)
    if (isinstance(number, float) or is_integer(number)) and 0.1 <= number <= 256:
        return f"{number:g}"
    check.add(key, value, "a number of CPUs from 0.1 to 256", "write for instance 2")
    return check.default(key)


def _memory(check: Checks, key: str, group: Mapping[str, Any]) -> int:
    value = group.get(leaf(key))
    size = _mebibytes(check.default(key) if value is None else value)
    if size is None or size < 512:
        rule = "at least 512MiB, as a whole number with MiB or GiB behind it"
        meant = _mebibytes(f"{text(value)}MiB")
        fix = f"write {meant}MiB" if meant and meant >= 512 else "write for instance 2GiB"
        check.add(key, value, rule, fix)
    return size or 0


def _mebibytes(value: object) -> int | None:
    match = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return None
    return int(match["count"]) * (1024 if match["unit"] == "GiB" else 1)


def _presets(check: Checks, value: object) -> tuple[str, ...]:
    rule = f"names of presets: {', '.join(PRESETS)}"
    presets = _texts(check, "cluster.presets", value, PRESETS.__contains__, rule, "iso")
    if presets and len(set(presets) & set(BOOT_PRESETS)) != 1:
        rule = f"exactly one of them says what to boot: {', '.join(BOOT_PRESETS)}"
        check.add("cluster.presets", value, rule, 'write for instance ["iso"]')
    return presets


def _exposed_ports(check: Checks, value: object) -> tuple[str, ...]:
    rule = "ports as [IPv4 address:]port of this machine:port of the nodes/tcp, or /udp"
    return _texts(check, "cluster.exposedPorts", value, _is_exposed_port, rule, "8080:80/tcp")


def _is_exposed_port(item: str) -> bool:
    match = _EXPOSED.fullmatch(item)
    if match is None or max(int(match["host"]), int(match["node"])) > _HIGHEST_PORT:
        return False
    try:
        ipaddress.IPv4Address((match["ip"] or "0.0.0.0:")[:-1])
    except ValueError:
        return False
    return True


def _disks(check: Checks, value: object) -> tuple[Disk, ...]:
    drivers = ", ".join(DISK_DRIVERS)
    rule = f"disks as driver:size, the driver one of {drivers}, the size in MiB or GiB"
    items = _texts(check, "cluster.disks", value, _is_disk, rule, "virtio:10GiB")
    split = (item.split(":") for item in items)
    return tuple(Disk(driver=driver, size=_mebibytes(size) or 0) for driver, size in split)


def _is_disk(item: str) -> bool:
    driver, _, size = item.partition(":")
    return driver in DISK_DRIVERS and bool(_mebibytes(size))


def _texts(
    check: Checks,
    key: str,
    value: object,
    is_right: Callable[[str], bool],
    rule: str,
    instance: str,
) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list):
        check.add(key, value, f"a list of {rule}", f'write for instance ["{instance}"]')
        return ()
    for index, item in enumerate(value):
        if not isinstance(item, str) or not is_right(item):
            check.add(f"{key}[{index}]", item, rule, f'write for instance "{instance}"')
    return tuple(item for item in value if isinstance(item, str) and is_right(item))


def _patches(check: Checks, group: Mapping[str, Any]) -> tuple[Patch, ...]:
    found: list[Patch] = []
    for key, scope in PATCH_KEYS.items():
        value = group.get(key)
        if value is not None and not isinstance(value, list):
            rule = "a list of patches: each a mapping, or text that is YAML or @ and a file"
            fix = "write for instance [{machine: {network: {hostname: one}}}]"
            check.hidden(f"cluster.{key}", rule, fix)
            continue
        for index, item in enumerate(value or []):
            patch = _patch(check, f"cluster.{key}[{index}]", scope, item)
            found += [patch] if patch else []
    return tuple(found)


def _patch(check: Checks, path: str, scope: str, item: object) -> Patch | None:
    # A list is no patch, but what it was meant to be is told with the others.
    if isinstance(item, (Mapping, list)) and item and (written := _as_yaml(item)):
        return Patch(scope=scope, text=written)
    if isinstance(item, str) and item.strip().strip("@"):
        is_file = item.startswith("@")
        return Patch(scope=scope, file=item[1:]) if is_file else Patch(scope=scope, text=item)
    rule = "a mapping with something in it, YAML text that is one, or @ and a YAML file's path"
    check.hidden(path, rule, "write for instance {machine: {network: {hostname: one}}}")
    return None


def _as_yaml(item: Mapping[str, Any] | list[Any]) -> str:
    """As JSON, which is YAML too; empty where it can't be, as with a date for a key."""
    try:
        written = json.dumps(item, default=str)
    except (RecursionError, TypeError, ValueError):
        return ""
    return _ESCAPE.sub(_whole, written)


def _whole(escape: re.Match[str]) -> str:
    """An escape as YAML has it: JSON makes two of a character above U+FFFF, as of any emoji."""
    if not escape[1]:
        return escape[0]
    character = json.loads(f'"{escape[0]}"')
    return f"\\U{ord(character):08x}"
