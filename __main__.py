"""The program: settings -> plans -> components -> exports."""

import functools

import pulumi

import stack_state
from components import CacheSet, HarborProjects, TalosCluster, may_pull
from components.docker_bridge import gateway
from ops import whose
from ops.docker import which
from ops.ending import in_words
from ops.registry.readiness import not_ready
from ops.stack import config, machine_facts, preflight
from plan.caches import addressing
from plan.ownership import Recorded
from plan.settings.stack import Settings
from plan.stack import StackPlan, build


def main() -> None:
    """Declare this stack's caches and clusters; export what nodes and users need."""
    stack = pulumi.get_stack()
    settings, files = config.read(stack)
    which.check(stack, config.given())
    recorded = stack_state.read(stack)
    us = whose.we_are(stack, recorded)
    bridge = gateway() if addressing.needs_bridge_gateway(settings) else None
    host = preflight.look()
    facts = machine_facts.gather(stack, settings, files, bridge, host.published)
    plan = build(stack, settings, facts)
    preview = pulumi.runtime.is_dry_run()
    warnings = preflight.check(host, plan.caches, plan.clusters, recorded, us, preview=preview)
    for warning in (*plan.warnings, *warnings):
        pulumi.log.warn(warning)
    ready = CacheSet("caches", plan.caches, us.labels, probe=not_ready).ready
    if plan.behind:
        ready = _behind_harbor(stack, settings, plan, recorded, ready)
    for cluster in plan.clusters:
        TalosCluster(cluster.settings.slug, cluster, ready)
    for name, value in plan.outputs.items():
        pulumi.export(name, pulumi.Output.secret(value) if name in plan.secret else value)


def _behind_harbor(
    stack: str, settings: Settings, plan: StackPlan, recorded: Recorded, ready: pulumi.Output[bool]
) -> pulumi.Output[bool]:
    """Declare this stack's Harbor projects; true once nodes can pull through Harbor as well."""
    from ops.harbor import access, drift  # slow to import (0.25 s), and most stacks have no Harbor

    if plan.harbor:
        found_drift = drift.look(plan.harbor, recorded.harbor)
        if found_drift.warning:
            pulumi.log.warn(found_drift.warning)
        projects = HarborProjects("harbor", plan.harbor, found_drift.repairs).ready
        ready = pulumi.Output.all(ready, projects).apply(all)
    assert settings.harbor is not None  # noqa: S101 - plan/settings/stack.py has checked it
    probe = functools.partial(access.report, settings.harbor, plan.behind)
    return may_pull(ready, probe)


with in_words():
    main()
