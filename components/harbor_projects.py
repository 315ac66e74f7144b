"""What a stack wants of a Harbor: one command that makes, updates and removes it."""

import pulumi
from pulumi_command import local

from plan.harbor import HarborPlan, environment, identity, secret_input

# Relative to the project, so that a second checkout shows no difference.
RUN = "exec .work/venv/bin/python -m ops.harbor"


class HarborProjects(pulumi.ComponentResource):
    """A `local.Command` that runs `python -m ops.harbor` (see there).

    Another Harbor, or another owner, replaces it; everything else is brought up to date in place.

    Args:
        name: logical name.
        plan: of the projects.
    """

    command: local.Command
    """What made the projects; its output says which those are."""

    ready: pulumi.Output[bool]
    """True once they are there; unknown in a preview that changes them."""

    def __init__(
        self, name: str, plan: HarborPlan, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("talos-cache:index:HarborProjects", name, {}, opts)
        self.command = local.Command(
            f"{name}-command",
            create=f"{RUN} create",
            update=f"{RUN} update",
            delete=f"{RUN} delete",
            environment=environment(plan),
            stdin=pulumi.Output.secret(secret_input(plan)),
            triggers=[identity(plan)],
            logging=local.Logging.STDERR,
            opts=pulumi.ResourceOptions(
                parent=self,
                # The names in one Harbor can't be held by the old and the new one at once.
                delete_before_replace=True,
            ),
        )
        self.ready = self.command.stdout.apply(lambda _: True)
        self.register_outputs({"projects": [project.name for project in plan.projects]})
