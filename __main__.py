"""The program: settings -> plans -> components -> exports."""

import pulumi

import stack_config
import stack_plan
from components import CacheSet, HarborProjects, TalosCluster
from components.docker_bridge import gateway
from ops.docker_api import labels_of
from ops.ending import in_words
from ops.preflight import look, obstacles
from ops.readiness import unready
from plan import addressing


def main() -> None:
    """Bring up this stack's caches and clusters; export what nodes and people need."""
    stack = pulumi.get_stack()
    chosen, files = stack_config.read(stack)
    bridge = gateway() if addressing.needs_bridge_gateway(chosen) else None
    host = look()
    plan = stack_plan.build(stack, chosen, files, bridge, host.published)
    if in_the_way := obstacles(host, plan.caches, plan.clusters, labels_of(stack)):
        raise pulumi.RunError("\n".join(["Nothing was changed:", *in_the_way]))
    for warning in plan.warnings:
        pulumi.log.warn(warning)
    ready = CacheSet("caches", plan.caches, labels_of(stack), probe=unready).ready
    if plan.harbor:
        projects = HarborProjects("harbor", plan.harbor).ready
        ready = pulumi.Output.all(ready, projects).apply(all)
    for cluster in plan.clusters:
        TalosCluster(cluster.settings.slug, cluster, ready)
    for name, value in plan.outputs.items():
        pulumi.export(name, pulumi.Output.secret(value) if name in plan.secret else value)


with in_words():
    main()
