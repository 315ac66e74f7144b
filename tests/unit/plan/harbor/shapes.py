"""A stack's plan for Harbor, and what a Harbor has, for the tests."""

from dataclasses import replace

from plan.harbor.desired import HarborPlan, HarborProject
from plan.harbor.inventory import Found

HUB = "https://hub.docker.com"
PROJECT = HarborProject(
    host="docker.io",
    name="proxy",
    registry_name="endpoint",
    registry_type="docker-hub",
    remote_url=HUB,
)
PLAN = HarborPlan(
    stack="mine",
    owner="0123456789ab",
    url="https://harbor.test",
    ca_pem="",
    projects=(PROJECT,),
    public=False,
    retention_days=None,
    quota_bytes=None,
    robot="",
    username="admin",
    password="hunter2",
    keep_data=True,
)
WITH_ROBOT = replace(PLAN, robot="robot$talos", robot_secret="Robot5ecret")
WITH_USER = replace(PROJECT, username="alice", password="secret")


def registry(**changes):
    there = {"id": 1, "name": "endpoint", "url": HUB, "type": "docker-hub"}
    return {**there, "description": PLAN.mark, "insecure": False, **changes}


def project(**changes):
    there = {"project_id": 2, "name": "proxy", "registry_id": 1, "repo_count": 0}
    return {**there, "metadata": {"public": "false"}, **changes}


def robot(**changes):
    access = [{"resource": "repository", "action": "pull"}]
    allowed = [{"kind": "project", "namespace": "proxy", "access": access}]
    there = {"id": 3, "name": "robot$talos", "description": PLAN.mark, "duration": -1}
    return {**there, "disable": False, "permissions": allowed, **changes}


def found(*, registries=(), projects=(), robots=(), prefix="robot$"):
    return Found(
        registries=tuple(registries),
        projects=tuple(projects),
        robots=tuple(robots),
        robot_prefix=prefix,
    )


def on(endpoint, **changes):
    """The project, on this endpoint."""
    return found(registries=[endpoint], projects=[project(**changes)])


def theirs(**changes):
    """An endpoint that another user has made under the stack's name."""
    return registry(description="", **changes)


THERE = on(registry())
