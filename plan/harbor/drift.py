"""What a Harbor has changed since a stack brought it about, and how the engine learns of it.

The engine looks at nothing that a command has made. So the program looks, before it declares the
command, and counts how often something had to be put right: a higher count is a changed variable of
the command, which shows in a preview as an update, and lets `up` run it. The count stays in the
state until the next time: docs/adr/0029.
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
    "create": "{} is not there",
    "update": "{} is not as it was made",
    "delete": "{} should not be there",
}


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """What the state has of the command that makes a stack's projects in Harbor.

    Attributes:
        environment: of its last run.
        made: names of the projects that this run has called the stack's own.
    """

    environment: Mapping[str, str]
    made: frozenset[str]

    @property
    def repairs(self) -> int:
        """How often something had to be put right so far."""
        count = self.environment.get(REPAIRS_VARIABLE, "")
        return int(count) if count.isdecimal() else 0

    def is_of(self, plan: HarborPlan) -> bool:
        """Whether the plan is still the same: if not, the command runs in any case."""
        return transport.environment(plan, self.repairs) == self.environment


def recorded(outputs: Mapping[str, object]) -> Recorded | None:
    """What the state has, by the outputs of a command; None for a command of another kind."""
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
    """What the next update would refuse, or else put right, in words; nothing where all is well.

    Args:
        plan: of the stack, and of its last update.
        found: what Harbor has.
        settings: what `harbor.setting_steps` wants of each of the stack's projects.
        made: names of the projects that the last update has called the stack's own.
    """
    if refused := refusals.refusals(plan, found):
        return refused
    missing = [one for one in plan.projects if found.project(one.name) is None]
    there = replace(plan, projects=tuple(one for one in plan.projects if one not in missing))
    steps = [
        *reconcile.endpoint_steps(plan, found, passwords=False),
        *reconcile.project_steps(there, found),
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
