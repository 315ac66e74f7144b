"""Passes a cluster's plan from the program to the command that creates the cluster.

It has two parts: environment variables, whose changes a preview shows, and standard input, which is
secret because a machine config patch may contain secrets.
"""

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
# Settings that can change without recreating the cluster; all others are its identity.
_OPTIONS = ("talosctl_version", "wait", "merge_kubeconfig", "allow_reboot")
_ELSEWHERE = ("create_timeout", "patches", "slug", "warm", "warm_file")
_IDENTITY = tuple(
    field.name for field in fields(ClusterSettings) if field.name not in (*_OPTIONS, *_ELSEWHERE)
)


def identity(plan: ClusterPlan) -> dict[str, Any]:
    """Settings whose change means another cluster; keys as in a stack file."""
    values = asdict(plan.settings)
    return {camel(name): values[name] for name in _IDENTITY if values[name] not in (None, ())}


def environment(plan: ClusterPlan) -> dict[str, str]:
    """The public part of the plan."""
    pulled_from = dict(plan.sources)
    registries = {
        mirror.host: {**_public(mirror), "cache": pulled_from[mirror.host]}
        for mirror in plan.mirrors
    }
    options = {camel(name): getattr(plan.settings, name) for name in _OPTIONS}
    # Not in the state of a cluster whose stack was never renamed or moved.
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
    """What the caches are filled with before the cluster is created; a change fills them again."""
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
    """The part of the plan that may contain secrets, as one line."""
    private = {
        mirror.host: {"ca": mirror.ca, "login": mirror.login and asdict(mirror.login)}
        for mirror in plan.mirrors
        if mirror.ca or mirror.login
    }
    patches = [asdict(patch) for patch in plan.settings.patches]
    # Clusters created by versions without the rest have only these in their state.
    return json.dumps({"patches": patches, "registries": private} if private else patches)


def read(variables: Mapping[str, str], secrets: str) -> ClusterPlan:
    """Rebuild the plan from the results of `environment` and `secret_input`."""
    values = {
        **json.loads(variables[CLUSTER_VARIABLE]),
        **json.loads(variables[OPTIONS_VARIABLE]),
    }
    by_field: dict[str, Any] = {
        field.name: values.get(camel(field.name)) for field in fields(ClusterSettings)
    }
    by_field["slug"] = variables[SLUG_VARIABLE]
    by_field |= {"warm": False, "warm_file": ""}  # a command of its own does it
    by_field["create_timeout"] = variables[TIMEOUT_VARIABLE]
    private = json.loads(secrets)
    if isinstance(private, list):
        private = {"patches": private, "registries": {}}
    by_field["patches"] = tuple(Patch(**patch) for patch in private["patches"])
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
            _mirror(host, entry, private["registries"].get(host) or {})
            for host, entry in registries.items()
        ),
        sources=tuple((host, entry["cache"]) for host, entry in registries.items()),
    )


def _public(mirror: Mirror) -> dict[str, Any]:
    """The public part of a mirror: enough for a preview to show that it changes."""
    flags = {"skipFallback": mirror.skip_fallback, "overridePath": mirror.override_path}
    entry: dict[str, Any] = {"url": mirror.url}
    entry |= {name: True for name, value in flags.items() if value}
    if mirror.ca:
        entry["ca"] = digest_of(mirror.ca.encode())
    if mirror.login:
        entry["login"] = True
    return entry


def _mirror(host: str, public: Mapping[str, Any], private: Mapping[str, Any]) -> Mirror:
    return Mirror(
        host=host,
        url=public["url"],
        skip_fallback=public.get("skipFallback", False),
        override_path=public.get("overridePath", False),
        ca=private.get("ca") or "",
        login=Credentials(**private["login"]) if private.get("login") else None,
    )
