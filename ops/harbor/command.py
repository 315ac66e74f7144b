"""Creates, updates and removes what a stack needs in a Harbor; prints it as JSON.

A run that fails removes what it has created. Descriptions in Harbor itself say whose something is,
so that a later run finds what a killed one has left.
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

# Harbor tries the upstream itself, and answers 400 if that is "unhealthy", 500 if Docker Hub does
# not accept the credentials.
UNHEALTHY = (400, 500)
# Harbor's answers for a retention policy that is gone, and how long until a second request: 500 may
# be a temporary failure, and a policy that is gone is recreated.
NO_RETENTION = (404, 500)
AGAIN_SECONDS = 2.0
PREVIOUS_VARIABLE = "PULUMI_COMMAND_STDOUT"
Output = dict[str, Any]


def main(command: str) -> int:
    """Run one command; returns the exit status."""
    plan = transport.read(os.environ, sys.stdin.readline())
    previous: Output = json.loads(os.environ.get(PREVIOUS_VARIABLE) or "{}")
    try:
        with Client(plan.url, plan.username, plan.password, plan.ca_pem, plan.secrets) as harbor:
            output = COMMANDS[command](harbor, plan, previous)
    except TalosCacheError as error:
        say(f"{command} of the projects in Harbor failed: {error}")
        return 1
    if output:
        print(json.dumps(output))
    return 0


def bring_about(harbor: Client, plan: HarborPlan, previous: Output) -> Output:
    """Create what is missing, update what is this stack's, remove what it no longer needs.

    Raises:
        OpsError: it can't be done; what this run has created is removed again.
    """
    existing = look(harbor, plan)
    if texts := refusals.refusals(plan, existing):
        raise OpsError(f"nothing was changed.\n{listed(texts)}")
    undo: list[Step] = []
    try:
        _run(harbor, plans.endpoint_steps(plan, existing), undo)
        existing = look(harbor, plan)
        _run(harbor, plans.project_steps(plan, existing), undo)
        existing = look(harbor, plan)
        for project in ours(plan, existing):
            _run(harbor, setting_steps(harbor, plan, project), undo)
        _run(harbor, plans.robot_steps(plan, existing), undo)
        existing = look(harbor, plan)
        _check_robot(plan, existing)
        if (secret := plans.secret_step(plan, existing)) is not None:
            _run(harbor, [secret], undo)
    except BaseException:
        _undo(harbor, undo)
        raise
    _remove(
        harbor, plan, existing, keep={project.name for project in plan.projects}, previous=previous
    )
    return plans.made(plan, existing)


def delete(harbor: Client, plan: HarborPlan, previous: Output) -> None:
    """Remove what this stack has created, and nothing else."""
    existing = look(harbor, plan)
    for robot in existing.robots:
        if inventory.is_ours(plan, robot):
            what = f"the robot account {robot['name']}"
            path = f"/robots/{robot['id']}"
            _run(harbor, [Step(does="delete", what=what, method="DELETE", path=path)], [])
    _remove(harbor, plan, existing, keep=(), previous=previous)


COMMANDS: dict[str, Callable[[Client, HarborPlan, Output], Output | None]] = {
    "create": bring_about,
    "update": bring_about,
    "delete": delete,
}


def look(harbor: Client, plan: HarborPlan) -> Found:
    """What Harbor has.

    The endpoints come first: only administrators may list them, while the list of projects just
    leaves out what a user may not see.
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


def ours(plan: HarborPlan, existing: Found) -> list[Json]:
    """The plan's projects that this stack has created."""
    projects = (existing.project(planned.name) for planned in plan.projects)
    return [one for one in projects if one is not None and inventory.owns(plan, existing, one)]


def setting_steps(harbor: Client, plan: HarborPlan, project: Json) -> tuple[Step, ...]:
    """The steps for the retention and the quota of one of the stack's projects."""
    number = inventory.retention_id(project)
    retention = _retention(harbor, f"/retentions/{number}") if number else None
    quotas = harbor.all("/quotas", reference="project", reference_id=str(project["project_id"]))
    return plans.setting_steps(plan, project, retention, quotas[0] if quotas else None)


def _retention(harbor: Client, path: str) -> Json | None:
    """A retention policy; None if it is gone, by two answers of Harbor's."""
    retention: Json | None = harbor.find(path, NO_RETENTION)
    if retention is None:
        time.sleep(AGAIN_SECONDS)
        retention = harbor.find(path, NO_RETENTION)
    return retention


def _check_robot(plan: HarborPlan, existing: Found) -> None:
    """Check its full name, which nodes use: it is created by a short one."""
    if plan.robot and plan.robot not in {robot["name"] for robot in existing.robots}:
        own = [robot["name"] for robot in existing.robots if inventory.is_ours(plan, robot)]
        raise OpsError(
            f"Harbor calls the robot account {', '.join(own)}, not {plan.robot}: set harbor.robot "
            "to that name"
        )


def _run(harbor: Client, steps: Iterable[Step], undo: list[Step]) -> None:
    """Run steps; what undoes those that create something is put in front of `undo`."""
    for step in steps:
        say(f"  {step.does} {step.what}")
        try:
            number = harbor.do(step)
        except HarborError as error:
            if step.path.startswith("/registries") and step.body and error.status in UNHEALTHY:
                raise HarborError(_upstream_fails(step.body, error), error.status) from error
            raise
        if number is not None:
            path = f"{step.path}/{number}"
            undo.insert(0, Step(does="delete", what=step.what, method="DELETE", path=path))


def _upstream_fails(endpoint: Json, error: HarborError) -> str:
    return (
        f"{error}\nHarbor itself can't use {endpoint['url']}: either it can't connect (its proxy, "
        "its DNS), or the user name and password for it (credentials) are wrong"
    )


def _undo(harbor: Client, steps: Iterable[Step]) -> None:
    """Remove what this run has created, the last first; what can't be removed is named."""
    for step in steps:
        say(f"  undo: {step.does} {step.what}")
        try:
            harbor.do(step)
        except HarborError as error:
            say(f"  {step.what} stays: {error}")


def _remove(
    harbor: Client, plan: HarborPlan, existing: Found, keep: Iterable[str], previous: Output
) -> None:
    """Remove this stack's projects and endpoints, except those that the plan wants."""
    before = {one["project"] for one in previous.get("projects", {}).values()}
    known = {*before, *(one.name for one in plan.projects)}
    stay = frozenset(keep)
    for removal in cleanup.removals(plan, existing, stay, known):
        for project in removal.projects:
            _remove_project(harbor, project)
        if removal.stays:
            say(f"  {removal.told}")
            continue
        path = f"/registries/{removal.registry['id']}"
        _run(harbor, [Step(does="delete", what=removal.what, method="DELETE", path=path)], [])
    for name in cleanup.given_up(plan, existing, plans.made_before(previous) - stay):
        say(f"  the project {name} stays: {cleanup.GIVEN_UP}")


def _remove_project(harbor: Client, project: Json) -> None:
    """Remove a project's repositories, which Harbor requires first, and the project."""
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
    """Path of a repository; Harbor requires its slashes to be encoded twice."""
    encoded = quote(quote(repository, safe=""), safe="")
    return f"/projects/{project}/repositories/{encoded}"
