"""How a plan is passed to the command that carries it out."""

import json
from collections.abc import Mapping

from plan.camel_case import camel
from plan.harbor.desired import HarborPlan, HarborProject

STACK_VARIABLE = "TALOS_CACHE_STACK"
OWNER_VARIABLE = "TALOS_CACHE_OWNER"
HARBOR_VARIABLE = "TALOS_CACHE_HARBOR"
PROJECTS_VARIABLE = "TALOS_CACHE_HARBOR_PROJECTS"
CA_VARIABLE = "TALOS_CACHE_HARBOR_CA"
# How often something in Harbor has needed repair: see plan/harbor/drift.py.
REPAIRS_VARIABLE = "TALOS_CACHE_HARBOR_REPAIRS"
# Fields of a plan, in the order in which states have them.
_WANTED = ("url", "public", "retention_days", "quota_bytes", "robot", "keep_data")


def environment(plan: HarborPlan, repairs: int = 0) -> dict[str, str]:
    """The part of the plan that is not secret.

    Args:
        plan: of the stack.
        repairs: see REPAIRS_VARIABLE.
    """
    projects = {
        project.host: {
            "project": project.name,
            "registry": project.registry_name,
            "type": project.registry_type,
            "remoteUrl": project.remote_url,
        }
        for project in plan.projects
    }
    wanted = {camel(name): getattr(plan, name) for name in _WANTED}
    return {
        STACK_VARIABLE: plan.stack,
        OWNER_VARIABLE: plan.owner,
        HARBOR_VARIABLE: json.dumps(wanted),
        PROJECTS_VARIABLE: json.dumps(projects),
        CA_VARIABLE: plan.ca_pem,
        **({REPAIRS_VARIABLE: str(repairs)} if repairs else {}),
    }


def identity(plan: HarborPlan) -> dict[str, str]:
    """What can't change in place: another Harbor or owner means another set of projects."""
    return {"url": plan.url, "owner": plan.owner}


def secret_input(plan: HarborPlan) -> str:
    """The part of the plan that is secret, as one line."""
    return json.dumps(
        {
            "username": plan.username,
            "password": plan.password,
            "robotSecret": plan.robot_secret,
            "upstreams": {
                project.host: {"username": project.username, "password": project.password}
                for project in plan.projects
            },
        }
    )


def read(variables: Mapping[str, str], line: str) -> HarborPlan:
    """The plan from which `environment` and `secret_input` were built."""
    wanted = json.loads(variables[HARBOR_VARIABLE])
    secret = json.loads(line)
    return HarborPlan(
        stack=variables[STACK_VARIABLE],
        owner=variables[OWNER_VARIABLE],
        ca_pem=variables[CA_VARIABLE],
        projects=tuple(
            HarborProject(
                host=host,
                name=project["project"],
                registry_name=project["registry"],
                registry_type=project["type"],
                remote_url=project["remoteUrl"],
                **secret["upstreams"][host],
            )
            for host, project in json.loads(variables[PROJECTS_VARIABLE]).items()
        ),
        **{name: wanted[camel(name)] for name in _WANTED},
        robot_secret=secret["robotSecret"],
        username=secret["username"],
        password=secret["password"],
    )
