"""Settings of a stack that a version of talosctl does not support."""

from collections.abc import Sequence
from dataclasses import replace

from plan.problems import Problem
from plan.settings.cluster import ClusterSettings
from plan.settings.nodes import (
    AUTO,
    MAINTENANCE,
    ONE,
)
from plan.talos.patches import NO_CNI, leaves_nodes_without_cni
from plan.talos.versions import (
    LEAVES_CNI_OUT_FROM,
    NEWEST,
    OLDEST,
    USUAL,
    Version,
    node_version,
    version_in,
)


def refusals(cluster: ClusterSettings, talosctl: Version) -> tuple[Problem, ...]:
    """Settings that this talosctl does not support: it would fail late, or ignore a flag."""
    oldest, newest = (".".join(map(str, release)) for release in (OLDEST, NEWEST))
    if not OLDEST <= talosctl.release <= NEWEST:
        rule = f"talosctl {oldest} to {newest} are supported"
        fix = f"install one of these, for instance {USUAL}"
        return (_problem("talosctlVersion", f"talosctl {talosctl}", rule, fix),)
    required = cluster.talosctl_version
    if required != AUTO and str(version_in(required)) != str(talosctl):
        rule = f"the stack requires talosctl {required}"
        fix = f"install {required}, or write talosctlVersion: {AUTO}"
        return (_problem("talosctlVersion", f"talosctl {talosctl} on PATH", rule, fix),)
    problems = _version_refusals(cluster, talosctl)
    problems += (_family_b if talosctl.is_family_b else _family_a)(cluster, talosctl)
    return tuple(problems)


def all_refusals(clusters: Sequence[ClusterSettings], talosctl: Version) -> tuple[Problem, ...]:
    """The refusals for all clusters of a stack, each with its path in the stack file."""
    return tuple(
        problem if cluster.slug == ONE else _in_list(problem, index)
        for index, cluster in enumerate(clusters)
        for problem in refusals(cluster, talosctl)
    )


def waits_for_a_cni(cluster: ClusterSettings, talosctl: Version) -> str | None:
    """A warning about a create that waits for nodes that never become ready; or None."""
    texts = [patch.text for patch in cluster.patches]
    waits = (cluster.wait or talosctl.is_family_b) and MAINTENANCE not in cluster.presets
    if not waits or talosctl.release >= LEAVES_CNI_OUT_FROM or not leaves_nodes_without_cni(texts):
        return None
    most = "20 minutes" if talosctl.is_family_b else f"createTimeout ({cluster.create_timeout})"
    other = "" if talosctl.is_family_b else ", or write wait: false"
    return (
        f"the cluster {cluster.name} has no CNI (cluster.network.cni.name: {NO_CNI}), so its nodes "
        f"never become ready, but talosctl {talosctl} waits for that: create fails after {most}. "
        f"Install talosctl 1.13 or newer, which does not wait{other}, or add the CNI to the same "
        "patch: docs/clusters.md shows both"
    )


def _in_list(problem: Problem, index: int) -> Problem:
    return replace(problem, path=f"{ONE}[{index}]{problem.path.removeprefix(ONE)}")


def _problem(key: str, found: str, rule: str, fix: str) -> Problem:
    return Problem(path=f"cluster.{key}", found=found, rule=rule, fix=fix)


def _version_refusals(cluster: ClusterSettings, talosctl: Version) -> list[Problem]:
    nodes = node_version(cluster, talosctl)
    if nodes.release <= talosctl.release:
        return []
    key = "talosVersion" if cluster.talos_version else "image"
    rule = f"talosctl {talosctl} does not support Talos versions newer than itself"
    fix = f"install talosctl {nodes.major}.{nodes.minor}, or choose an older Talos"
    return [_problem(key, f"Talos {nodes}", rule, fix)]


def _family_a(cluster: ClusterSettings, talosctl: Version) -> list[Problem]:
    problems = []
    upgrade = "install talosctl 1.12 or newer"
    if cluster.presets:
        rule = f"talosctl {talosctl} has no presets"
        problems.append(_problem("presets", ", ".join(cluster.presets), rule, upgrade))
    if len({disk.size for disk in cluster.disks[1:]}) > 1:
        rule = f"talosctl {talosctl} makes all disks but the first the same size"
        problems.append(_problem("disks", "disks of several sizes", rule, upgrade))
    if odd := [disk.driver for disk in cluster.disks if disk.driver != "virtio"]:
        rule = f"with talosctl {talosctl} all disks are virtio"
        problems.append(_problem("disks", odd[0], rule, f"write virtio, or {upgrade}"))
    if cluster.provisioner == "docker" and cluster.exposed_ports and cluster.control_planes > 1:
        rule = f"talosctl {talosctl} publishes them for every control plane, so they clash"
        fix = f"write controlPlanes: 1, or {upgrade}"
        problems.append(_problem("exposedPorts", cluster.exposed_ports[0], rule, fix))
    if cluster.image and not (cluster.talos_version or version_in(cluster.image_version or "")):
        rule = f"talosctl {talosctl} can't read the Talos version from the image's tag"
        problems.append(_problem("image", cluster.image, rule, "set talosVersion too"))
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
    version = version_in(cluster.talos_version or "") or tag
    if cluster.image and (tag is None or tag != version):
        rule = f"talosctl {talosctl} reads the Talos version from the image's tag"
        fix = "give the image a tag such as v1.13.0, and leave talosVersion out"
        problems.append(_problem("image", cluster.image, rule, fix))
    return problems
