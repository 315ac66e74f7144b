"""What the stack's state holds already, as the engine tells it; the only place that asks.

The engine knows it before the program declares anything, and tells it without another connection:
by the same call it answers programs that read the outputs of other stacks.
"""

import pulumi

from plan import ownership
from plan.ownership import Recorded

READ_STATE = "pulumi:pulumi:readStackResourceOutputs"
# The organization's name where state is not kept by a service that has some.
NO_ORGANIZATION = "organization"


def read(stack: str) -> Recorded:
    """What the state of this stack knows of its own.

    Raises:
        pulumi.RunError: the engine can't read it.
    """
    try:
        answer = pulumi.runtime.invoke(READ_STATE, {"stackName": _name(stack)})
    except Exception as error:
        raise pulumi.RunError(f"the engine can't read this stack's own state: {error}") from error
    resources = answer.value["outputs"].values()
    return ownership.recorded((one["type"], one.get("outputs") or {}) for one in resources)


def _name(stack: str) -> str:
    """As the engine wants it: with its organization where that is not the user's usual one."""
    organization = pulumi.get_organization()
    if not organization or organization == NO_ORGANIZATION:
        return stack
    return f"{organization}/{pulumi.get_project()}/{stack}"
