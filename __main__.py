"""The program: settings -> plans -> components -> exports."""

import pulumi

import stack_config
import stack_plan
from components import CacheSet, HarborProjects, TalosCluster
from components.docker_bridge import gateway
from ops.docker_api import DockerUnavailableError, labels_of
from ops.errors import OpsError
from ops.preflight import obstacles
from ops.readiness import unready
from plan import addressing
from plan.checks import SettingsError
from toolchain import edge


def main() -> None:
    """Bring up this stack's caches and clusters; export what nodes and people need."""
    stack = pulumi.get_stack()
    chosen, files = stack_config.read(stack)
    bridge = gateway() if addressing.needs_bridge_gateway(chosen) else None
    plan = stack_plan.build(stack, chosen, files, bridge)
    if in_the_way := obstacles(plan.caches, plan.clusters, labels_of(stack)):
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


try:
    main()
except (SettingsError, OpsError, DockerUnavailableError) as error:
    raise pulumi.RunError(str(error)) from None
except pulumi.RunError:
    raise
except Exception as error:
    raise pulumi.RunError(edge.told(error)) from None
