"""Declares the resources of a stack's state, and does nothing else: the floor of the bench."""

import json
import os
from pathlib import Path
from typing import Any

import pulumi

STATE = "TALOS_CACHE_BENCH_STATE"
# The plugin's version, which the docker provider's SDK would set.
VERSION = "TALOS_CACHE_BENCH_DOCKER"


def declare(resources: list[dict[str, Any]]) -> None:
    """Declare them in the state's order: each after its parent and what it depends on."""
    declared: dict[str, pulumi.Resource] = {}
    for resource in resources:
        typ, urn = resource["type"], resource["urn"]
        if typ.startswith("pulumi:"):
            continue
        dependencies = resource.get("dependencies") or ()
        options = pulumi.ResourceOptions(
            parent=declared.get(resource.get("parent", "")),
            depends_on=[declared[urn] for urn in dependencies if urn in declared],
            version=os.environ[VERSION],
        )
        make = pulumi.CustomResource if resource["custom"] else pulumi.ComponentResource
        inputs = _without_defaults(resource.get("inputs", {}))
        declared[urn] = make(typ, urn.split("::")[-1], inputs, options)


def _without_defaults(value: Any) -> Any:
    """Inputs without the provider's own notes on defaults."""
    if isinstance(value, dict):
        return {key: _without_defaults(part) for key, part in value.items() if key != "__defaults"}
    return [_without_defaults(part) for part in value] if isinstance(value, list) else value


declare(json.loads(Path(os.environ[STATE]).read_text())["deployment"]["resources"])
