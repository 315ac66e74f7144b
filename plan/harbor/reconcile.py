"""Harbor as the caching registry: what a stack wants there, and what has to be done for it.

Everything here works on Harbor's own JSON objects and gives requests of its REST API, v2.0
(`api/v2.0/swagger.yaml` of goharbor/harbor, and the handlers behind it); nobody is asked. What is
said of Harbor's behaviour was read in v2.8 to v2.16.
"""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from plan.harbor.desired import DEFAULT_ROBOT_PREFIX, NAME, HarborPlan, HarborProject, mirror_url

_UNLIMITED = -1
_FOR_EVER = -1
_DAILY = "0 0 0 * * *"  # seconds first, as Harbor's scheduler has it
_TEMPLATES = ("nDaysSinceLastPull", "nDaysSinceLastPush")
GIVEN_UP = "the description of its registry endpoint no longer says that this stack made it"
Json = Mapping[str, Any]


class RefusalError(Exception):
    """Harbor has something that this stack must not change; the text says what, and the way out."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a Harbor has.

    Attributes:
        registries: every registry endpoint.
        projects: every project.
        robots: every robot account of system level; empty where none is wanted or known.
        robot_prefix: what this Harbor puts before the names of its robots.
    """

    registries: tuple[Json, ...] = ()
    projects: tuple[Json, ...] = ()
    robots: tuple[Json, ...] = ()
    robot_prefix: str = DEFAULT_ROBOT_PREFIX

    def project(self, name: str) -> Json | None:
        """The project of this name."""
        return _named(self.projects, name)

    def registry(self, number: object) -> Json | None:
        """The registry endpoint with this id."""
        return next((one for one in self.registries if one["id"] == number), None)


@dataclass(frozen=True, kw_only=True)
class Step:
    """One request that changes something.

    Attributes:
        does: "create", "update" or "delete".
        what: is concerned, in words.
        method: of the request.
        path: below `/api/v2.0`.
        body: of the request; it may hold secrets.
        differs: what Harbor has that makes it needed, where that is not said by the rest.
    """

    does: str
    what: str
    method: str
    path: str
    body: Json | None = field(default=None, repr=False)
    differs: str = ""


@dataclass(frozen=True, kw_only=True)
class Removal:
    """What becomes of one registry endpoint of this stack, and of the projects on it.

    Attributes:
        registry: the endpoint.
        projects: to remove, with all that they hold, before the endpoint.
        stays: why the endpoint stays after that; empty if it goes.
    """

    registry: Json
    projects: tuple[Json, ...]
    stays: str = ""

    @property
    def what(self) -> str:
        """The endpoint, in words."""
        return f"the registry endpoint {self.registry['name']}"

    @property
    def told(self) -> str:
        """That the endpoint stays, and why."""
        secret = ", with the credentials for its upstream" if _username(self.registry) else ""
        return f"{self.what} stays{secret}: {self.stays}"


def is_ours(plan: HarborPlan, thing: Json | None) -> bool:
    """Whether this stack made an endpoint or a robot."""
    return thing is not None and thing.get("description") == plan.mark


def retention_id(project: Json) -> str:
    """Number of a project's retention policy; empty where it has none."""
    return str(project.get("metadata", {}).get("retention_id") or "")


def owns(plan: HarborPlan, found: Found, project: Json) -> bool:
    """Whether this stack made a project: it belongs to whoever made its endpoint."""
    return is_ours(plan, found.registry(project.get("registry_id")))


def refusals(plan: HarborPlan, found: Found) -> tuple[str, ...]:
    """Why nothing may be done: what Harbor has under these names is not what the stack means."""
    texts = [text for project in plan.projects for text in _project_refusals(plan, project, found)]
    return tuple(texts + list(_robot_refusals(plan, found)))


def endpoint_steps(plan: HarborPlan, found: Found, *, passwords: bool = True) -> tuple[Step, ...]:
    """Make the registry endpoints that are missing, and bring this stack's own up to date.

    Args:
        plan: of the stack.
        found: what Harbor has.
        passwords: write every password too, as Harbor tells nobody what it is now.
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
    """Make the projects that are missing, and bring this stack's own up to date.

    Args:
        plan: of the stack.
        found: with every endpoint of the plan.
    """
    steps = []
    public = {"public": json.dumps(plan.public)}
    for project in plan.projects:
        there = found.project(project.name)
        what = f"the project {project.name}"
        if there is None:
            body = {
                "project_name": project.name,
                "registry_id": _id(found.registries, project.registry_name),
                "storage_limit": _quota(plan),
                "metadata": public,
            }
            steps.append(Step(does="create", what=what, method="POST", path="/projects", body=body))
        elif owns(plan, found, there) and _is_public(there) != plan.public:
            path = f"/projects/{there['project_id']}"
            body = {"metadata": public}
            steps.append(Step(does="update", what=what, method="PUT", path=path, body=body))
    return tuple(steps)


def setting_steps(
    plan: HarborPlan, project: Json, retention: Json | None, quota: Json | None
) -> tuple[Step, ...]:
    """Bring retention and quota of one of this stack's projects up to date.

    Args:
        plan: of the stack.
        project: as Harbor has it.
        retention: its policy, None for none; a policy may be gone that the project still names.
            Harbor gives every new proxy cache one of seven days.
        quota: of the project; None where this Harbor has none for projects.

    Raises:
        RefusalError: a quota is wanted, and this Harbor has none.
    """
    return (*_retention_steps(plan, project, retention), *_quota_steps(plan, project, quota))


def robot_steps(plan: HarborPlan, found: Found) -> tuple[Step, ...]:
    """Make the robot, bring it up to date, remove this stack's others.

    Args:
        plan: of the stack.
        found: with every project of the plan.
    """
    there = _named(found.robots, plan.robot) if plan.robot else None
    others = [one for one in found.robots if is_ours(plan, one) and one is not there]
    removed = [
        Step(
            does="delete",
            what=f"the robot account {one['name']}",
            method="DELETE",
            path=f"/robots/{one['id']}",
        )
        for one in others
    ]
    if not plan.robot:
        return tuple(removed)
    wanted = {
        "description": plan.mark,
        "level": "system",
        "duration": _FOR_EVER,
        "disable": False,
        "permissions": [_pull_from(project.name) for project in plan.projects],
    }
    what = f"the robot account {plan.robot}"
    if there is None:
        short = plan.robot.removeprefix(found.robot_prefix)
        body = {"name": short, **wanted}
        made = Step(does="create", what=what, method="POST", path="/robots", body=body)
        return (*removed, made)
    if _robot(there) == _robot(wanted):
        return tuple(removed)
    path = f"/robots/{there['id']}"
    body = {"id": there["id"], "name": plan.robot, **wanted}
    return (*removed, Step(does="update", what=what, method="PUT", path=path, body=body))


def secret_step(plan: HarborPlan, found: Found) -> Step | None:
    """Set the robot's secret; None without a robot. Harbor tells nobody what it is now."""
    if not plan.robot:
        return None
    number = _id(found.robots, plan.robot)
    return Step(
        does="update",
        what=f"the secret of {plan.robot}",
        method="PATCH",
        path=f"/robots/{number}",
        body={"secret": plan.robot_secret},
    )


def removals(
    plan: HarborPlan, found: Found, wanted: Collection[str], known: Collection[str]
) -> tuple[Removal, ...]:
    """What of this stack's goes.

    Args:
        plan: of the stack.
        found: what Harbor has.
        wanted: projects that stay in any case.
        known: projects that the stack has, or had just now, in its plan.

    On one of the stack's endpoints these are its own, and so is one with the endpoint's name, which
    is how it makes them: it may have been kept by a run of long ago, or by another state. Any other
    was put there by somebody else, and stays.
    """
    return tuple(
        removal
        for registry in found.registries
        if is_ours(plan, registry)
        and (removal := _removal(plan, found, registry, wanted, known)) is not None
    )


def given_up(plan: HarborPlan, found: Found, made_before: Collection[str]) -> tuple[str, ...]:
    """Projects that this stack has made, and whose endpoint says so no more.

    Whoever takes the mark out of an endpoint's description takes it over, with what is on it.

    Args:
        plan: of the stack.
        found: what Harbor has.
        made_before: names of projects that the last run has called its own.
    """
    there = ((name, found.project(name)) for name in made_before)
    return tuple(name for name, one in there if one is not None and not owns(plan, found, one))


def made_before(printed: Json) -> frozenset[str]:
    """Names of the projects that a run has called its own, by what `made` gave of it."""
    projects = printed.get("projects", {}).values()
    return frozenset(one["project"] for one in projects if one["made"])


def made(plan: HarborPlan, found: Found) -> dict[str, Any]:
    """What there is now, for the stack's outputs and for the next run; no secret, and no id."""
    return {
        "url": plan.url,
        "robot": plan.robot,
        "projects": {
            project.host: {
                "project": project.name,
                "mirror": mirror_url(plan.url, project.name),
                "made": (there := found.project(project.name)) is not None
                and owns(plan, found, there),
            }
            for project in plan.projects
        },
    }


def _project_refusals(plan: HarborPlan, project: HarborProject, found: Found) -> Iterator[str]:
    there = found.project(project.name)
    if there is None:
        endpoint = _named(found.registries, project.registry_name)
        if endpoint is not None and not is_ours(plan, endpoint):
            yield (
                f"the registry endpoint {project.registry_name}: it is there, and this stack did "
                f"not make it{_maker(endpoint)}. Rename or remove it in Harbor, or give the "
                "projects of this stack other names (harbor.projectPrefix)"
            )
        return
    differences = list(_differences(plan, project, there, found))
    if differences:
        yield (
            f"the project {project.name}: it is there, and it is another than this stack means: "
            f"{'; '.join(differences)}. Change that in Harbor, or give the projects of this stack "
            "other names (harbor.projectPrefix)"
        )


def _differences(
    plan: HarborPlan, project: HarborProject, there: Json, found: Found
) -> Iterator[str]:
    endpoint = found.registry(there.get("registry_id") or None)
    if endpoint is None:
        yield "it is no proxy cache"
        return
    if is_ours(plan, endpoint):
        if endpoint["type"] != project.registry_type:
            yield (
                f"its endpoint {endpoint['name']} is of type {endpoint['type']}, not "
                f"{project.registry_type}, which Harbor can't change"
            )
        return
    if _plain(endpoint["url"]) != _plain(project.remote_url):
        yield f"it caches {endpoint['url']}, not {project.remote_url}"
    if _is_public(there) != plan.public:
        words = {True: "public", False: "private"}
        yield f"it is {words[_is_public(there)]}, not {words[plan.public]}"
    if project.username and _username(endpoint) != project.username:
        yield "it asks the upstream as somebody else"


def _robot_refusals(plan: HarborPlan, found: Found) -> Iterator[str]:
    if not plan.robot:
        return
    there = _named(found.robots, plan.robot)
    if there is not None and not is_ours(plan, there):
        yield (
            f"the robot account {plan.robot}: it is there, and this stack did not make it"
            f"{_maker(there)}. Give the stack's robot another name (harbor.robot)"
        )
    prefix = found.robot_prefix
    if not plan.robot.startswith(prefix) or not NAME.fullmatch(plan.robot.removeprefix(prefix)):
        short = plan.robot.removeprefix(DEFAULT_ROBOT_PREFIX)
        example = short if NAME.fullmatch(short) else f"talos-{plan.stack.lower()}"
        yield (
            f"the robot account {plan.robot}: this Harbor's robots are called {prefix}NAME, the "
            f"name in small letters, digits, '.', '_' and '-'. Write {prefix}{example} as "
            "harbor.robot"
        )


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
    # The secret always goes with it: with another URL alone Harbor forgets it.
    return {
        "name": project.registry_name,
        "url": project.remote_url,
        "insecure": False,
        "credential_type": "basic",
        "access_key": project.username,
        "access_secret": project.password,
    }


def _endpoint(project: HarborProject, found: Found) -> Json | None:
    """The endpoint of a project, by the project if there is one: names may change."""
    if there := found.project(project.name):
        return found.registry(there.get("registry_id"))
    return _named(found.registries, project.registry_name)


def _endpoint_differs(project: HarborProject, endpoint: Json) -> bool:
    """Whether what Harbor shows of it has to be written."""
    return (
        endpoint["name"],
        _plain(endpoint["url"]),
        _username(endpoint),
        bool(endpoint.get("insecure")),
    ) != (project.registry_name, _plain(project.remote_url), project.username, False)


def _retention_steps(plan: HarborPlan, project: Json, there: Json | None) -> Iterator[Step]:
    what = f"the retention of the project {project['name']}"
    if there is None and retention_id(project):
        # While the project names one, Harbor makes it no other.
        path = f"/projects/{project['project_id']}/metadatas/retention_id"
        yield Step(
            does="delete",
            what=f"{what} that is gone",
            method="DELETE",
            path=path,
            differs=f"the project {project['name']} names a retention policy that is gone",
        )
    if plan.retention_days is None:
        if there is not None:
            path = f"/retentions/{there['id']}"
            yield Step(does="delete", what=what, method="DELETE", path=path)
        return
    wanted = _retention(plan.retention_days, project["project_id"])
    if there is None:
        yield Step(does="create", what=what, method="POST", path="/retentions", body=wanted)
    elif _normal(there) != _normal(wanted):
        body = {"id": there["id"], **wanted}
        path = f"/retentions/{there['id']}"
        yield Step(does="update", what=what, method="PUT", path=path, body=body)


def _quota_steps(plan: HarborPlan, project: Json, quota: Json | None) -> Iterator[Step]:
    if quota is None:
        if plan.quota_bytes is not None:
            raise RefusalError(
                f"the project {project['name']} can't have a quota: this Harbor has quotas for "
                "projects switched off. Switch them on in Harbor's configuration (quota per "
                "project), or take harbor.quota out of the stack file"
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


def _removal(
    plan: HarborPlan,
    found: Found,
    registry: Json,
    wanted: Collection[str],
    known: Collection[str],
) -> Removal | None:
    """None where the plan wants a project on the endpoint: then all of it stays."""
    on_it = [one for one in found.projects if one.get("registry_id") == registry["id"]]
    if any(one["name"] in wanted for one in on_it):
        return None
    own = {*known, registry["name"]}
    held = [one for one in on_it if one["name"] in own]
    foreign = [one["name"] for one in on_it if one["name"] not in own]
    full = [one["name"] for one in held if plan.keep_data and one.get("repo_count")]
    reasons = [f"the project {name} holds images, and they are kept" for name in full]
    reasons += [f"somebody else put the project {name} on it" for name in foreign]
    return Removal(
        registry=registry,
        projects=tuple(one for one in held if one["name"] not in full),
        stays="; ".join(reasons),
    )


def _named(things: Sequence[Json], name: str) -> Json | None:
    return next((one for one in things if one["name"] == name), None)


def _id(things: Sequence[Json], name: str) -> int:
    return next(int(one["id"]) for one in things if one["name"] == name)


def _maker(thing: Json) -> str:
    """Who made something, as far as its description tells."""
    text = str(thing.get("description", ""))
    return f" ({text})" if text.startswith("made by ") else ""


def _is_public(project: Json) -> bool:
    return bool(project.get("metadata", {}).get("public") == "true")


def _username(endpoint: Json) -> str:
    return str((endpoint.get("credential") or {}).get("access_key", ""))


def _plain(url: str) -> str:
    return url.rstrip("/")


def _quota(plan: HarborPlan) -> int:
    return _UNLIMITED if plan.quota_bytes is None else plan.quota_bytes


def _pull_from(project: str) -> Json:
    access = [{"resource": "repository", "action": "pull"}]
    return {"kind": "project", "namespace": project, "access": access}


def _robot(robot: Json) -> tuple[object, ...]:
    """What of a robot is compared: Harbor orders permissions as it likes."""
    allowed = {
        (one.get("kind"), one.get("namespace"), access.get("resource"), access.get("action"))
        for one in robot.get("permissions") or ()
        for access in one.get("access") or ()
    }
    return robot.get("duration"), bool(robot.get("disable")), allowed


def _retention(days: int, project: int) -> Json:
    """Keep what was pulled or pushed within these days, look once a day."""
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
    """What of a retention policy is compared; Harbor adds numbers and empty fields of its own.

    It may be anybody's, with any part left out.
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
