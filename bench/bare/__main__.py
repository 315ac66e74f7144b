"""Declares what a stack's state holds, and does nothing else: what is the engine's and plugins'."""

import json
import os
from pathlib import Path
from typing import Any

import pulumi

STATE = "TALOS_CACHE_BENCH_STATE"
# What the SDK of the docker provider would say: which plugin to use.
VERSION = "TALOS_CACHE_BENCH_DOCKER"


def declare(resources: list[dict[str, Any]]) -> None:
    """Declare them in the state's order: each after its parent and what it depends on."""
    made: dict[str, pulumi.Resource] = {}
    for resource in resources:
        typ, urn = resource["type"], resource["urn"]
        if typ.startswith("pulumi:"):
            continue
        needed = [made[urn] for urn in resource.get("dependencies") or () if urn in made]
        options = pulumi.ResourceOptions(
            parent=made.get(resource.get("parent", "")),
            depends_on=needed,
            version=os.environ[VERSION],
        )
        make = pulumi.CustomResource if resource["custom"] else pulumi.ComponentResource
        made[urn] = make(typ, urn.split("::")[-1], _given(resource.get("inputs", {})), options)


def _given(value: Any) -> Any:
    """Inputs without what the provider has noted beside them."""
    if isinstance(value, dict):
        return {key: _given(part) for key, part in value.items() if key != "__defaults"}
    return [_given(part) for part in value] if isinstance(value, list) else value


declare(json.loads(Path(os.environ[STATE]).read_text())["deployment"]["resources"])
