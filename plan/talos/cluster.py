"""The plan of a cluster behind the caches of a stack.

`cluster_transport` passes it from the program to the command that creates the cluster.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from plan import host_ports
from plan.caches.cache_plan import CachePlan
from plan.problems import SettingsError
from plan.settings.cluster import ClusterSettings
from plan.settings.nodes import ONE
from plan.settings.patches import PATCH_KEYS, Patch
from plan.talos import patches
from plan.talos.mirrors import Mirror, documents_patch
from plan.talos.node_commands import needs_reboot
from plan.talos.versions import (
    OLDEST,
    Version,
    node_version,
)


@dataclass(frozen=True, kw_only=True)
class ClusterPlan:
    """A cluster behind the caches of a stack.

    Attributes:
        stack: the stack that the cluster belongs to.
        settings: of the cluster, with the content of patch files.
        mirrors: entries of the nodes' machine config, one per upstream.
        sources: upstream host -> base URL from which Docker on this machine pulls its images.
        warm_list: content of the list of images to fill the caches with first, if one is named.
        identity: of the stack's state; set only if the stack was renamed or moved since the cluster
            was created.
    """

    stack: str
    settings: ClusterSettings
    mirrors: tuple[Mirror, ...]
    sources: tuple[tuple[str, str], ...]
    warm_list: str = ""
    identity: str = ""

    @property
    def name(self) -> str:
        """Name of the cluster."""
        return self.settings.name

    @property
    def made_anew(self) -> str:
        """The lines that recreate this cluster, and no other of the stack."""
        return (
            f"make cluster-down STACK={self.stack} CLUSTER={self.name}, then make cluster-up "
            f"STACK={self.stack}"
        )

    @property
    def create_seconds(self) -> float:
        """Timeout of creating it."""
        return seconds(self.settings.create_timeout)


def build(
    stack: str,
    clusters: Sequence[ClusterSettings],
    caches: Sequence[CachePlan],
    mirrors: Sequence[Mirror],
    files: Mapping[str, str],
    identity: str = "",
) -> tuple[ClusterPlan, ...]:
    """One plan per cluster.

    Args:
        stack: name of the stack.
        clusters: as in the stack file.
        caches: of the stack.
        mirrors: of these caches, and of upstreams behind Harbor.
        files: content of every file that a patch names, by path.
        identity: see `ClusterPlan`.

    Raises:
        SettingsError: a patch is not YAML, or contains what this stack sets itself: the mirror of a
            registry, or TLS and the login of an endpoint; or an exposed port is taken.
    """
    loaded = [_with_texts(cluster, files) for cluster in clusters]
    placed = [patch for index, cluster in enumerate(loaded) for patch in _placed(index, cluster)]
    of_patches = [
        problem
        for path, patch in placed
        for problem in patches.problems(path, patch.text, patch.file, mirrors)
    ]
    if problems := (*of_patches, *host_ports.clashes(clusters, caches)):
        raise SettingsError(problems)
    return tuple(
        ClusterPlan(
            stack=stack,
            settings=cluster,
            mirrors=tuple(mirrors),
            sources=sources(caches, mirrors),
            warm_list=files[cluster.warm_file] if cluster.warm_file else "",
            identity=identity,
        )
        for cluster in loaded
    )


def sources(caches: Sequence[CachePlan], mirrors: Sequence[Mirror]) -> tuple[tuple[str, str], ...]:
    """Upstream host -> base URL of its images, for Docker on this machine.

    Docker uses a cache's loopback address, where it accepts any certificate. If an upstream has no
    cache here, Docker uses the same URL as nodes.
    """
    local = {cache.host: f"{cache.local_endpoint}/{cache.path_prefix}" for cache in caches}
    return tuple(
        (mirror.host, local.get(mirror.host, mirror.url.replace("/v2/", "/")).rstrip("/"))
        for mirror in mirrors
    )


def warnings(plans: Sequence[ClusterPlan]) -> tuple[str, ...]:
    """Warnings about logins that live nodes can't take without a reboot."""
    return tuple(_reboot_warning(plan.settings) for plan in plans if _may_need_reboot(plan))


def _may_need_reboot(plan: ClusterPlan) -> bool:
    """Whether a change of logins may need a reboot; nodes of unknown version count as old."""
    nodes = node_version(plan.settings, Version(*OLDEST, 0))
    texts = [patch.text for patch in plan.settings.patches]
    return any(needs_reboot(text, nodes) for text in (*texts, documents_patch(plan.mirrors)))


def _reboot_warning(cluster: ClusterSettings) -> str:
    if not cluster.can_reboot:
        outcome = "on Docker they can't, and such an update is refused"
    elif cluster.allow_reboot:
        outcome = "cluster.allowReboot lets them"
    else:
        outcome = "such an update is refused without cluster.allowReboot: true"
    return (
        f"nodes of the cluster {cluster.name} have registry logins: up to Talos 1.13, live nodes "
        f"take a change of them only when they reboot; {outcome}."
    )


def _with_texts(cluster: ClusterSettings, files: Mapping[str, str]) -> ClusterSettings:
    read = (replace(p, text=files[p.file]) if p.file else p for p in cluster.patches)
    return replace(cluster, patches=tuple(read))


def _placed(index: int, cluster: ClusterSettings) -> Iterator[tuple[str, Patch]]:
    """Every patch with its key's path in the stack file."""
    group = "cluster" if cluster.slug == ONE else f"cluster[{index}]"
    for key, scope in PATCH_KEYS.items():
        own = (patch for patch in cluster.patches if patch.scope == scope)
        for number, patch in enumerate(own):
            yield f"{group}.{key}[{number}]", patch


_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}


def seconds(duration: str) -> float:
    """`1h30m` -> 5400.0; the form has been checked (see `Checks.duration`)."""
    parts = re.findall(r"([0-9.]+)(ms|us|ns|h|m|s)", duration)
    return sum(float(count) * _UNITS[unit] for count, unit in parts)
