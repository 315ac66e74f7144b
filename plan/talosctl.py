"""From the cluster's settings and its mirrors to the talosctl line a user can run by hand.

The only place that knows talosctl's flags. Two families: up to 1.11 there is one command, `cluster
create --provisioner P`; from 1.12 on `cluster create docker` and `cluster create qemu` with flags
of their own (the bare form means QEMU there, so it is never used).
"""

import re
import shlex
from collections.abc import Sequence

from plan.mirrors import Mirror, registry_mirror_values
from plan.settings import ClusterSettings, parse

# The first release of the family with a command per provisioner.
FAMILY_B_FROM = (1, 12)
PATCH_FILE = "mirrors.yaml"


def create_line(cluster: ClusterSettings | None, mirrors: Sequence[Mirror]) -> str:
    """One shell line; preceded by the line that writes the patch where a mirror needs one.

    Without a cluster in the stack the line makes talosctl's default cluster.
    """
    cluster = cluster or default_cluster()
    legacy = is_family_a(cluster)
    line = shlex.join(_create_argv(cluster, mirrors, legacy))
    if all(mirror.is_plain for mirror in mirrors):
        return line
    output = "legacyMachineConfigPatch" if legacy else "machineConfigPatch"
    # The patch holds every mirror, so none is given twice: talosctl would join the endpoints.
    return f"pulumi stack output {output} > {PATCH_FILE} && {line}"


def default_cluster() -> ClusterSettings:
    """The cluster that `cluster: {}` describes."""
    cluster = parse({"cluster": {}}).cluster
    assert cluster is not None  # noqa: S101 - parse makes one from any mapping
    return cluster


def is_family_a(cluster: ClusterSettings) -> bool:
    """Whether the cluster's Talos version goes with a talosctl of the old command form."""
    numbers = re.findall(r"\d+", cluster.talos_version or "")
    return bool(numbers) and (int(numbers[0]), int(numbers[1])) < FAMILY_B_FROM


def _create_argv(cluster: ClusterSettings, mirrors: Sequence[Mirror], legacy: bool) -> list[str]:
    form = ["--provisioner", cluster.provisioner] if legacy else [cluster.provisioner]
    cidr_flag = "--cidr" if legacy or cluster.provisioner == "qemu" else "--subnet"
    argv = [
        *_privilege(cluster),
        *("talosctl", "cluster", "create", *form),
        *("--name", cluster.name, "--workers", str(cluster.workers), cidr_flag, cluster.cidr),
    ]
    if legacy or cluster.provisioner == "qemu":
        argv += ["--controlplanes", str(cluster.control_planes)]
    argv += _versions(cluster, legacy)
    if all(mirror.is_plain for mirror in mirrors):
        flags = registry_mirror_values(mirrors)
        return argv + [part for value in flags for part in ("--registry-mirror", value)]
    return [*argv, "--config-patch", f"@{PATCH_FILE}"]


def _privilege(cluster: ClusterSettings) -> list[str]:
    return ["sudo", "--preserve-env=HOME"] if cluster.provisioner == "qemu" else []


def _versions(cluster: ClusterSettings, legacy: bool) -> list[str]:
    argv = []
    if cluster.talos_version:
        # The tags of Talos's images start with "v", which a stack file may leave out.
        talos_version = f"v{cluster.talos_version.removeprefix('v')}"
        if cluster.provisioner == "docker":
            argv += ["--image", f"ghcr.io/siderolabs/talos:{talos_version}"]
        if legacy or cluster.provisioner == "qemu":
            argv += ["--talos-version", talos_version]
    if cluster.kubernetes_version:
        argv += ["--kubernetes-version", cluster.kubernetes_version.removeprefix("v")]
    return argv
