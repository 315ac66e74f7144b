"""What the stack's state holds already, as the engine tells it; the only place that asks.

The engine knows it before the program declares anything, and tells it without another connection:
by the same call it answers programs that read the outputs of other stacks.
"""

import time
from typing import Any

import pulumi

from plan import ownership
from plan.ownership import Recorded

READ_STATE = "pulumi:pulumi:readStackResourceOutputs"
# The organization's name where state is not kept by a service that has some.
NO_ORGANIZATION = "organization"
# The engine is writing the very same state. It replaces it in one step, but not the attributes that
# its storage library keeps beside it, and reading those half written ends in this.
BEING_WRITTEN = "EOF"
RETRY_FOR_SECONDS = 10.0
RETRY_EVERY_SECONDS = 0.05


def read(stack: str) -> Recorded:
    """What the state of this stack knows of its own.

    Raises:
        pulumi.RunError: the engine can't read it.
    """
    resources = _asked(_name(stack))
    return ownership.recorded(
        (one["type"], {**(one.get("outputs") or {}), "urn": urn}) for urn, one in resources.items()
    )


def _asked(name: str) -> dict[str, Any]:
    """URN -> type and outputs of all that the state has."""
    deadline = time.monotonic() + RETRY_FOR_SECONDS
    while True:
        try:
            answer = pulumi.runtime.invoke(READ_STATE, {"stackName": name})
        except Exception as error:
            if BEING_WRITTEN not in str(error) or time.monotonic() > deadline:
                text = f"the engine can't read this stack's own state: {error}"
                raise pulumi.RunError(text) from error
            time.sleep(RETRY_EVERY_SECONDS)
        else:
            outputs: dict[str, Any] = answer.value["outputs"]
            return outputs


def _name(stack: str) -> str:
    """As the engine wants it: with its organization where that is not the user's usual one."""
    organization = pulumi.get_organization()
    if not organization or organization == NO_ORGANIZATION:
        return stack
    return f"{organization}/{pulumi.get_project()}/{stack}"
