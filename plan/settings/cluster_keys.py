"""The rows of the table for the key `cluster`."""

from dataclasses import replace

from plan.settings.cluster import NAME, PROVISIONERS
from plan.settings.key import (
    LIST,
    NUMBER,
    NUMBER_IN_TEXT,
    TEXT,
    Group,
    Key,
    boolean,
    choice,
    duration,
    integer,
    row,
)
from plan.settings.nodes import (
    AUTO,
    DISK_DRIVERS,
    EXACT_VERSION,
    EXPOSED,
    IMAGE,
    PRESETS,
    SCHEMATIC,
    SIZE,
)

_PATCH = '"@patches/all.yaml"'
_REPLACES = "A change replaces the cluster, as does a change of any other key down to exposedPorts."
_SMALLEST = 29
_PREFIX_LENGTH = rf"([0-9]|1[0-9]|2[0-{_SMALLEST % 10}])"

GROUP = Group(
    path="cluster",
    description="the Talos cluster behind the caches; a list of such mappings for several",
    details="It is made after the caches, with a mirror for each of them. Without the key there "
    "are caches only. Several clusters share one set of caches, and have a name and a cidr of "
    "their own each.",
)


def _cpus(path: str, whose: str) -> Key:
    return Key(
        path=path,
        type=NUMBER,
        default=2,
        rule="a number of CPUs from 0.1 to 256",
        fix="write for instance 2",
        description=f"CPUs of a {whose} node",
        least=0.1,
        most=256,
        pattern=NUMBER_IN_TEXT,
    )


def _memory(path: str, whose: str) -> Key:
    return Key(
        path=path,
        type=TEXT,
        default="2GiB",
        rule="at least 512MiB, as a whole number with MiB or GiB behind it",
        fix="write for instance 2GiB",
        description=f"memory of a {whose} node, in MiB or GiB",
        pattern=SIZE.pattern,
    )


def _version(path: str, instance: str, description: str, details: str) -> Key:
    plain = row(path, TEXT, None, description, details)
    rule = f"an exact version such as {instance}"
    fix = f'write for instance "{instance}"'
    return replace(plain, rule=rule, fix=fix, example=instance, pattern=EXACT_VERSION.pattern)


def _patches(path: str, description: str, details: str = "") -> Key:
    return Key(
        path=path,
        type=LIST,
        default=(),
        rule="a list of patches: each a mapping, or text that is YAML or @ and a file",
        fix="write for instance [{machine: {network: {hostname: one}}}]",
        description=description,
        details=details,
        example=_PATCH,
    )


KEYS = (
    choice(
        "cluster.provisioner",
        PROVISIONERS[0],
        PROVISIONERS,
        "`docker` or `qemu`",
        "QEMU needs Linux, root (or sudo without a password) and, to be quick, KVM.",
    ),
    Key(
        path="cluster.name",
        type=TEXT,
        default="talos-default",
        rule="lower-case letters, digits and, between them, '-'; at most 44 of them (the nodes' "
        "names start with it)",
        fix="write for instance dev",
        description="name of the cluster, and start of its nodes' names",
        details=_REPLACES,
        pattern=NAME.pattern,
    ),
    integer(
        "cluster.controlPlanes",
        1,
        (1, 9),
        "a count of nodes",
        "control plane nodes",
        "On Docker talosctl from 1.12 on makes exactly one.",
    ),
    integer("cluster.workers", 1, (0, 99), "a count of nodes", "worker nodes"),
    Key(
        path="cluster.cidr",
        type=TEXT,
        default="10.5.0.0/24",
        rule=f"an IPv4 network such as 10.5.0.0/24, no smaller than a /{_SMALLEST}, its host bits "
        "zero",
        fix="write for instance 10.5.0.0/24",
        description="the cluster's network",
        details="Change it when it overlaps with one you have.",
        pattern=rf"([0-9]{{1,3}}\.){{3}}[0-9]{{1,3}}/{_PREFIX_LENGTH}",
    ),
    _version(
        "cluster.talosVersion",
        "v1.13.0",
        "exact version of Talos; without it, talosctl's own",
        "Change it to pin a cluster.",
    ),
    _version(
        "cluster.kubernetesVersion",
        "v1.36.0",
        "exact version of Kubernetes; without it, the one that goes with talosctl's Talos",
        "",
    ),
    Key(
        path="cluster.image",
        type=TEXT,
        rule="an image reference with its registry and an exact tag",
        fix="write for instance ghcr.io/siderolabs/talos:v1.13.0",
        description="Docker only: another node image, with an exact tag",
        details="Without it, ghcr.io/siderolabs/talos in the version above.",
        example="ghcr.io/siderolabs/talos:v1.13.0",
        pattern=IMAGE.pattern,
    ),
    Key(
        path="cluster.schematic",
        type=TEXT,
        rule="the id of a schematic: 64 hexadecimal digits, as the image factory shows it",
        fix="copy it from the image factory's page",
        description="QEMU only: id of an image factory schematic",
        details="Without it, no extensions.",
        example="376567988ad370138ad8b2698212367b8edcb69b5fd68c80be1f2ec7d603b4ba",
        pattern=SCHEMATIC.pattern,
    ),
    Key(
        path="cluster.presets",
        type=LIST,
        default=(),
        rule=f"names of presets: {', '.join(PRESETS)}",
        fix='write for instance "iso"',
        description="QEMU only, talosctl 1.12 and newer: how machines boot",
        details=f"{', '.join(PRESETS)}. Change it to boot another way than talosctl's default.",
        example='"iso"',
        pattern="|".join(PRESETS),
    ),
    _cpus("cluster.controlPlaneCpus", "control plane"),
    _memory("cluster.controlPlaneMemory", "control plane"),
    _cpus("cluster.workerCpus", "worker"),
    _memory("cluster.workerMemory", "worker"),
    Key(
        path="cluster.disks",
        type=LIST,
        default=(),
        rule=f"disks as driver:size, the driver one of {', '.join(DISK_DRIVERS)}, the size in MiB "
        "or GiB",
        fix='write for instance "virtio:10GiB"',
        description="QEMU only: disks as `driver:size`; all but the first for workers only",
        details="Change it for more or larger disks than talosctl's default, for instance "
        "[virtio:20GiB, virtio:10GiB].",
        example='"virtio:10GiB"',
        pattern=rf"({'|'.join(DISK_DRIVERS)}):(?!0+[MG]){SIZE.pattern}",
    ),
    Key(
        path="cluster.exposedPorts",
        type=LIST,
        default=(),
        rule="ports as [IPv4 address:]port of this machine:port of the nodes/tcp, or /udp",
        fix='write for instance "8080:80/tcp"',
        description="Docker only: ports of the first control plane node to publish, on loopback "
        "unless an address says otherwise",
        details="As [address:]port:port/protocol, for instance [8080:80/tcp].",
        example='"8080:80/tcp"',
        pattern=EXPOSED.pattern,
    ),
    _patches(
        "cluster.patches",
        "machine config patches for all nodes: mappings, YAML text, or `@file`",
        "A path is relative to the project. A changed patch is applied to the live nodes; what a "
        f"removed one has set stays until the cluster is replaced. For instance [{_PATCH}].",
    ),
    _patches("cluster.controlPlanePatches", "the same for control plane nodes"),
    _patches("cluster.workerPatches", "the same for worker nodes"),
    Key(
        path="cluster.talosctlVersion",
        type=TEXT,
        default=AUTO,
        rule=f"an exact version such as v1.13.0, or {AUTO} for the one that is installed",
        fix='write for instance "v1.13.0"',
        description="`auto` takes the talosctl on PATH; an exact version refuses any other",
        pattern=f"{AUTO}|{EXACT_VERSION.pattern}",
    ),
    duration(
        "cluster.createTimeout",
        "25m",
        "how long creating it may take, as a Go duration",
        "Then everything made of it is removed. talosctl from 1.12 on gives up by itself after 20 "
        "minutes of waiting for Kubernetes.",
    ),
    boolean(
        "cluster.wait",
        True,
        "wait until Kubernetes is ready; only talosctl 1.10 and 1.11 can leave it out",
    ),
    Key(
        path="cluster.warm",
        type=TEXT,
        default=False,
        rule="true, false, or the sign @ and the path of a list with one image a line",
        fix="write true, or the sign before the path",
        description="fill the caches before the cluster is made: `true` (what talosctl lists) or "
        "`'@images.txt'`",
        details="Its nodes then fetch nothing twice. A list has one image a line, and its path is "
        "relative to the project.",
        pattern=r"@[\s\S]+",
    ),
    boolean(
        "cluster.mergeKubeconfig",
        False,
        "merge the cluster into your own kubeconfig ($KUBECONFIG or ~/.kube/config)",
        "It is taken out again when the cluster goes. Without it the cluster has files of its own "
        "(see outputs).",
    ),
    boolean(
        "cluster.allowReboot",
        False,
        "QEMU: let a changed patch or login reboot live nodes",
        "New credentials of registries reach nodes up to Talos 1.13 only so. A node on Docker "
        "never reboots: its container would end.",
    ),
)
