"""All the plans of a stack, made from its settings and from what it keeps on this machine."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ops import private
from ops.cluster.folder import access, identity_of, moved_identity
from plan import addressing, advice, behind_harbor, caches, cluster, mirrors, outputs, ownership
from plan.caches import CachePlan
from plan.cluster import ClusterPlan
from plan.harbor import HarborPlan
from plan.mirrors import Mirror
from plan.settings import Settings


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
    certificate = private.server_certificate(stack, settings, where, files)
    built = caches.build(settings, where, files, certificate)
    local = caches.in_reported_order(built, published)
    robot = private.robot_secret(stack, settings)
    # What a stack has in Harbor is called as the stack was when it made it.
    born, owner = ownership.parts(identity_of(stack))
    harbor = behind_harbor.build(settings, born, owner, files, robot)
    behind = behind_harbor.mirrors(settings, files, harbor)
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
