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
_REPLACES = "Changing it replaces the cluster, as does changing any other key down to exposedPorts."
_SMALLEST = 29
_PREFIX_LENGTH = rf"([0-9]|1[0-9]|2[0-{_SMALLEST % 10}])"

GROUP = Group(
    path="cluster",
    description="the Talos cluster that pulls through the caches; a list of mappings for several",
    details="It is created after the caches, with a mirror for each of them. Without this key, "
    "there are only caches. Several clusters share one set of caches; each needs its own name and "
    "cidr.",
)


def _cpus(path: str, whose: str) -> Key:
    return Key(
        path=path,
        type=NUMBER,
        default=2,
        rule="a number of CPUs from 0.1 to 256",
        fix="write something like 2",
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
        rule="at least 512MiB: a whole number followed by MiB or GiB",
        fix="write something like 2GiB",
        description=f"memory of a {whose} node, in MiB or GiB",
        pattern=SIZE.pattern,
    )


def _version(path: str, instance: str, description: str, details: str) -> Key:
    plain = row(path, TEXT, None, description, details)
    rule = f"an exact version such as {instance}"
    fix = f'write something like "{instance}"'
    return replace(plain, rule=rule, fix=fix, example=instance, pattern=EXACT_VERSION.pattern)


def _patches(path: str, description: str, details: str = "") -> Key:
    return Key(
        path=path,
        type=LIST,
        default=(),
        rule="a list of patches, each a mapping, YAML text, or @ followed by a file's path",
        fix="write something like [{machine: {network: {hostname: one}}}]",
        description=description,
        details=details,
        example=_PATCH,
    )


KEYS = (
    choice(
        "cluster.provisioner",
        PROVISIONERS[0],
        PROVISIONERS,
        "what nodes run on: `docker` or `qemu`",
        "QEMU needs Linux, root (or sudo without a password) and, to be fast, KVM.",
    ),
    Key(
        path="cluster.name",
        type=TEXT,
        default="talos-default",
        rule="at most 44 lower-case letters, digits and, between them, '-' (node names start with "
        "it)",
        fix="write something like dev",
        description="name of the cluster, and prefix of its nodes' names",
        details=_REPLACES,
        pattern=NAME.pattern,
    ),
    integer(
        "cluster.controlPlanes",
        1,
        (1, 9),
        "number of control plane nodes",
        "On Docker, talosctl 1.12 and newer creates exactly one.",
    ),
    integer("cluster.workers", 1, (0, 99), "number of worker nodes"),
    Key(
        path="cluster.cidr",
        type=TEXT,
        default="10.5.0.0/24",
        rule=f"an IPv4 network such as 10.5.0.0/24, no smaller than a /{_SMALLEST}, with zero host "
        "bits",
        fix="write something like 10.5.0.0/24",
        description="the cluster's network",
        details="Change it if it overlaps with a network you have.",
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
        "exact version of Kubernetes; without it, talosctl's own",
        "",
    ),
    Key(
        path="cluster.image",
        type=TEXT,
        rule="an image reference with a registry and an exact tag",
        fix="write something like ghcr.io/siderolabs/talos:v1.13.0",
        description="Docker only: another node image, with an exact tag",
        details="Without it, ghcr.io/siderolabs/talos at the version above.",
        example="ghcr.io/siderolabs/talos:v1.13.0",
        pattern=IMAGE.pattern,
    ),
    Key(
        path="cluster.schematic",
        type=TEXT,
        rule="the ID of a schematic: 64 hexadecimal digits, as Image Factory shows it",
        fix="copy it from Image Factory's page",
        description="QEMU only: ID of an Image Factory schematic",
        details="Without it, no extensions.",
        example="376567988ad370138ad8b2698212367b8edcb69b5fd68c80be1f2ec7d603b4ba",
        pattern=SCHEMATIC.pattern,
    ),
    Key(
        path="cluster.presets",
        type=LIST,
        default=(),
        rule=f"preset names: {', '.join(PRESETS)}",
        fix='write something like "iso"',
        description="QEMU only, talosctl 1.12 and newer: how machines boot",
        details=f"{', '.join(PRESETS)}. Set it to boot in another way than talosctl's default.",
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
        rule=f"disks as driver:size, with the driver one of {', '.join(DISK_DRIVERS)} and the size "
        "in MiB or GiB",
        fix='write something like "virtio:10GiB"',
        description="QEMU only: disks as `driver:size`; all but the first for workers only",
        details="Set it for more or larger disks than talosctl's default, for example "
        "[virtio:20GiB, virtio:10GiB].",
        example='"virtio:10GiB"',
        pattern=rf"({'|'.join(DISK_DRIVERS)}):(?!0+[MG]){SIZE.pattern}",
    ),
    Key(
        path="cluster.exposedPorts",
        type=LIST,
        default=(),
        rule="ports as [IPv4 address:]host port:node port/tcp, or /udp",
        fix='write something like "8080:80/tcp"',
        description="Docker only: ports of the first control plane node to publish, on loopback "
        "unless an address is given",
        details="As [address:]port:port/protocol, for example [8080:80/tcp].",
        example='"8080:80/tcp"',
        pattern=EXPOSED.pattern,
    ),
    _patches(
        "cluster.patches",
        "machine config patches for all nodes: mappings, YAML text, or `@file`",
        "A path is relative to the project. A changed patch is applied to live nodes; what a "
        f"removed patch has set stays until the cluster is replaced. For example [{_PATCH}].",
    ),
    _patches("cluster.controlPlanePatches", "the same, for control plane nodes"),
    _patches("cluster.workerPatches", "the same, for worker nodes"),
    Key(
        path="cluster.talosctlVersion",
        type=TEXT,
        default=AUTO,
        rule=f"an exact version such as v1.13.0, or {AUTO} for the installed one",
        fix='write something like "v1.13.0"',
        description="`auto` uses the talosctl on PATH; an exact version rejects any other",
        pattern=f"{AUTO}|{EXACT_VERSION.pattern}",
    ),
    duration(
        "cluster.createTimeout",
        "25m",
        "how long creating the cluster may take, as a Go duration",
        "After that, everything created so far is removed. talosctl 1.12 and newer stops by itself "
        "after waiting 20 minutes for Kubernetes.",
    ),
    boolean(
        "cluster.wait",
        True,
        "wait until Kubernetes is ready; only talosctl 1.10 and 1.11 can skip this",
    ),
    Key(
        path="cluster.warm",
        type=TEXT,
        default=False,
        rule="true, false, or @ followed by the path of a list with one image per line",
        fix="write true, or put an @ before the path",
        description="fill the caches before the cluster is created: `true` (what talosctl lists) "
        "or `'@images.txt'`",
        details="Nothing is then fetched from an upstream twice. A list has one image per line; "
        "its path is relative to the project.",
        pattern=r"@[\s\S]+",
    ),
    boolean(
        "cluster.mergeKubeconfig",
        False,
        "merge the cluster into your own kubeconfig ($KUBECONFIG or ~/.kube/config)",
        "It is removed again together with the cluster. Without it the cluster has its own files "
        "(see outputs).",
    ),
    boolean(
        "cluster.allowReboot",
        False,
        "QEMU: allow a changed patch or login to reboot live nodes",
        "Up to Talos 1.13, nodes take new registry credentials only with a reboot. A node on "
        "Docker never reboots: its container would exit.",
    ),
)
