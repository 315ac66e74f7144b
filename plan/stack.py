"""All plans of a stack, built from its settings and from facts about this machine."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from plan import advice, outputs, ownership
from plan.caches import addressing, cache_plan
from plan.caches.cache_plan import CachePlan
from plan.caches.tls import ServerCertificate
from plan.harbor import from_settings
from plan.harbor.desired import HarborPlan
from plan.settings.stack import Settings
from plan.talos import cluster, mirrors
from plan.talos.cluster import ClusterPlan
from plan.talos.mirrors import Mirror


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What the plans depend on besides the settings; `ops.stack.machine_facts` collects it.

    Attributes:
        identity: identifies the stack's state among all that may use this machine.
        moved: whether the state has been renamed or moved since that identity was recorded.
        files: path -> content of every file that the settings name.
        bridge_gateway: address of Docker's default bridge, see `addressing.resolve`; None if the
            settings don't need it.
        published: container -> what Docker publishes now, see `cache_plan.in_reported_order`.
        certificate: of the caches; None without TLS.
        robot_secret: password of the account in Harbor; empty if the stack creates none.
        access: cluster -> talosconfig, kubeconfig, and the shell line that uses them.
    """

    identity: str
    moved: bool = False
    files: Mapping[str, str] = field(default_factory=dict)
    bridge_gateway: str | None = None
    published: Mapping[str, Sequence[tuple[str, int]]] = field(default_factory=dict)
    certificate: ServerCertificate | None = None
    robot_secret: str = ""
    access: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class StackPlan:
    """What the components are built from.

    Attributes:
        caches: by host.
        harbor: what this stack creates in Harbor, if anything.
        behind: mirrors for the upstreams that Harbor caches.
        mirrors: for all upstreams, in the order in which nodes get them.
        clusters: behind all of them.
        outputs: name -> value of every stack output.
        secret: names of the outputs that contain a secret.
        warnings: sentences for the user.
    """

    caches: tuple[CachePlan, ...]
    harbor: HarborPlan | None
    behind: tuple[Mirror, ...]
    mirrors: tuple[Mirror, ...]
    clusters: tuple[ClusterPlan, ...]
    outputs: Mapping[str, object]
    secret: frozenset[str]
    warnings: tuple[str, ...]


def build(stack: str, settings: Settings, facts: Facts) -> StackPlan:
    """Build all plans.

    Args:
        stack: its name.
        settings: of the stack.
        facts: of this machine.

    Raises:
        SettingsError: parts of the settings contradict each other.
    """
    where = addressing.resolve(settings, facts.bridge_gateway)
    built = cache_plan.build(settings, where, facts.files, facts.certificate)
    local = cache_plan.in_reported_order(built, facts.published)
    # Things in Harbor have the name that the stack had when it created them.
    born, owner = ownership.parts(facts.identity)
    harbor = from_settings.build(settings, born, owner, facts.files, facts.robot_secret)
    behind = from_settings.mirrors(settings, facts.files, harbor)
    entries = mirrors.in_order((*mirrors.build(local), *behind))
    moved = facts.identity if facts.moved else ""
    clusters = cluster.build(stack, settings.clusters, local, entries, facts.files, moved)
    return StackPlan(
        caches=local,
        harbor=harbor,
        behind=behind,
        mirrors=entries,
        clusters=clusters,
        outputs=outputs.build(local, entries, settings.clusters, facts.access),
        secret=outputs.secrets(entries),
        warnings=(*where.warnings, *advice.build(settings), *cluster.warnings(clusters)),
    )
