"""What the stack exports: for nodes, for people, and for `ops`."""

from collections.abc import Mapping, Sequence

from plan.caches.cache_plan import CachePlan
from plan.settings.cluster import ClusterSettings
from plan.talos.create_flags import create_line
from plan.talos.mirrors import Mirror, documents_patch, legacy_patch


def build(
    plans: Sequence[CachePlan],
    mirrors: Sequence[Mirror],
    clusters: Sequence[ClusterSettings],
    access: Mapping[str, Mapping[str, str]] | None = None,
) -> dict[str, object]:
    """Name -> value of every stack output; see `secrets` for those that contain one.

    Args:
        plans: of the caches.
        mirrors: of the same caches, and for upstreams behind Harbor.
        clusters: of the stack.
        access: cluster -> talosconfig, kubeconfig, and the shell line that uses them.

    Returns:
        caches: host -> container, volume, remoteUrl, port.
        endpoints: host -> URL as nodes see it.
        localEndpoints: host -> URL on this machine.
        machineConfigPatch: YAML documents for nodes with Talos 1.12 or newer.
        legacyMachineConfigPatch: YAML fragment for older nodes.
        talosctlCommand: shell line that creates a cluster behind the caches.
        harbor: host -> URL of its project, for upstreams behind Harbor only.
        clusters, talosconfig, kubeconfig: as in `access`, with clusters only; the two files are
            those of the first cluster.
    """
    outputs: dict[str, object] = {
        "caches": {plan.host: _cache(plan) for plan in plans},
        "endpoints": {plan.host: plan.endpoint for plan in plans},
        "localEndpoints": {plan.host: plan.local_endpoint for plan in plans},
        "machineConfigPatch": documents_patch(mirrors),
        "legacyMachineConfigPatch": legacy_patch(mirrors),
        "talosctlCommand": create_line(clusters[0] if clusters else None, mirrors),
    }
    local = {plan.host for plan in plans}
    if behind := {mirror.host: mirror.url for mirror in mirrors if mirror.host not in local}:
        outputs["harbor"] = behind
    if access:
        first = next(iter(access.values()))
        outputs["clusters"] = access
        outputs |= {name: first[name] for name in ("talosconfig", "kubeconfig")}
    return outputs


def secrets(mirrors: Sequence[Mirror]) -> frozenset[str]:
    """Names of the outputs that contain a secret."""
    patches = ("machineConfigPatch", "legacyMachineConfigPatch")
    return frozenset(patches if any(mirror.login for mirror in mirrors) else ())


def _cache(plan: CachePlan) -> dict[str, object]:
    return {
        "container": plan.name,
        "volume": plan.name,
        "remoteUrl": plan.remote_url,
        "port": plan.published[0].port,
    }
