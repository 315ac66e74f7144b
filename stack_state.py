"""Reads from the engine what is already in the stack's state; nothing else does.

The engine has it before the program declares anything, and no further connection is needed: it is
the call behind stack references, with which programs read the outputs of other stacks.
"""

import time
from typing import Any

import pulumi

from plan import ownership
from plan.ownership import Recorded

READ_STATE = "pulumi:pulumi:readStackResourceOutputs"
# The organization's name in backends that have no organizations.
NO_ORGANIZATION = "organization"
# The error while the engine writes the same state. It replaces the state file atomically, but not
# the attributes file that its storage library keeps next to it; reading half of that fails so.
BEING_WRITTEN = "EOF"
RETRY_FOR_SECONDS = 10.0
RETRY_EVERY_SECONDS = 0.05


def read(stack: str) -> Recorded:
    """What this stack's state records of the stack's own resources.

    Raises:
        pulumi.RunError: the engine can't read it.
    """
    resources = _resources(_name(stack))
    return ownership.recorded(
        (resource["type"], {**(resource.get("outputs") or {}), "urn": urn})
        for urn, resource in resources.items()
    )


def _resources(name: str) -> dict[str, Any]:
    """URN -> type and outputs of every resource in the state."""
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
    """The name as the engine expects it: with the organization unless that is the default."""
    organization = pulumi.get_organization()
    if not organization or organization == NO_ORGANIZATION:
        return stack
    return f"{organization}/{pulumi.get_project()}/{stack}"
