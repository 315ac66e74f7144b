"""The program: settings -> plan -> components -> exports."""

import pulumi

import stack_config
from components import CacheSet
from components.docker_bridge import gateway
from ops.docker_api import PROJECT_LABEL, STACK_LABEL, DockerUnavailableError
from ops.preflight import conflicts
from ops.readiness import unready
from plan import addressing, caches, mirrors, outputs, settings
from plan.checks import SettingsError


def main() -> None:
    """Bring up this stack's caches; export what nodes and people need to use them."""
    chosen = settings.parse(
        stack_config.read(),
        pulumi.get_stack(),
        plain_credentials=stack_config.has_plain_credentials(),
    )
    bridge = gateway() if addressing.needs_bridge_gateway(chosen) else None
    where = addressing.resolve(chosen, bridge)
    plans = caches.build(chosen, where)
    labels = {PROJECT_LABEL: pulumi.get_project(), STACK_LABEL: pulumi.get_stack()}
    if in_the_way := conflicts(plans, labels):
        raise pulumi.RunError("\n".join(["Nothing was changed:", *in_the_way]))
    for warning in where.warnings:
        pulumi.log.warn(warning)

    CacheSet("caches", plans, labels, probe=unready)
    for name, value in outputs.build(plans, mirrors.build(plans), chosen.cluster).items():
        pulumi.export(name, value)


try:
    main()
except (SettingsError, DockerUnavailableError) as error:
    raise pulumi.RunError(str(error)) from None
