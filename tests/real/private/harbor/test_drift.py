"""A look at Harbor before the engine plans, with the double: what it finds and leaves."""

import json
from dataclasses import replace

import pytest

from ops.harbor import drift
from plan.harbor import drift as harbor_drift
from plan.harbor import transport
from tests.fakes.harbor.api import FailedError
from tests.real.private.harbor.conftest import DOCKER
from tests.real.private.harbor.states import hold_something, somebodys, the

READING = {"GET", "HEAD"}


@pytest.fixture
def made(run, plan):
    """The plan, brought about."""
    done = run("create", plan)
    assert done.returncode == 0, done.stderr
    return plan


def recorded(run, plan, repairs=0):
    """What the state then has of the command."""
    outputs = {"environment": transport.environment(plan, repairs), "stdout": run.previous}
    return harbor_drift.recorded(outputs)


def change(known, method, path):
    """The same by another user, in Harbor's web page."""
    known.answer(method, path, {}, None, known.admin[0], "")


def test_where_nothing_differs_nothing_is_told_and_nothing_is_changed(run, made, known):
    with_password = replace(made.projects[0], username="alice", password="hub-pass")
    plan = replace(made, projects=(with_password, made.projects[1]))
    run("update", plan)
    before = str((known.registries, known.projects, known.robots, known.quotas, known.retentions))
    known.requests.clear()
    assert drift.look(plan, recorded(run, plan)) == drift.Look()
    assert drift.look(plan, recorded(run, plan, 7)) == drift.Look(repairs=7)
    assert {method for method, _ in known.requests} <= READING
    after = str((known.registries, known.projects, known.robots, known.quotas, known.retentions))
    assert after == before


def test_it_costs_little(run, made, known):
    known.requests.clear()
    drift.look(made, recorded(run, made))
    assert len(known.requests) == 4 + 2 * len(made.projects)


def test_a_command_that_runs_anyway_needs_no_look(run, made, known):
    known.requests.clear()
    assert drift.look(made, None) == drift.Look()
    other = replace(made, quota_bytes=7)
    assert drift.look(other, recorded(run, made, 3)) == drift.Look(repairs=3)
    assert known.requests == []


def no_project(known):
    change(known, "DELETE", f"/projects/{known.project('proxy-quay.io')['project_id']}")


def nothing_of_it(known):
    no_project(known)
    change(known, "DELETE", f"/registries/{the(known.registries, 'proxy-quay.io')['id']}")


def another_upstream(known):
    the(known.registries, "proxy-quay.io")["url"] = DOCKER


def no_login(known):
    the(known.registries, "proxy-docker.io")["credential"] = {}


def no_robot(known):
    known.robots.clear()


def disabled_robot(known):
    the(known.robots, "talos-mine")["disable"] = True


def another_secret(known):
    the(known.robots, "talos-mine")["secret"] = "An0therSecret"


def public(known):
    known.project("proxy-quay.io")["metadata"]["public"] = "true"


def another_quota(known):
    next(iter(known.quotas.values()))["storage"] = 1


def another_retention(known):
    next(iter(known.retentions.values()))["rules"][0]["disabled"] = True


def no_retention(known):
    number = known.project("proxy-quay.io")["metadata"]["retention_id"]
    change(known, "DELETE", f"/retentions/{number}")


@pytest.mark.parametrize(
    ("drifted", "told"),
    [
        (no_project, ["the project proxy-quay.io is missing"]),
        (
            nothing_of_it,
            [
                "the project proxy-quay.io is missing",
                "the registry endpoint proxy-quay.io is missing",
            ],
        ),
        (another_upstream, ["the registry endpoint proxy-quay.io was changed"]),
        (no_login, ["the registry endpoint proxy-docker.io was changed"]),
        (no_robot, ["the robot account robot$talos-mine is missing"]),
        (disabled_robot, ["the robot account robot$talos-mine was changed"]),
        (another_secret, ["the robot account robot$talos-mine has another secret"]),
        (public, ["the project proxy-quay.io was changed"]),
        (another_quota, ["the quota of the project proxy-docker.io was changed"]),
        (another_retention, ["the retention of the project proxy-docker.io was changed"]),
        (no_retention, ["the retention of the project proxy-quay.io is missing"]),
    ],
)
def test_what_differs_is_told_and_put_right_by_one_update(run, plan, known, drifted, told):
    with_login = replace(plan.projects[0], username="alice", password="hub-pass")
    plan = replace(plan, projects=(with_login, plan.projects[1]))
    assert run("create", plan).returncode == 0
    drifted(known)
    known.requests.clear()
    seen = drift.look(plan, recorded(run, plan, 2))
    assert {method for method, _ in known.requests} <= READING
    assert seen.repairs == 3
    first, *lines = seen.warning.splitlines()
    assert first.startswith(f"Harbor at {plan.url} is not as this stack left it")
    robots = [line for line in lines if "robot" not in line or "robot" in told[0]]
    assert [line.strip() for line in robots] == told
    assert run("update", plan).returncode == 0
    assert drift.look(plan, recorded(run, plan, 3)) == drift.Look(repairs=3)
    assert the(known.robots, "talos-mine")["secret"] == plan.robot_secret


def test_a_retention_that_should_not_be_there_goes(run, plan, known):
    for_ever = replace(plan, retention_days=None)
    run("create", for_ever)
    number = known._retention({"scope": {}, "rules": [], "algorithm": "or", "trigger": {}})
    known.project("proxy-quay.io")["metadata"]["retention_id"] = str(number)
    seen = drift.look(for_ever, recorded(run, for_ever))
    assert "the retention of the project proxy-quay.io should not exist" in seen.warning
    run("update", for_ever)
    assert drift.look(for_ever, recorded(run, for_ever, 1)) == drift.Look(repairs=1)


@pytest.mark.parametrize("days", [30, None])
def test_a_policy_that_is_gone_while_the_project_names_it_is_made_again(run, plan, known, days):
    """Harbor answers with 500 for it, and makes no other while the project has its number."""
    plan = replace(plan, retention_days=days)
    run("create", plan)
    project = known.project("proxy-quay.io")
    gone = project["metadata"].get("retention_id") or "77"
    project["metadata"]["retention_id"] = gone
    known.retentions.pop(int(gone), None)

    def as_harbor(method, path):
        if path == f"/retentions/{gone}" and int(gone) not in known.retentions:
            status = {"GET": 500, "DELETE": 400}[method]
            raise FailedError(status, "UNKNOWN", "internal server error")

    known.meanwhile = as_harbor
    seen = drift.look(plan, recorded(run, plan))
    assert "the project proxy-quay.io refers to a retention policy that is gone" in seen.warning
    assert "gone should" not in seen.warning
    done = run("update", plan)
    assert done.returncode == 0, done.stderr
    assert known.project("proxy-quay.io")["metadata"].get("retention_id") != gone
    assert drift.look(plan, recorded(run, plan)) == drift.Look()


def test_a_policy_that_harbor_fails_to_give_once_is_not_gone(run, made, known):
    failed = []

    def fails_once(method, path):
        if path.startswith("/retentions/") and (method, path) not in failed:
            failed.append((method, path))
            raise FailedError(500, "UNKNOWN", "internal server error")

    known.meanwhile = fails_once
    assert drift.look(made, recorded(run, made)) == drift.Look()
    failed.clear()
    known.requests.clear()
    assert run("update", made).returncode == 0
    assert len(failed) == len(made.projects)
    assert not [path for method, path in known.requests if method in ("POST", "DELETE")]


def test_what_must_not_be_changed_is_told_and_the_update_says_it_too(run, plan, known):
    somebodys(known)
    run("create", plan)
    known.registries[900]["url"] = "https://elsewhere.test"
    seen = drift.look(plan, recorded(run, plan))
    assert seen.repairs == 1
    assert "it caches https://elsewhere.test, not https://hub.docker.com" in seen.warning
    assert "it caches https://elsewhere.test" in run("update", plan).stderr


def test_a_quota_that_harbor_has_no_more_is_told(run, made, known):
    known.quotas.clear()
    seen = drift.look(made, recorded(run, made))
    assert (seen.repairs, "quotas are disabled" in seen.warning) == (1, True)


def test_what_somebody_has_taken_over_is_told_once(run, made, known):
    the(known.registries, "proxy-quay.io")["description"] = "the platform team has this now"
    seen = drift.look(made, recorded(run, made))
    assert "no longer says that this stack" in seen.warning
    done = run("update", made)
    assert json.loads(done.stdout)["projects"]["quay.io"]["made"] is False
    assert drift.look(made, recorded(run, made, 1)) == drift.Look(repairs=1)


def test_a_project_that_another_stack_shared_and_took_with_it_is_made_again(run, plan, known):
    other = replace(plan, owner="ba9876543210", stack="theirs", robot="robot$talos-theirs")
    run("create", other)
    hold_something(known)
    theirs, run.previous = run.previous, ""
    run("create", plan)
    ours, run.previous = run.previous, theirs
    run("delete", other)
    run.previous = ours
    seen = drift.look(plan, recorded(run, plan))
    assert "the project proxy-docker.io is missing" in seen.warning
    done = run("update", plan)
    assert json.loads(done.stdout)["projects"]["docker.io"]["made"] is True


@pytest.mark.parametrize("sick", ["away", "another password", "500"])
def test_a_harbor_that_can_not_be_asked_is_a_warning_and_no_change(run, made, known, double, sick):
    state = recorded(run, made, 2)
    plan = made
    if sick == "away":
        double.stop()
    elif sick == "another password":
        plan = replace(made, password="Wrong-pass-1")
    else:

        def broken(method, path):
            raise FailedError(500, "UNKNOWN", "internal server error")

        known.meanwhile = broken
    seen = drift.look(plan, state)
    assert seen.repairs == 2
    assert seen.warning.startswith(
        "could not check whether Harbor is still as this stack left it: Harbor at"
    )
    assert not any(secret in seen.warning for secret in plan.secrets)
