"""The key `cluster`: one Talos cluster, or a list of them, behind the caches of a stack."""

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from plan.settings.checks import (
    Checks,
)
from plan.settings.nodes import (
    MAINTENANCE,
    ONE,
    Disk,
    Machine,
    parse_disks,
    parse_exposed_ports,
    parse_image,
    parse_machine,
    parse_presets,
    parse_schematic,
    parse_talosctl_version,
    parse_version,
)
from plan.settings.patches import Patch, parse_patches

PROVISIONERS = ("docker", "qemu")
# Keys for one provisioner only -> that provisioner.
ONLY = {
    "image": "docker",
    "exposedPorts": "docker",
    "schematic": "qemu",
    "presets": "qemu",
    "disks": "qemu",
}

# The longest host name (63) minus the longest suffix that talosctl adds to the cluster's name.
NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,42}[a-z0-9])?")
_SHRINK = "shrink the larger network"


@dataclass(frozen=True, kw_only=True)
class ClusterSettings:
    """A Talos cluster behind the caches. Versions are exact; None leaves them to talosctl.

    `warm` fills the caches before the cluster is created: with the list in `warm_file`, a path
    relative to the project, or if that is empty with what talosctl lists.

    `slug` is the logical name of its component. A stack's only cluster keeps it when it is renamed,
    so that the old cluster is deleted before the new one is created.
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
    def node_names(self) -> tuple[str, ...]:
        """Names of the nodes as talosctl gives them, in the same order."""
        counts = {"controlplane": self.control_planes, "worker": self.workers}
        return tuple(
            f"{self.name}-{kind}-{index + 1}"
            for kind, count in counts.items()
            for index in range(count)
        )

    @property
    def image_version(self) -> str | None:
        """The Talos version in the node image's tag, as talosctl reads it: with the v."""
        tag = self.image.rpartition(":")[2] if self.image else ""
        return tag if tag.startswith("v") else None

    @property
    def can_reboot(self) -> bool:
        """Whether live nodes can reboot: on Docker their containers exit for good."""
        return self.provisioner == "qemu"

    @property
    def may_reboot(self) -> bool:
        """Whether an update may reboot live nodes."""
        return self.allow_reboot and self.can_reboot


def parse_clusters(check: Checks, value: object) -> tuple[ClusterSettings, ...]:
    """The clusters of a stack; `check` collects mistakes."""
    if value is None:
        return ()
    if not isinstance(value, list):
        return (_cluster(check, value, ONE),)
    if not value:
        check.add("cluster", value, "a mapping, or a non-empty list of mappings", "remove the key")
    clusters = tuple(
        _cluster(check.under("cluster", f"cluster[{index}]"), item, "")
        for index, item in enumerate(value)
    )
    _refuse_same_names(check, clusters)
    _refuse_overlaps(check, clusters)
    return clusters


def _cluster(check: Checks, value: object, slug: str) -> ClusterSettings:
    if value is not None and not isinstance(value, Mapping):
        # Not shown: it may contain patches.
        rule = "a mapping of keys to values"
        check.hidden("cluster", rule, "write something like {provisioner: docker}")
        value = None
    group = check.mapping("cluster", value, "cluster")
    provisioner = check.choice("cluster.provisioner", group)
    _refuse_keys_of_the_other(check, group, provisioner)
    control_planes = check.integer("cluster.controlPlanes", group)
    workers = check.integer("cluster.workers", group)
    name = check.matching("cluster.name", group)
    wait = check.boolean("cluster.wait", group)
    return ClusterSettings(
        slug=slug or f"{ONE}-{name}",
        provisioner=provisioner,
        name=name,
        control_planes=control_planes,
        workers=workers,
        cidr=_cidr(check, group.get("cidr"), control_planes + workers),
        talos_version=parse_version(check, "cluster.talosVersion", group),
        image=parse_image(check, group.get("image")),
        schematic=parse_schematic(check, group.get("schematic")),
        presets=parse_presets(check, group.get("presets")),
        kubernetes_version=parse_version(check, "cluster.kubernetesVersion", group),
        control_plane_machine=parse_machine(check, group, "controlPlane"),
        worker_machine=parse_machine(check, group, "worker"),
        disks=parse_disks(check, group.get("disks")),
        exposed_ports=parse_exposed_ports(check, group.get("exposedPorts")),
        patches=parse_patches(check, group),
        talosctl_version=parse_talosctl_version(check, group),
        create_timeout=check.duration("cluster.createTimeout", group),
        wait=wait,
        **_warm(check, group.get("warm")),
        merge_kubeconfig=_merge_kubeconfig(check, group, wait=wait),
        allow_reboot=check.boolean("cluster.allowReboot", group),
    )


def _refuse_keys_of_the_other(check: Checks, group: Mapping[str, Any], provisioner: str) -> None:
    for key, only in ONLY.items():
        if group.get(key) not in (None, []) and provisioner in PROVISIONERS and provisioner != only:
            rule = f"only for clusters on {only}, and this one is on {provisioner}"
            check.add(f"cluster.{key}", group[key], rule, "remove it")


def _merge_kubeconfig(check: Checks, group: Mapping[str, Any], *, wait: bool) -> bool:
    merge = check.boolean("cluster.mergeKubeconfig", group)
    if merge and not wait:
        rule = (
            "there is no kubeconfig until Kubernetes is ready, and wait: false doesn't wait for it"
        )
        fix = "remove it, or wait: false"
        check.add("cluster.mergeKubeconfig", merge, rule, fix)
    presets = group.get("presets")
    if merge and isinstance(presets, list) and MAINTENANCE in presets:
        rule = f"machines in {MAINTENANCE} don't form a Kubernetes cluster: there is no kubeconfig"
        fix = f"remove it, or the preset {MAINTENANCE}"
        check.add("cluster.mergeKubeconfig", merge, rule, fix)
    return merge


def _warm(check: Checks, value: object) -> dict[str, Any]:
    if isinstance(value, str) and value.startswith("@") and len(value) > 1:
        return {"warm": True, "warm_file": value[1:]}
    if value is not None and not isinstance(value, bool):
        check.refuse("cluster.warm", value)
    return {"warm": value is True, "warm_file": ""}


def _refuse_same_names(check: Checks, clusters: tuple[ClusterSettings, ...]) -> None:
    names: set[str] = set()
    for path, cluster in _without_mistakes(check, "name", clusters):
        if cluster.name in names:
            rule = "each cluster needs its own name, and an earlier one has this name"
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
                rule = f"no overlap with other networks: the cluster {other.name} has {other.cidr}"
                fix = f"write {new} (free in this stack)" if (new := next(free, None)) else _SHRINK
                check.add(path, cluster.cidr, rule, fix)
                break
        earlier.append(cluster)


def _without_mistakes(
    check: Checks, key: str, clusters: tuple[ClusterSettings, ...]
) -> list[tuple[str, ClusterSettings]]:
    """Path of the key -> cluster, except where a default replaces a wrong value of the key."""
    wrong = {problem.path for problem in check.problems}
    paths = [f"cluster[{index}]" for index in range(len(clusters))]
    return [
        (f"{path}.{key}", cluster)
        for path, cluster in zip(paths, clusters, strict=True)
        if not wrong & {path, f"{path}.{key}"}
    ]


def _cidr(check: Checks, value: object, nodes: int) -> str:
    key = "cluster.cidr"
    default = check.default(key)
    rule = check.key(key).rule
    try:
        written = default if value is None else value
        if not isinstance(written, str) or "/" not in written:
            raise ValueError
        network = ipaddress.IPv4Network(written, strict=False)
    except ValueError:
        check.refuse(key, value)
        return default
    if str(network) != written:
        check.add(key, value, rule, f"did you mean {network}?")
    elif network.prefixlen > 29:
        check.add(key, value, rule, "choose a larger network, such as a /24")
    elif network.num_addresses < nodes + 3:  # the network itself, the gateway, the broadcast
        why = f"large enough for {nodes} nodes, the gateway and the network's own two addresses"
        check.add(key, written, why, "choose a larger network, such as a /24")
    else:
        return str(network)
    return default
