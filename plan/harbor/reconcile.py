"""Harbor as the caching registry: the steps from what it has to what a stack needs.

Everything here works on Harbor's own JSON objects and returns requests for its REST API, v2.0
(`api/v2.0/swagger.yaml` of goharbor/harbor, and the handlers behind it), without sending them.
Comments on Harbor's behaviour are based on the code of v2.8 to v2.16.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from host.errors import TalosCacheError
from plan.harbor.desired import HarborPlan, HarborProject, mirror_url
from plan.harbor.inventory import (
    Found,
    Json,
    id_of,
    is_ours,
    is_public,
    named,
    owns,
    plain,
    retention_id,
    username,
)

_UNLIMITED = -1
_FOR_EVER = -1
_DAILY = "0 0 0 * * *"  # seconds first, as Harbor's scheduler has it
_TEMPLATES = ("nDaysSinceLastPull", "nDaysSinceLastPush")


class RefusalError(TalosCacheError):
    """Harbor has something that this stack must not change; says what, and what to do."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """One request that makes a change.

    Attributes:
        does: "create", "update" or "delete".
        what: it changes, for messages.
        method: of the request.
        path: below `/api/v2.0`.
        body: of the request; may contain secrets.
        differs: why the change is needed, if the other fields don't tell.
    """

    does: str
    what: str
    method: str
    path: str
    body: Json | None = field(default=None, repr=False)
    differs: str = ""


def endpoint_steps(plan: HarborPlan, found: Found, *, passwords: bool = True) -> tuple[Step, ...]:
    """Create missing registry endpoints, and update this stack's own.

    Args:
        plan: of the stack.
        found: what Harbor has.
        passwords: write every password too, as Harbor doesn't show the present one.
    """
    steps = []
    for project in plan.projects:
        endpoint = _endpoint(project, found)
        what = f"the registry endpoint {project.registry_name}"
        if endpoint is None:
            body = _new_endpoint(plan, project)
            steps.append(
                Step(does="create", what=what, method="POST", path="/registries", body=body)
            )
        elif is_ours(plan, endpoint) and (
            (passwords and project.password) or _endpoint_differs(project, endpoint)
        ):
            path = f"/registries/{endpoint['id']}"
            body = _changed_endpoint(project)
            steps.append(Step(does="update", what=what, method="PUT", path=path, body=body))
    return tuple(steps)


def project_steps(plan: HarborPlan, found: Found) -> tuple[Step, ...]:
    """Create missing projects, and update this stack's own.

    Args:
        plan: of the stack.
        found: with every endpoint of the plan.
    """
    steps = []
    public = {"public": json.dumps(plan.public)}
    for project in plan.projects:
        existing = found.project(project.name)
        what = f"the project {project.name}"
        if existing is None:
            body = {
                "project_name": project.name,
                "registry_id": id_of(found.registries, project.registry_name),
                "storage_limit": _quota(plan),
                "metadata": public,
            }
            steps.append(Step(does="create", what=what, method="POST", path="/projects", body=body))
        elif owns(plan, found, existing) and is_public(existing) != plan.public:
            path = f"/projects/{existing['project_id']}"
            body = {"metadata": public}
            steps.append(Step(does="update", what=what, method="PUT", path=path, body=body))
    return tuple(steps)


def setting_steps(
    plan: HarborPlan, project: Json, retention: Json | None, quota: Json | None
) -> tuple[Step, ...]:
    """Update retention and quota of one of this stack's projects.

    Args:
        plan: of the stack.
        project: as Harbor has it.
        retention: its policy, if it has one; a project may refer to a policy that is gone. Harbor
            gives every new proxy cache one of seven days.
        quota: of the project; None if this Harbor has no project quotas.

    Raises:
        RefusalError: a quota is wanted, and this Harbor has none.
    """
    return (*_retention_steps(plan, project, retention), *_quota_steps(plan, project, quota))


def robot_steps(plan: HarborPlan, found: Found) -> tuple[Step, ...]:
    """Create or update the robot, and delete other robots of this stack.

    Args:
        plan: of the stack.
        found: with every project of the plan.
    """
    existing = named(found.robots, plan.robot) if plan.robot else None
    obsolete = [one for one in found.robots if is_ours(plan, one) and one is not existing]
    deletions = [
        Step(
            does="delete",
            what=f"the robot account {one['name']}",
            method="DELETE",
            path=f"/robots/{one['id']}",
        )
        for one in obsolete
    ]
    if not plan.robot:
        return tuple(deletions)
    desired = {
        "description": plan.mark,
        "level": "system",
        "duration": _FOR_EVER,
        "disable": False,
        "permissions": [_pull_from(project.name) for project in plan.projects],
    }
    what = f"the robot account {plan.robot}"
    if existing is None:
        short = plan.robot.removeprefix(found.robot_prefix)
        body = {"name": short, **desired}
        creation = Step(does="create", what=what, method="POST", path="/robots", body=body)
        return (*deletions, creation)
    if _robot(existing) == _robot(desired):
        return tuple(deletions)
    path = f"/robots/{existing['id']}"
    body = {"id": existing["id"], "name": plan.robot, **desired}
    return (*deletions, Step(does="update", what=what, method="PUT", path=path, body=body))


def secret_step(plan: HarborPlan, found: Found) -> Step | None:
    """Set the robot's secret, which Harbor doesn't show; None without a robot."""
    if not plan.robot:
        return None
    number = id_of(found.robots, plan.robot)
    return Step(
        does="update",
        what=f"the secret of {plan.robot}",
        method="PATCH",
        path=f"/robots/{number}",
        body={"secret": plan.robot_secret},
    )


def made_before(printed: Json) -> frozenset[str]:
    """Names of the projects that a run called the stack's own, from the outputs of `made`."""
    projects = printed.get("projects", {}).values()
    return frozenset(one["project"] for one in projects if one["made"])


def made(plan: HarborPlan, found: Found) -> dict[str, Any]:
    """What exists now, for the stack's outputs and the next run; without secrets and IDs."""
    return {
        "url": plan.url,
        "robot": plan.robot,
        "projects": {
            project.host: {
                "project": project.name,
                "mirror": mirror_url(plan.url, project.name),
                "made": (existing := found.project(project.name)) is not None
                and owns(plan, found, existing),
            }
            for project in plan.projects
        },
    }


def _new_endpoint(plan: HarborPlan, project: HarborProject) -> Json:
    body: dict[str, Any] = {
        "name": project.registry_name,
        "type": project.registry_type,
        "url": project.remote_url,
        "insecure": False,
        "description": plan.mark,
    }
    if project.username:
        body["credential"] = {
            "type": "basic",
            "access_key": project.username,
            "access_secret": project.password,
        }
    return body


def _changed_endpoint(project: HarborProject) -> Json:
    # Always with the secret: Harbor forgets it if only the URL changes.
    return {
        "name": project.registry_name,
        "url": project.remote_url,
        "insecure": False,
        "credential_type": "basic",
        "access_key": project.username,
        "access_secret": project.password,
    }


def _endpoint(project: HarborProject, found: Found) -> Json | None:
    """The endpoint of a project, found through the project if it exists: names may change."""
    if existing := found.project(project.name):
        return found.registry(existing.get("registry_id"))
    return named(found.registries, project.registry_name)


def _endpoint_differs(project: HarborProject, endpoint: Json) -> bool:
    """Whether an endpoint differs from the plan, in what Harbor shows of it."""
    return (
        endpoint["name"],
        plain(endpoint["url"]),
        username(endpoint),
        bool(endpoint.get("insecure")),
    ) != (project.registry_name, plain(project.remote_url), project.username, False)


def _retention_steps(plan: HarborPlan, project: Json, existing: Json | None) -> Iterator[Step]:
    what = f"the retention of the project {project['name']}"
    if existing is None and retention_id(project):
        # As long as the project refers to one, Harbor creates no other.
        path = f"/projects/{project['project_id']}/metadatas/retention_id"
        yield Step(
            does="delete",
            what=f"{what} that no longer exists",
            method="DELETE",
            path=path,
            differs=f"the project {project['name']} refers to a retention policy that is gone",
        )
    if plan.retention_days is None:
        if existing is not None:
            path = f"/retentions/{existing['id']}"
            yield Step(does="delete", what=what, method="DELETE", path=path)
        return
    desired = _retention(plan.retention_days, project["project_id"])
    if existing is None:
        yield Step(does="create", what=what, method="POST", path="/retentions", body=desired)
    elif _normal(existing) != _normal(desired):
        body = {"id": existing["id"], **desired}
        path = f"/retentions/{existing['id']}"
        yield Step(does="update", what=what, method="PUT", path=path, body=body)


def _quota_steps(plan: HarborPlan, project: Json, quota: Json | None) -> Iterator[Step]:
    if quota is None:
        if plan.quota_bytes is not None:
            raise RefusalError(
                f"the project {project['name']} can't have a quota: project quotas are disabled in "
                "this Harbor. Enable them in Harbor's configuration (quota per project), or remove "
                "harbor.quota from the stack file"
            )
        return
    if quota["hard"].get("storage") != _quota(plan):
        yield Step(
            does="update",
            what=f"the quota of the project {project['name']}",
            method="PUT",
            path=f"/quotas/{quota['id']}",
            body={"hard": {"storage": _quota(plan)}},
        )


def _quota(plan: HarborPlan) -> int:
    return _UNLIMITED if plan.quota_bytes is None else plan.quota_bytes


def _pull_from(project: str) -> Json:
    access = [{"resource": "repository", "action": "pull"}]
    return {"kind": "project", "namespace": project, "access": access}


def _robot(robot: Json) -> tuple[object, ...]:
    """The fields of a robot to compare: the order of permissions varies."""
    allowed = {
        (one.get("kind"), one.get("namespace"), access.get("resource"), access.get("action"))
        for one in robot.get("permissions") or ()
        for access in one.get("access") or ()
    }
    return robot.get("duration"), bool(robot.get("disable")), allowed


def _retention(days: int, project: int) -> Json:
    """Keep what was pulled or pushed within these days; runs daily."""
    everything = {"kind": "doublestar", "pattern": "**"}
    return {
        "algorithm": "or",
        "rules": [
            {
                "disabled": False,
                "action": "retain",
                "template": template,
                "params": {template: days},
                "tag_selectors": [{**everything, "decoration": "matches"}],
                "scope_selectors": {"repository": [{**everything, "decoration": "repoMatches"}]},
            }
            for template in _TEMPLATES
        ],
        "trigger": {"kind": "Schedule", "settings": {"cron": _DAILY}},
        "scope": {"level": "project", "ref": project},
    }


def _normal(policy: Json) -> tuple[object, ...]:
    """The fields of a retention policy to compare; Harbor adds IDs and empty fields.

    Anyone may have written it, so any part may be missing.
    """
    rules = {
        (
            bool(rule.get("disabled")),
            rule.get("template"),
            (rule.get("params") or {}).get(rule.get("template")),
            _selectors(rule.get("tag_selectors")),
            _selectors((rule.get("scope_selectors") or {}).get("repository")),
        )
        for rule in policy.get("rules") or ()
    }
    trigger = policy.get("trigger") or {}
    cron = (trigger.get("settings") or {}).get("cron")
    return policy.get("algorithm"), rules, trigger.get("kind"), cron


def _selectors(selectors: Sequence[Json] | None) -> tuple[tuple[object, ...], ...]:
    return tuple(
        (one.get("decoration"), one.get("pattern"), one.get("extras") or "")
        for one in selectors or ()
    )
