"""Makes, updates and removes what a stack wants of a Harbor; told as JSON on standard output.

What a run has made it removes again when it fails. Whose something is stands in its description in
Harbor itself, so that a later run finds what a killed one has left.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import quote

from host.errors import TalosCacheError
from ops.cluster.supervisor import say
from ops.errors import OpsError
from ops.harbor.client import Client, HarborError
from plan.harbor import cleanup, desired, inventory, refusals, transport
from plan.harbor import reconcile as plans
from plan.harbor.desired import HarborPlan
from plan.harbor.inventory import Found, Json
from plan.harbor.reconcile import Step
from plan.problems import listed

# Harbor asks the upstream itself, and says 400 where that is "unhealthy", 500 where Docker Hub does
# not take the credentials.
SICK = (400, 500)
# How Harbor answers for a retention policy that is gone, and how long after 500 it is asked again:
# that may be a failure that passes, and what is gone is made anew.
NO_RETENTION = (404, 500)
AGAIN_SECONDS = 2.0
PREVIOUS_VARIABLE = "PULUMI_COMMAND_STDOUT"
Made = dict[str, Any]


def main(command: str) -> int:
    """Run one command; returns the exit status."""
    plan = transport.read(os.environ, sys.stdin.readline())
    previous: Made = json.loads(os.environ.get(PREVIOUS_VARIABLE) or "{}")
    try:
        with Client(plan.url, plan.username, plan.password, plan.ca_pem, plan.secrets) as harbor:
            made = COMMANDS[command](harbor, plan, previous)
    except TalosCacheError as error:
        say(f"{command} of the projects in Harbor failed: {error}")
        return 1
    if made:
        print(json.dumps(made))
    return 0


def bring_about(harbor: Client, plan: HarborPlan, previous: Made) -> Made:
    """Make what is missing, bring this stack's own up to date, remove what it wants no more.

    Raises:
        OpsError: it can't be done; what this run has made is gone again.
    """
    found = look(harbor, plan)
    if texts := refusals.refusals(plan, found):
        raise OpsError(f"nothing was changed.\n{listed(texts)}")
    undo: list[Step] = []
    try:
        _run(harbor, plans.endpoint_steps(plan, found), undo)
        found = look(harbor, plan)
        _run(harbor, plans.project_steps(plan, found), undo)
        found = look(harbor, plan)
        for project in ours(plan, found):
            _run(harbor, setting_steps(harbor, plan, project), undo)
        _run(harbor, plans.robot_steps(plan, found), undo)
        found = look(harbor, plan)
        _check_robot(plan, found)
        if (secret := plans.secret_step(plan, found)) is not None:
            _run(harbor, [secret], undo)
    except BaseException:
        _undo(harbor, undo)
        raise
    _remove(harbor, plan, found, wanted={one.name for one in plan.projects}, previous=previous)
    return plans.made(plan, found)


def delete(harbor: Client, plan: HarborPlan, previous: Made) -> None:
    """Remove what this stack has made, and nothing of anybody else's."""
    found = look(harbor, plan)
    for robot in found.robots:
        if inventory.is_ours(plan, robot):
            what = f"the robot account {robot['name']}"
            path = f"/robots/{robot['id']}"
            _run(harbor, [Step(does="delete", what=what, method="DELETE", path=path)], [])
    _remove(harbor, plan, found, wanted=(), previous=previous)


COMMANDS: dict[str, Callable[[Client, HarborPlan, Made], Made | None]] = {
    "create": bring_about,
    "update": bring_about,
    "delete": delete,
}


def look(harbor: Client, plan: HarborPlan) -> Found:
    """What Harbor has.

    The endpoints come first: they are for administrators only, while a list of projects just leaves
    out for others what is private.
    """
    registries = harbor.all("/registries")
    prefix = desired.DEFAULT_ROBOT_PREFIX
    if plan.robot:
        prefix = harbor.get("/configurations").get("robot_name_prefix", {}).get("value", prefix)
    return Found(
        registries=registries,
        projects=harbor.all("/projects"),
        robots=harbor.all("/robots"),
        robot_prefix=prefix,
    )


def ours(plan: HarborPlan, found: Found) -> list[Json]:
    """The plan's projects that this stack has made."""
    there = (found.project(wanted.name) for wanted in plan.projects)
    return [one for one in there if one is not None and inventory.owns(plan, found, one)]


def setting_steps(harbor: Client, plan: HarborPlan, project: Json) -> tuple[Step, ...]:
    """What the retention and the quota of one of the stack's projects need."""
    number = inventory.retention_id(project)
    retention = _retention(harbor, f"/retentions/{number}") if number else None
    quotas = harbor.all("/quotas", reference="project", reference_id=str(project["project_id"]))
    return plans.setting_steps(plan, project, retention, quotas[0] if quotas else None)


def _retention(harbor: Client, path: str) -> Json | None:
    """A retention policy; None where it is gone, as Harbor says twice."""
    found: Json | None = harbor.found(path, NO_RETENTION)
    if found is None:
        time.sleep(AGAIN_SECONDS)
        found = harbor.found(path, NO_RETENTION)
    return found


def _check_robot(plan: HarborPlan, found: Found) -> None:
    """It is made under a short name, and nodes use the whole one."""
    if plan.robot and plan.robot not in {one["name"] for one in found.robots}:
        own = [one["name"] for one in found.robots if inventory.is_ours(plan, one)]
        raise OpsError(
            f"Harbor calls the robot account {', '.join(own)}, not {plan.robot}: write that name "
            "as harbor.robot"
        )


def _run(harbor: Client, steps: Iterable[Step], undo: list[Step]) -> None:
    """Run steps; what undoes those that make something is put in front of `undo`."""
    for step in steps:
        say(f"  {step.does} {step.what}")
        try:
            made = harbor.do(step)
        except HarborError as error:
            if step.path.startswith("/registries") and step.body and error.status in SICK:
                raise HarborError(_upstream_is_sick(step.body, error), error.status) from error
            raise
        if made is not None:
            path = f"{step.path}/{made}"
            undo.insert(0, Step(does="delete", what=step.what, method="DELETE", path=path))


def _upstream_is_sick(endpoint: Json, error: HarborError) -> str:
    return (
        f"{error}\nHarbor itself can't use {endpoint['url']}: either it does not get there (its "
        "proxy, its DNS), or the user name and the password for it (credentials) are wrong"
    )


def _undo(harbor: Client, steps: Iterable[Step]) -> None:
    """Remove what this run has made, the last first; what can't be removed is named."""
    for step in steps:
        say(f"  again without {step.what}")
        try:
            harbor.do(step)
        except HarborError as error:
            say(f"  {step.what} stays: {error}")


def _remove(
    harbor: Client, plan: HarborPlan, found: Found, wanted: Iterable[str], previous: Made
) -> None:
    """Remove this stack's projects and endpoints, but for those that the plan wants."""
    before = {one["project"] for one in previous.get("projects", {}).values()}
    known = {*before, *(one.name for one in plan.projects)}
    stay = frozenset(wanted)
    for removal in cleanup.removals(plan, found, stay, known):
        for project in removal.projects:
            _remove_project(harbor, project)
        if removal.stays:
            say(f"  {removal.told}")
            continue
        path = f"/registries/{removal.registry['id']}"
        _run(harbor, [Step(does="delete", what=removal.what, method="DELETE", path=path)], [])
    for name in cleanup.given_up(plan, found, plans.made_before(previous) - stay):
        say(f"  the project {name} stays: {cleanup.GIVEN_UP}")


def _remove_project(harbor: Client, project: Json) -> None:
    """Remove what a project holds, which Harbor wants gone first, and the project."""
    name = project["name"]
    repositories = harbor.all(f"/projects/{name}/repositories")
    steps = [
        Step(
            does="delete",
            what=f"the repository {one['name']}",
            method="DELETE",
            path=repository_path(name, one["name"].removeprefix(f"{name}/")),
        )
        for one in repositories
    ]
    path = f"/projects/{project['project_id']}"
    steps.append(Step(does="delete", what=f"the project {name}", method="DELETE", path=path))
    _run(harbor, steps, [])


def repository_path(project: str, repository: str) -> str:
    """Path of a repository; Harbor wants its slashes encoded twice over."""
    encoded = quote(quote(repository, safe=""), safe="")
    return f"/projects/{project}/repositories/{encoded}"
