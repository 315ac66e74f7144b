"""All the plans of a stack, made from its settings and from what it keeps on this machine."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ops.cluster.folder import access, identity_of, moved_identity
from ops.stack import secret_files
from plan import advice, outputs, ownership
from plan.caches import addressing, cache_plan
from plan.caches.cache_plan import CachePlan
from plan.harbor import from_settings
from plan.harbor.reconcile import HarborPlan
from plan.settings.stack import Settings
from plan.talos import cluster, mirrors
from plan.talos.cluster import ClusterPlan
from plan.talos.mirrors import Mirror


@dataclass(frozen=True, kw_only=True)
class StackPlan:
    """What the components are made from.

    Attributes:
        caches: by host.
        harbor: what this stack makes in Harbor, if anything.
        behind: mirrors of the upstreams that Harbor caches.
        clusters: behind all of them.
        outputs: name -> value of every stack output.
        secret: names of those that hold a secret.
        warnings: sentences for the user.
    """

    caches: tuple[CachePlan, ...]
    harbor: HarborPlan | None
    behind: tuple[Mirror, ...]
    clusters: tuple[ClusterPlan, ...]
    outputs: Mapping[str, object]
    secret: frozenset[str]
    warnings: tuple[str, ...]


def build(
    stack: str,
    settings: Settings,
    files: Mapping[str, str],
    bridge_gateway: str | None,
    published: Mapping[str, Sequence[tuple[str, int]]],
) -> StackPlan:
    """The plans.

    Args:
        stack: its name.
        settings: of the stack.
        files: content of every file that it names.
        bridge_gateway: see `addressing.resolve`.
        published: what Docker publishes now, see `caches.in_reported_order`.

    Raises:
        SettingsError: parts of the settings do not go together.
        OpsError: what the stack keeps on this machine can't be read.
    """
    where = addressing.resolve(settings, bridge_gateway)
    certificate = secret_files.server_certificate(stack, settings, where, files)
    built = cache_plan.build(settings, where, files, certificate)
    local = cache_plan.in_reported_order(built, published)
    robot = secret_files.robot_secret(stack, settings)
    # What a stack has in Harbor is called as the stack was when it made it.
    born, owner = ownership.parts(identity_of(stack))
    harbor = from_settings.build(settings, born, owner, files, robot)
    behind = from_settings.mirrors(settings, files, harbor)
    entries = mirrors.in_order((*mirrors.build(local), *behind))
    moved = moved_identity(stack)
    clusters = cluster.build(stack, settings.clusters, local, entries, files, moved)
    return StackPlan(
        caches=local,
        harbor=harbor,
        behind=behind,
        clusters=clusters,
        outputs=outputs.build(local, entries, settings.clusters, access(clusters)),
        secret=outputs.secrets(entries),
        warnings=(*where.warnings, *advice.build(settings), *cluster.warnings(clusters)),
    )
