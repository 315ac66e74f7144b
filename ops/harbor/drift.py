"""Checks whether Harbor is still as a stack's last update left it; changes nothing there."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from ops.errors import OpsError
from ops.harbor import access, command
from ops.harbor.client import Client
from plan.harbor import drift
from plan.harbor.desired import HarborPlan
from plan.harbor.drift import Recorded
from plan.harbor.inventory import Found, is_ours
from plan.harbor.reconcile import RefusalError, Step
from plan.problems import listed


@dataclass(frozen=True, kw_only=True)
class Look:
    """The result of that check.

    Attributes:
        repairs: how often something had to be repaired, this time included.
        warning: what differs, or why that is not known; None if nothing does.
    """

    repairs: int = 0
    warning: str | None = None


def look(plan: HarborPlan, recorded: Recorded | None) -> Look:
    """Whether the command has to run again although its plan has not changed.

    Args:
        plan: of the stack.
        recorded: what the state has of the command; None if it has not run yet.
    """
    if recorded is None:
        return Look()
    if not recorded.is_of(plan):
        return Look(repairs=recorded.repairs)  # the command runs, and checks for itself
    try:
        differences = _differences(plan, recorded)
    except OpsError as error:
        text = f"could not check whether Harbor is still as this stack left it: {error}"
        return Look(repairs=recorded.repairs, warning=text)
    if not differences:
        return Look(repairs=recorded.repairs)
    text = f"Harbor at {plan.url} is not as this stack left it; up repairs it, or says why not:"
    return Look(repairs=recorded.repairs + 1, warning=f"{text}\n{listed(differences)}")


def _differences(plan: HarborPlan, recorded: Recorded) -> tuple[str, ...]:
    """What differs; settings that this Harbor does not support are reported by the update."""
    # A preview waits for it, so not as long as an update does.
    with Client(
        plan.url, plan.username, plan.password, plan.ca_pem, plan.secrets, access.TIMEOUT
    ) as harbor:
        existing = command.look(harbor, plan)
        try:
            settings = _settings(harbor, plan, existing)
        except RefusalError as error:
            return (str(error),)
    texts = drift.differences(plan, existing, settings, recorded.made)
    return (*texts, *_robot_is_another(plan, existing))


def _settings(harbor: Client, plan: HarborPlan, existing: Found) -> list[Step]:
    with ThreadPoolExecutor(max_workers=access.AT_ONCE) as pool:
        of_each = pool.map(
            lambda project: command.setting_steps(harbor, plan, project),
            command.ours(plan, existing),
        )
        return [step for steps in of_each for step in steps]


def _robot_is_another(plan: HarborPlan, existing: Found) -> tuple[str, ...]:
    """Harbor never shows a robot account's secret, but says whether it accepts one."""
    robot = next((robot for robot in existing.robots if robot["name"] == plan.robot), None)
    if not is_ours(plan, robot) or (robot or {}).get("disable"):
        return ()
    if access.knows(plan.url, plan.robot, plan.robot_secret, plan.ca_pem):
        return ()
    return (f"the robot account {plan.robot} has another secret",)
