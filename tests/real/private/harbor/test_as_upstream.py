"""A Harbor as the upstream of a laptop's caches: asked once, as `up` and `doctor` ask."""

import pytest

from ops.harbor import command
from ops.registry.upstream_credentials import ask
from ops.registry.verdicts import (
    Accepted,
    Question,
    Refused,
    Useless,
)
from plan.settings.credentials import Credentials

HOST = "docker.io"
PREFIX = "proxy-docker.io"


@pytest.fixture
def projects(plan, client, known):
    """Two proxy caches, that of docker.io for everybody; and a robot that may pull from both."""
    command.bring_about(client, plan, {})
    known.project(PREFIX)["metadata"]["public"] = "true"
    return plan


@pytest.fixture
def verdict(projects, double):
    """What asking comes to; nothing is fetched for it, and no manifest asked for below a prefix."""

    def run(path_prefix, username="", password=""):
        verdict = ask(
            Question(
                host=HOST,
                remote_url=double.url,
                path_prefix=path_prefix,
                credentials=Credentials(username=username, password=password),
            )
        )
        assert double.upstream_bytes == 0
        assert {method for method, _ in double.pulls} <= {"HEAD"}
        assert not any("/manifests/" in path for _, path in double.pulls)
        return verdict

    return run


def test_what_is_public_is_well(verdict):
    assert verdict(PREFIX) == Accepted(host=HOST)
    assert verdict(f"{PREFIX}/mirror") == Accepted(host=HOST)


@pytest.mark.parametrize("project", ["proxy-quay.io", "nothing"])
def test_what_is_private_or_not_there_is_not(verdict, project):
    found = verdict(project)
    assert isinstance(found, Useless)
    assert f"without a login may pull below {project} (401)" in found.reason
    assert """'credentials["docker.io"].username'""" in found.fix
    assert "upstreams.docker.io.pathPrefix" in found.fix


def test_who_may_pull(verdict, projects):
    login = (projects.robot, projects.robot_secret)
    assert verdict(PREFIX, *login) == Accepted(host=HOST)
    assert verdict("proxy-quay.io", *login) == Accepted(host=HOST)


@pytest.mark.parametrize("project", [PREFIX, "proxy-quay.io"])
def test_a_wrong_login_is_refused_whatever_it_is_for(verdict, projects, project):
    found = verdict(project, projects.robot, "Wr0ng")
    assert isinstance(found, Refused)
    assert found.reason.startswith("(401)")


def test_a_login_that_may_not_pull_there(verdict, projects, known):
    (robot,) = known.robots.values()
    robot["permissions"] = [known.project(PREFIX)["project_id"]]
    found = verdict("proxy-quay.io", projects.robot, projects.robot_secret)
    assert isinstance(found, Refused)
    assert "below proxy-quay.io" in found.reason
    assert verdict(PREFIX, projects.robot, projects.robot_secret) == Accepted(host=HOST)


def test_without_a_prefix_nobody_knows_which_projects_are_meant(verdict):
    # Some are public; of an image that is not there it says what it says of a project that is not.
    assert verdict("") == Accepted(host=HOST)
