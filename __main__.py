"""The program: settings -> plans -> components -> exports."""

import functools

import pulumi

import stack_state
from components import CacheSet, HarborProjects, TalosCluster, may_pull
from components.docker_bridge import gateway
from ops import whose
from ops.docker import which
from ops.ending import in_words
from ops.registry.readiness import unready
from ops.stack import config, machine_facts, preflight
from plan.caches import addressing
from plan.ownership import Recorded
from plan.settings.stack import Settings
from plan.stack import StackPlan, build


def main() -> None:
    """Bring up this stack's caches and clusters; export what nodes and people need."""
    stack = pulumi.get_stack()
    chosen, files = config.read(stack)
    which.check(stack, config.given())
    recorded = stack_state.read(stack)
    us = whose.we_are(stack, recorded)
    bridge = gateway() if addressing.needs_bridge_gateway(chosen) else None
    host = preflight.look()
    facts = machine_facts.gather(stack, chosen, files, bridge, host.published)
    plan = build(stack, chosen, facts)
    preview = pulumi.runtime.is_dry_run()
    warnings = preflight.check(host, plan.caches, plan.clusters, recorded, us, preview=preview)
    for warning in (*plan.warnings, *warnings):
        pulumi.log.warn(warning)
    ready = CacheSet("caches", plan.caches, us.labels, probe=unready).ready
    if plan.behind:
        ready = _behind_harbor(stack, chosen, plan, recorded, ready)
    for cluster in plan.clusters:
        TalosCluster(cluster.settings.slug, cluster, ready)
    for name, value in plan.outputs.items():
        pulumi.export(name, pulumi.Output.secret(value) if name in plan.secret else value)


def _behind_harbor(
    stack: str, chosen: Settings, plan: StackPlan, recorded: Recorded, ready: pulumi.Output[bool]
) -> pulumi.Output[bool]:
    """True once nodes may pull from Harbor too; with what this stack makes there."""
    from ops.harbor import access, drift  # a quarter of a second, and most stacks have none

    if plan.harbor:
        seen = drift.look(plan.harbor, recorded.harbor)
        if seen.warning:
            pulumi.log.warn(seen.warning)
        projects = HarborProjects("harbor", plan.harbor, seen.repairs).ready
        ready = pulumi.Output.all(ready, projects).apply(all)
    assert chosen.harbor is not None  # noqa: S101 - an upstream behind it needs one (plan/settings/stack.py)
    probe = functools.partial(access.report, chosen.harbor, plan.behind)
    return may_pull(ready, probe)


with in_words():
    main()
