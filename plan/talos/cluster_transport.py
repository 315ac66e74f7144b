"""How a cluster's plan gets into the command that makes it, and out of it again."""

import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

from plan.camel_case import camel
from plan.images.digest import digest_of
from plan.settings.cluster import ClusterSettings
from plan.settings.credentials import Credentials
from plan.settings.nodes import Disk, Machine
from plan.settings.patches import Patch
from plan.talos.cluster import ClusterPlan
from plan.talos.mirrors import Mirror

STACK_VARIABLE = "TALOS_CACHE_STACK"
IDENTITY_VARIABLE = "TALOS_CACHE_IDENTITY"
SLUG_VARIABLE = "TALOS_CACHE_SLUG"
CLUSTER_VARIABLE = "TALOS_CACHE_CLUSTER"
OPTIONS_VARIABLE = "TALOS_CACHE_OPTIONS"
MIRRORS_VARIABLE = "TALOS_CACHE_MIRRORS"
WARM_VARIABLE = "TALOS_CACHE_WARM"
TIMEOUT_VARIABLE = "TALOS_CACHE_CREATE_TIMEOUT"
# What can change without making the cluster anew; everything else is its identity.
_OPTIONS = ("talosctl_version", "wait", "merge_kubeconfig", "allow_reboot")
_ELSEWHERE = ("create_timeout", "patches", "slug", "warm", "warm_file")
_IDENTITY = tuple(
    field.name for field in fields(ClusterSettings) if field.name not in (*_OPTIONS, *_ELSEWHERE)
)


def identity(plan: ClusterPlan) -> dict[str, Any]:
    """What the cluster is: a change of any of it means another cluster. Keys as in a stack file."""
    values = asdict(plan.settings)
    return {camel(name): values[name] for name in _IDENTITY if values[name] not in (None, ())}


def environment(plan: ClusterPlan) -> dict[str, str]:
    """The part of the plan that everybody may read."""
    pulled_from = dict(plan.sources)
    registries = {
        mirror.host: {**_shown(mirror), "cache": pulled_from[mirror.host]}
        for mirror in plan.mirrors
    }
    options = {camel(name): getattr(plan.settings, name) for name in _OPTIONS}
    # A cluster whose stack is called what it always was has none of it in its state.
    moved = {IDENTITY_VARIABLE: plan.identity} if plan.identity else {}
    return {
        STACK_VARIABLE: plan.stack,
        **moved,
        SLUG_VARIABLE: plan.settings.slug,
        CLUSTER_VARIABLE: json.dumps(identity(plan)),
        OPTIONS_VARIABLE: json.dumps(options),
        MIRRORS_VARIABLE: json.dumps(registries),
        TIMEOUT_VARIABLE: plan.settings.create_timeout,
    }


def warm_environment(plan: ClusterPlan) -> dict[str, str]:
    """What the caches are filled with before the cluster is made: a change fills them again."""
    settings = plan.settings
    described = {
        "list": plan.warm_list or "talosctl",
        "talosVersion": settings.talos_version,
        "kubernetesVersion": settings.kubernetes_version,
        "image": settings.image,
        "caches": [host for host, _ in plan.sources],
    }
    return {CLUSTER_VARIABLE: json.dumps({"name": plan.name}), WARM_VARIABLE: json.dumps(described)}


def secret_input(plan: ClusterPlan) -> str:
    """The part of the plan that may hold secrets, as one line."""
    private = {
        mirror.host: {"ca": mirror.ca, "login": mirror.login and asdict(mirror.login)}
        for mirror in plan.mirrors
        if mirror.ca or mirror.login
    }
    made = [asdict(patch) for patch in plan.settings.patches]
    # A cluster that was made before there was anything else has only these in its state.
    return json.dumps({"patches": made, "registries": private} if private else made)


def read(variables: Mapping[str, str], secrets: str) -> ClusterPlan:
    """The plan that `environment` and `secret_input` were made from."""
    values = {
        **json.loads(variables[CLUSTER_VARIABLE]),
        **json.loads(variables[OPTIONS_VARIABLE]),
    }
    by_field: dict[str, Any] = {
        field.name: values.get(camel(field.name)) for field in fields(ClusterSettings)
    }
    by_field["slug"] = variables[SLUG_VARIABLE]
    by_field |= {"warm": False, "warm_file": ""}  # done by a command of its own
    by_field["create_timeout"] = variables[TIMEOUT_VARIABLE]
    hidden = json.loads(secrets)
    if isinstance(hidden, list):
        hidden = {"patches": hidden, "registries": {}}
    by_field["patches"] = tuple(Patch(**patch) for patch in hidden["patches"])
    by_field["control_plane_machine"] = Machine(**by_field["control_plane_machine"])
    by_field["worker_machine"] = Machine(**by_field["worker_machine"])
    by_field["disks"] = tuple(Disk(**disk) for disk in by_field["disks"] or ())
    for name in ("presets", "exposed_ports"):
        by_field[name] = tuple(by_field[name] or ())
    registries = json.loads(variables[MIRRORS_VARIABLE])
    return ClusterPlan(
        stack=variables[STACK_VARIABLE],
        identity=variables.get(IDENTITY_VARIABLE, ""),
        settings=ClusterSettings(**by_field),
        mirrors=tuple(
            _mirror(host, entry, hidden["registries"].get(host) or {})
            for host, entry in registries.items()
        ),
        sources=tuple((host, entry["cache"]) for host, entry in registries.items()),
    )


def _shown(mirror: Mirror) -> dict[str, Any]:
    """What everybody may read of a mirror: enough to see in a preview that it changes."""
    flags = {"skipFallback": mirror.skip_fallback, "overridePath": mirror.override_path}
    shown: dict[str, Any] = {"url": mirror.url}
    shown |= {name: True for name, value in flags.items() if value}
    if mirror.ca:
        shown["ca"] = digest_of(mirror.ca.encode())
    if mirror.login:
        shown["login"] = True
    return shown


def _mirror(host: str, shown: Mapping[str, Any], hidden: Mapping[str, Any]) -> Mirror:
    return Mirror(
        host=host,
        url=shown["url"],
        skip_fallback=shown.get("skipFallback", False),
        override_path=shown.get("overridePath", False),
        ca=hidden.get("ca") or "",
        login=Credentials(**hidden["login"]) if hidden.get("login") else None,
    )
