"""A Talos cluster behind the caches: one command that creates, updates and destroys it."""

import shlex

import pulumi
from pulumi_command import local

from plan.talos.cluster import ClusterPlan
from plan.talos.cluster_transport import (
    TIMEOUT_VARIABLE,
    environment,
    identity,
    secret_input,
    warm_environment,
)

# Relative to the project, so that a second checkout shows no difference. `exec` replaces the shell:
# the engine ends only the process that it has started, and that must be ours.
PYTHON = "exec .work/venv/bin/python"
RUN = f"{PYTHON} -m ops.cluster"
# Time for the command to clean up after its own timeout.
TIDY_UP_SECONDS = 120


class TalosCluster(pulumi.ComponentResource):
    """A `local.Command` that runs `python -m ops.cluster` (see there).

    A change of the cluster's identity replaces it; changed mirrors or patches update live nodes.

    Args:
        name: logical name.
        plan: the plan of the cluster.
        ready: true once every cache responds.
    """

    command: local.Command
    """The command that creates the cluster; its output says what it has created."""

    def __init__(
        self,
        name: str,
        plan: ClusterPlan,
        ready: pulumi.Output[bool],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("talos-cache:index:TalosCluster", name, {}, opts)
        longest = plan.create_seconds + TIDY_UP_SECONDS
        warm = [_warm(name, plan, ready, self)] if plan.settings.warm else []
        self.command = local.Command(
            f"{name}-command",
            create=f"{RUN} create",
            update=f"{RUN} update",
            delete=f"{RUN} delete",
            environment=_once(ready, environment(plan)),
            # A patch may contain secrets.
            stdin=pulumi.Output.secret(secret_input(plan)),
            triggers=[identity(plan)],
            logging=local.Logging.STDERR,
            opts=pulumi.ResourceOptions(
                parent=self,
                depends_on=warm,
                # Both would need the same name and the same network.
                delete_before_replace=True,
                # The timeout of a create does not concern an existing cluster; one that is
                # recreated gets the new value.
                ignore_changes=[f"environment.{TIMEOUT_VARIABLE}"],
                custom_timeouts=pulumi.CustomTimeouts(create=f"{longest:.0f}s"),
            ),
        )
        self.register_outputs({"cluster": plan.name})


def _warm(
    name: str, plan: ClusterPlan, ready: pulumi.Output[bool], parent: TalosCluster
) -> local.Command:
    """Fills the caches; recreated with every cluster, and run again when the list changes."""
    line = f"{PYTHON} -m ops warm --stack {shlex.quote(plan.stack)} --cluster {plan.name}"
    return local.Command(
        f"{name}-warm",
        create=line,
        update=line,
        environment=_once(ready, warm_environment(plan)),
        opts=pulumi.ResourceOptions(parent=parent),
    )


def _once(
    ready: pulumi.Output[bool], variables: dict[str, str]
) -> dict[str, str] | pulumi.Output[dict[str, str]]:
    """The variables, held back until the caches respond; available at once to a preview's diff."""
    if pulumi.runtime.is_dry_run():
        return variables
    return ready.apply(lambda _: variables)
