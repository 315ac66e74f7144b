"""What has changed in a Harbor since a stack's last update, and how the engine learns of it.

The engine doesn't look at what a command has created. So the program does, before it declares the
command, and counts how often something needed repair. A higher count is a changed variable of the
command: a preview shows an update, and `up` runs it. The count stays in the state until the next
repair: docs/adr/0029.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from plan.harbor import cleanup, reconcile, refusals, transport
from plan.harbor.desired import HarborPlan
from plan.harbor.inventory import Found
from plan.harbor.reconcile import Step
from plan.harbor.transport import REPAIRS_VARIABLE

_SAYS = {
    "create": "{} is missing",
    "update": "{} was changed",
    "delete": "{} should not exist",
}


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """What the state has of the command that creates a stack's projects in Harbor.

    Attributes:
        environment: of its last run.
        made: names of the projects that this run called the stack's own.
    """

    environment: Mapping[str, str]
    made: frozenset[str]

    @property
    def repairs(self) -> int:
        """How often something has needed repair so far."""
        count = self.environment.get(REPAIRS_VARIABLE, "")
        return int(count) if count.isdecimal() else 0

    def is_of(self, plan: HarborPlan) -> bool:
        """Whether it ran with this plan: if not, the command runs in any case."""
        return transport.environment(plan, self.repairs) == self.environment


def recorded(outputs: Mapping[str, object]) -> Recorded | None:
    """What the state has, from the outputs of a command; None for another kind of command."""
    environment = outputs.get("environment")
    if not isinstance(environment, Mapping) or transport.OWNER_VARIABLE not in environment:
        return None
    printed = str(outputs.get("stdout") or "{}")
    return Recorded(
        environment={str(key): str(value) for key, value in environment.items()},
        made=reconcile.made_before(json.loads(printed)),
    )


def differences(
    plan: HarborPlan, found: Found, settings: Sequence[Step], made: Collection[str]
) -> tuple[str, ...]:
    """Messages on what the next update would refuse, or else repair; none if all is well.

    Args:
        plan: of the stack, and of its last update.
        found: what Harbor has.
        settings: the steps from `reconcile.setting_steps` for each of the stack's projects.
        made: names of the projects that the last update called the stack's own.
    """
    if refused := refusals.refusals(plan, found):
        return refused
    missing = [one for one in plan.projects if found.project(one.name) is None]
    existing = replace(plan, projects=tuple(one for one in plan.projects if one not in missing))
    steps = [
        *reconcile.endpoint_steps(plan, found, passwords=False),
        *reconcile.project_steps(existing, found),
        *settings,
        *reconcile.robot_steps(plan, found),
    ]
    return (
        *(_SAYS["create"].format(f"the project {one.name}") for one in missing),
        *(step.differs or _SAYS[step.does].format(step.what) for step in steps),
        *(
            f"the project {name}: {cleanup.GIVEN_UP}"
            for name in cleanup.given_up(plan, found, made)
        ),
    )
