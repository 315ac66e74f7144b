"""What the stack exports: for nodes, for people, and all that `ops` needs."""

from collections.abc import Sequence

from plan.caches import CachePlan
from plan.mirrors import Mirror, documents_patch, legacy_patch
from plan.settings import ClusterSettings
from plan.talosctl import create_line


def build(
    plans: Sequence[CachePlan], mirrors: Sequence[Mirror], cluster: ClusterSettings | None
) -> dict[str, object]:
    """Name -> plain value of every stack output; none holds a secret.

    Returns:
        caches: host -> container, volume, remoteUrl, port.
        endpoints: host -> URL as nodes see it.
        localEndpoints: host -> URL on this machine.
        machineConfigPatch: YAML documents for nodes from Talos 1.12 on.
        legacyMachineConfigPatch: YAML fragment for older nodes.
        talosctlCommand: shell line that makes a cluster behind the caches.
    """
    return {
        "caches": {plan.host: _cache(plan) for plan in plans},
        "endpoints": {plan.host: plan.endpoint for plan in plans},
        "localEndpoints": {plan.host: plan.local_endpoint for plan in plans},
        "machineConfigPatch": documents_patch(mirrors),
        "legacyMachineConfigPatch": legacy_patch(mirrors),
        "talosctlCommand": create_line(cluster, mirrors),
    }


def _cache(plan: CachePlan) -> dict[str, object]:
    return {
        "container": plan.name,
        "volume": plan.name,
        "remoteUrl": plan.remote_url,
        "port": plan.published[0].port,
    }
