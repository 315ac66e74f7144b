"""A cluster's plan, and how it travels from the program to the command that makes the cluster.

It travels in two parts: variables of the environment, which a preview shows as they change, and
standard input, which is secret because a machine config patch may hold anything.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from plan import host_ports
from plan.caches.cache_plan import CachePlan
from plan.durations import seconds
from plan.settings.checks import SettingsError
from plan.settings.cluster import ONE, PATCH_KEYS, ClusterSettings, Disk, Machine, Patch
from plan.settings.credentials import Credentials
from plan.talos import patches
from plan.talos.create_flags import OLDEST, Version, needs_reboot, node_version
from plan.talos.mirrors import Mirror, documents_patch

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


@dataclass(frozen=True, kw_only=True)
class ClusterPlan:
    """A cluster behind the caches of a stack.

    Attributes:
        stack: the stack that the cluster belongs to.
        settings: of the cluster, its patches read from their files.
        mirrors: entries of the nodes' machine config, one per upstream.
        sources: upstream host -> URL that Docker on this machine pulls its images below.
        warm_list: content of the list that the caches are filled with beforehand, if one is named.
        identity: of the stack's state, where its name and its place say another one: it was renamed
            or moved since the cluster was made.
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
        """The lines that remove it, and no other of the stack's, and make it again."""
        return (
            f"make cluster-down STACK={self.stack} CLUSTER={self.name}, then make cluster-up "
            f"STACK={self.stack}"
        )

    @property
    def create_seconds(self) -> float:
        """How long creating it may take."""
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
        clusters: as the stack file describes them.
        caches: of the stack.
        mirrors: of the same caches, and of upstreams behind Harbor.
        files: content of every file that a patch names, by its path.
        identity: see `ClusterPlan`.

    Raises:
        SettingsError: a patch is no YAML, or speaks of what this stack sets: the mirror of a
            registry, or TLS and the login of an endpoint; or a port is exposed that is taken.
    """
    whole = [_with_texts(cluster, files) for cluster in clusters]
    placed = [patch for index, cluster in enumerate(whole) for patch in _placed(index, cluster)]
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
        for cluster in whole
    )


def sources(caches: Sequence[CachePlan], mirrors: Sequence[Mirror]) -> tuple[tuple[str, str], ...]:
    """Upstream host -> URL that its images are below, for Docker on this machine.

    A cache is asked on loopback, where Docker takes any certificate; what has no cache here is
    asked as nodes do.
    """
    local = {cache.host: f"{cache.local_endpoint}/{cache.path_prefix}" for cache in caches}
    return tuple(
        (mirror.host, local.get(mirror.host, mirror.url.replace("/v2/", "/")).rstrip("/"))
        for mirror in mirrors
    )


def warnings(plans: Sequence[ClusterPlan]) -> tuple[str, ...]:
    """Sentences for the user of a stack with clusters: logins that live nodes don't just take."""
    return tuple(_reboot_warning(plan.settings) for plan in plans if _may_need_reboot(plan))


def identity(plan: ClusterPlan) -> dict[str, Any]:
    """What the cluster is: a change of any of it means another cluster. Keys as in a stack file."""
    values = asdict(plan.settings)
    return {_camel(name): values[name] for name in _IDENTITY if values[name] not in (None, ())}


def environment(plan: ClusterPlan) -> dict[str, str]:
    """The part of the plan that everybody may read."""
    pulled_from = dict(plan.sources)
    registries = {
        mirror.host: {**_shown(mirror), "cache": pulled_from[mirror.host]}
        for mirror in plan.mirrors
    }
    options = {_camel(name): getattr(plan.settings, name) for name in _OPTIONS}
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
        field.name: values.get(_camel(field.name)) for field in fields(ClusterSettings)
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


def _may_need_reboot(plan: ClusterPlan) -> bool:
    """Whether a change of its logins may; nodes of an unknown version count as old."""
    nodes = node_version(plan.settings, Version(*OLDEST, 0))
    texts = [patch.text for patch in plan.settings.patches]
    return any(needs_reboot(text, nodes) for text in (*texts, documents_patch(plan.mirrors)))


def _reboot_warning(cluster: ClusterSettings) -> str:
    if cluster.provisioner == "docker":
        outcome = "on Docker they can't, and such an update is refused"
    elif cluster.allow_reboot:
        outcome = "cluster.allowReboot lets them"
    else:
        outcome = "such an update is refused without cluster.allowReboot: true"
    return (
        f"nodes of the cluster {cluster.name} have logins for registries: live nodes of Talos up "
        f"to 1.13 take a change of them only when they reboot; {outcome}."
    )


def _shown(mirror: Mirror) -> dict[str, Any]:
    """What everybody may read of a mirror: enough to see in a preview that it changes."""
    flags = {"skipFallback": mirror.skip_fallback, "overridePath": mirror.override_path}
    shown: dict[str, Any] = {"url": mirror.url}
    shown |= {name: True for name, value in flags.items() if value}
    if mirror.ca:
        shown["ca"] = f"sha256:{hashlib.sha256(mirror.ca.encode()).hexdigest()}"
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


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(part.capitalize() for part in others)


def _with_texts(cluster: ClusterSettings, files: Mapping[str, str]) -> ClusterSettings:
    read = (replace(p, text=files[p.file]) if p.file else p for p in cluster.patches)
    return replace(cluster, patches=tuple(read))


def _placed(index: int, cluster: ClusterSettings) -> Iterator[tuple[str, Patch]]:
    """Every patch, with the place in the stack file that it comes from."""
    group = "cluster" if cluster.slug == ONE else f"cluster[{index}]"
    for key, scope in PATCH_KEYS.items():
        own = (patch for patch in cluster.patches if patch.scope == scope)
        for number, patch in enumerate(own):
            yield f"{group}.{key}[{number}]", patch
