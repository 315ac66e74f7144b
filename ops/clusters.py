"""Which resources of a stack are its clusters, apart from its caches."""

from collections.abc import Mapping
from typing import Any

from ops.errors import OpsError
from plan import ownership
from plan.ownership import COMMAND_TYPE
from plan.settings.cluster import ClusterSettings
from plan.settings.stack import Settings

COMPONENT_TYPE = "talos-cache:index:TalosCluster"


def of_settings(settings: Settings, stack: str) -> tuple[ClusterSettings, ...]:
    """The clusters of a stack.

    Raises:
        OpsError: it has none.
    """
    if not settings.clusters:
        raise OpsError(
            f"the stack '{stack}' has caches only: add 'cluster' to its file, or use a stack that "
            "has it (docker-cluster, qemu-cluster)"
        )
    return settings.clusters


def urns(state: Mapping[str, Any], name: str = "") -> list[str]:
    """URNs of the clusters in a stack's state, their commands first.

    Args:
        state: the stack's deployment.
        name: of one cluster; empty for all of them.
    """
    resources = state.get("resources") or []
    commands = [
        resource
        for resource in resources
        if resource["type"] == COMMAND_TYPE
        and (found := _cluster(resource))
        and name in ("", found)
    ]
    parents = {resource["parent"] for resource in commands}
    components = [
        resource["urn"]
        for resource in resources
        if resource["type"] == COMPONENT_TYPE and resource["urn"] in parents
    ]
    return [*(resource["urn"] for resource in commands), *components]


def _cluster(command: Mapping[str, Any]) -> str:
    """The cluster that a command is for; empty for what is none's, as the projects in Harbor."""
    return ownership.cluster_for((command.get("inputs") or {}).get("environment") or {})
