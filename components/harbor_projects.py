"""What a stack needs in a Harbor: one command that creates, updates and removes it."""

from collections.abc import Callable

import pulumi
from pulumi_command import local

from plan.harbor.desired import HarborPlan
from plan.harbor.transport import (
    environment,
    identity,
    secret_input,
)

# Relative to the project, so that a second checkout shows no difference.
RUN = "exec .work/venv/bin/python -m ops.harbor"


class HarborProjects(pulumi.ComponentResource):
    """A `local.Command` that runs `python -m ops.harbor` (see there).

    Another Harbor or another owner replaces it; anything else is updated in place.

    Args:
        name: logical name.
        plan: the plan of the projects.
        repairs: how often Harbor differed from what the command had left there; a higher number
            runs the command again.
    """

    command: local.Command
    """The command that creates the projects; its output lists them."""

    ready: pulumi.Output[bool]
    """True once they exist; unknown in a preview that changes them."""

    def __init__(
        self,
        name: str,
        plan: HarborPlan,
        repairs: int = 0,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("talos-cache:index:HarborProjects", name, {}, opts)
        self.command = local.Command(
            f"{name}-command",
            create=f"{RUN} create",
            update=f"{RUN} update",
            delete=f"{RUN} delete",
            environment=environment(plan, repairs),
            stdin=pulumi.Output.secret(secret_input(plan)),
            triggers=[identity(plan)],
            logging=local.Logging.STDERR,
            opts=pulumi.ResourceOptions(
                parent=self,
                # Names are unique in a Harbor: the old one must go before the new one is created.
                delete_before_replace=True,
            ),
        )
        self.ready = self.command.stdout.apply(lambda _: True)
        self.register_outputs({"projects": [project.name for project in plan.projects]})


def may_pull(
    ready: pulumi.Output[bool], probe: Callable[[Callable[[str], object]], str | None]
) -> pulumi.Output[bool]:
    """True once Harbor lets nodes pull; checked at every update, but never in a preview.

    Args:
        ready: true once everything that they pull from exists.
        probe: returns a report on what they can't pull, None if all is well; passes what it could
            not find out to its argument.

    Raises (from the output):
        pulumi.RunError: with the probe's report.
    """

    def probed(is_ready: bool) -> bool:
        if not pulumi.runtime.is_dry_run() and (report := probe(pulumi.log.warn)):
            raise pulumi.RunError(report)
        return is_ready

    return ready.apply(probed)
