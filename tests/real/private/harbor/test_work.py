"""`python -m ops.harbor` against the double: what it makes, updates, undoes."""

import json
import os
import subprocess
import sys
from dataclasses import replace

from host.paths import ROOT
from ops.harbor.client import Client
from plan.harbor.transport import environment, secret_input
from tests.fakes.harbor.api import Harbor
from tests.fakes.harbor.server import Server
from tests.real.private.harbor.conftest import DOCKER, QUAY, ROBOT_SECRET
from tests.real.private.harbor.states import (
    changes,
    hold_something,
    names,
    nothing_is_there,
    somebodys,
    the,
)

MARK = "made by talos-cache, stack mine (0123456789ab)"


class TestCreate:
    def test_it_makes_endpoints_projects_and_a_robot(self, run, plan, known):
        done = run.well("create", plan)
        assert json.loads(done.stdout) == {
            "url": plan.url,
            "robot": "robot$talos-mine",
            "projects": {
                host: {
                    "project": f"proxy-{host}",
                    "mirror": f"{plan.url}/v2/proxy-{host}",
                    "made": True,
                }
                for host in ("docker.io", "quay.io")
            },
        }
        endpoint = the(known.registries, "proxy-docker.io")
        assert (endpoint["type"], endpoint["url"]) == ("docker-hub", DOCKER)
        assert endpoint["description"] == MARK
        project = known.project("proxy-docker.io")
        assert project["registry_id"] == endpoint["id"]
        assert project["metadata"]["public"] == "false"
        assert {one["storage"] for one in known.quotas.values()} == {5_000_000_000}
        robot = the(known.robots, "talos-mine")
        assert (robot["level"], robot["duration"], robot["disable"]) == ("system", -1, False)
        assert sorted(robot["permissions"]) == sorted(known.projects)
        assert robot["secret"] == ROBOT_SECRET

    def test_what_was_pulled_or_pushed_lately_is_kept(self, created, known):
        number = known.project("proxy-quay.io")["metadata"]["retention_id"]
        policy = known.retentions[int(number)]
        assert policy["algorithm"] == "or"
        assert [one["params"] for one in policy["rules"]] == [
            {"nDaysSinceLastPull": 30},
            {"nDaysSinceLastPush": 30},
        ]
        assert policy["trigger"] == {"kind": "Schedule", "settings": {"cron": "0 0 0 * * *"}}

    def test_without_a_retention_nothing_goes_though_harbor_means_seven_days(
        self, run, plan, known
    ):
        run.well("create", plan, retention_days=None)
        for project in known.projects.values():
            assert "retention_id" not in project["metadata"]

    def test_public_projects_need_no_robot(self, run, plan, known):
        run.well("create", plan, public=True, robot="", robot_secret="")
        assert known.project("proxy-quay.io")["metadata"]["public"] == "true"
        assert known.robots == {}

    def test_the_upstreams_credentials_are_in_the_endpoint(self, run, plan, known):
        first, second = plan.projects
        first = replace(first, username="alice", password="hub-pass")
        run.well("create", plan, projects=(first, second))
        assert the(known.registries, "proxy-docker.io")["credential"] == {
            "type": "basic",
            "access_key": "alice",
            "access_secret": "hub-pass",
        }
        assert the(known.registries, "proxy-quay.io")["credential"] == {}

    def test_another_prefix_of_robots_is_told_with_the_name_to_write(self, run, plan, known):
        known.robot_prefix = "bot-"
        assert "Write harbor.robot: bot-talos-mine" in run.failing("create", plan)
        assert nothing_is_there(known)
        run.well("create", plan, robot="bot-talos-mine")
        assert names(known.robots) == ["talos-mine"]


class TestAgain:
    def test_a_second_create_changes_nothing_but_sets_the_secret(self, run, plan, known):
        first = run.well("create", plan)
        before = str((known.registries, known.projects, known.quotas, known.retentions))
        known.requests.clear()
        second = run.well("create", plan)
        assert second.stdout == first.stdout
        (number,) = known.robots
        assert changes(known) == [("PATCH", f"/robots/{number}")]
        after = str((known.registries, known.projects, known.quotas, known.retentions))
        assert after == before

    def test_an_update_changes_in_place(self, run, created, known):
        numbers = sorted(known.registries), sorted(known.projects), sorted(known.robots)
        settings = {"public": True, "retention_days": 7, "quota_bytes": None}
        run.well("update", created, **settings, robot_secret="An0therSecret")
        assert (sorted(known.registries), sorted(known.projects), sorted(known.robots)) == numbers
        assert {one["metadata"]["public"] for one in known.projects.values()} == {"true"}
        assert {one["storage"] for one in known.quotas.values()} == {-1}
        days = {
            tuple(rule["params"].values()) for p in known.retentions.values() for rule in p["rules"]
        }
        assert days == {(7,)}
        assert the(known.robots, "talos-mine")["secret"] == "An0therSecret"

    def test_what_was_changed_by_hand_is_put_right(self, run, created, known):
        known.project("proxy-quay.io")["metadata"]["public"] = "true"
        the(known.registries, "proxy-quay.io")["url"] = DOCKER
        the(known.robots, "talos-mine").update(disable=True, permissions=[])
        for quota in known.quotas.values():
            quota["storage"] = 1
        number = known.project("proxy-docker.io")["metadata"]["retention_id"]
        known.retentions[int(number)]["rules"][0]["disabled"] = True
        run.well("update", created)
        assert known.project("proxy-quay.io")["metadata"]["public"] == "false"
        assert the(known.registries, "proxy-quay.io")["url"] == QUAY
        robot = the(known.robots, "talos-mine")
        assert (robot["disable"], sorted(robot["permissions"])) == (False, sorted(known.projects))
        assert {one["storage"] for one in known.quotas.values()} == {5_000_000_000}
        assert not any(
            rule["disabled"] for one in known.retentions.values() for rule in one["rules"]
        )

    def test_what_was_removed_by_hand_is_made_again(self, run, created, known):
        known.robots.clear()
        del known.projects[known.project("proxy-quay.io")["project_id"]]
        run.well("update", created)
        assert names(known.projects) == ["proxy-docker.io", "proxy-quay.io"]
        assert sorted(the(known.robots, "talos-mine")["permissions"]) == sorted(known.projects)

    def test_another_password_of_the_upstream_reaches_harbor(self, run, plan, known):
        one = replace(plan.projects[0], username="alice", password="first")
        run.well("create", plan, projects=(one,))
        run.well("update", plan, projects=(replace(one, password="second"),))
        assert the(known.registries, "proxy-docker.io")["credential"]["access_secret"] == "second"
        run.well("update", plan, projects=plan.projects[:1])
        assert the(known.registries, "proxy-docker.io")["credential"] == {}

    def test_another_remote_url_moves_the_endpoint_and_keeps_its_credentials(
        self, run, plan, known, registry
    ):
        known.upstreams["https://mirror.test"] = registry.url
        quay = replace(plan.projects[1], username="alice", password="secret")
        run.well("create", plan, projects=(quay,))
        run.well("update", plan, projects=(replace(quay, remote_url="https://mirror.test/"),))
        endpoint = the(known.registries, "proxy-quay.io")
        assert endpoint["url"] == "https://mirror.test"
        assert endpoint["credential"]["access_secret"] == "secret"

    def test_a_project_that_is_wanted_no_more_goes_with_its_endpoint(self, run, created, known):
        run.well("update", created, projects=created.projects[:1])
        assert names(known.projects) == ["proxy-docker.io"]
        assert names(known.registries) == ["proxy-docker.io"]
        assert the(known.robots, "talos-mine")["permissions"] == list(known.projects)

    def test_the_robot_goes_when_the_projects_become_public(self, run, created, known):
        run.well("update", created, public=True, robot="", robot_secret="")
        assert known.robots == {}

    def test_what_is_behind_the_first_hundred_is_found(self, run, created, known):
        ours = dict(known.projects), dict(known.registries)
        endpoint = next(iter(known.registries.values()))
        known.projects.clear()
        known.registries.clear()
        for number in range(1000, 1250):
            other = {"name": f"other-{number}", "description": ""}
            known.registries[number] = {**endpoint, "id": number, **other}
            project = {"project_id": number, "name": f"other-{number}", "registry_id": number}
            known.projects[number] = {**project, "metadata": {"public": "true"}}
        known.projects.update(ours[0])
        known.registries.update(ours[1])
        known.requests.clear()
        run.well("update", created)
        (number,) = known.robots
        assert changes(known) == [("PATCH", f"/robots/{number}")]


class TestFailure:
    def test_an_upstream_that_harbor_does_not_reach_undoes_everything(self, run, plan, known):
        del known.upstreams[QUAY]
        told = run.failing("create", plan)
        assert "400 the registry is unhealthy" in told
        assert f"Harbor itself can't use {QUAY}" in told
        assert "undo: delete the registry endpoint proxy-docker.io" in told
        assert nothing_is_there(known)

    def test_a_late_failure_undoes_everything(self, run, plan, known):
        known.quota_per_project = False
        assert "project quotas are disabled" in run.failing("create", plan)
        assert nothing_is_there(known)
        run.well("create", plan, quota_bytes=None)

    def test_a_robot_that_gets_another_name_after_all_is_undone(self, run, plan, known):
        def another_prefix(method, path):
            if (method, path) == ("POST", "/robots"):
                known.robot_prefix = "bot-"

        known.meanwhile = another_prefix
        told = run.failing("create", plan)
        assert "bot-talos-mine, not robot$talos-mine: set harbor.robot" in told
        assert nothing_is_there(known)

    def test_only_what_this_run_made_is_undone(self, run, plan, known):
        run.well("create", plan, projects=plan.projects[:1])
        known.upstreams.pop(QUAY)
        run.failing("update", plan)
        assert names(known.projects) == ["proxy-docker.io"]
        assert names(known.registries) == ["proxy-docker.io"]
        assert names(known.robots) == ["talos-mine"]

    def test_somebody_who_is_faster_is_told_and_keeps_what_is_theirs(self, run, plan, known):
        def faster(method, path):
            if (method, path) == ("POST", "/projects") and not known.project("proxy-docker.io"):
                somebodys(known)

        known.meanwhile = faster
        told = run.failing("create", plan)
        assert "409 The project named proxy-docker.io already exists" in told
        assert "make up again" in told
        assert (names(known.projects), names(known.registries)) == (["proxy-docker.io"], ["theirs"])

    def test_what_can_not_be_undone_is_named(self, run, plan, known):
        def in_use(method, path):
            if method == "POST" and path == "/robots":
                hold_something(known)
                known.robot_prefix = "bot-"

        known.meanwhile = in_use
        assert "the project proxy-docker.io stays: " in run.failing("create", plan)
        assert names(known.projects) == ["proxy-docker.io"]

    def test_a_type_that_this_harbor_takes_for_no_proxy_cache(self, run, plan, known):
        one = replace(plan.projects[1], registry_type="quay")
        told = run.failing("create", plan, projects=(one,))
        assert "unsupported registry type quay" in told
        assert nothing_is_there(known)

    def test_another_type_of_an_own_endpoint_can_not_be_had(self, run, created):
        one = replace(created.projects[0], registry_type="docker-registry", remote_url=QUAY)
        told = run.failing("update", created, projects=(one,))
        assert "is of type docker-hub, not docker-registry" in told


def test_no_secret_is_told_whatever_happens(run, plan, known):
    one = replace(plan.projects[0], username="alice", password="Hub-pass-1")
    private = replace(plan, projects=(one, plan.projects[1]))
    run.well("create", private)
    run.well("update", private, robot_secret="An0therSecret")
    run.failing("update", private, robot_secret="no-good-Secret")
    run.failing("update", private, password="Wrong-pass-1")
    known.upstreams.clear()
    run.failing("update", private)
    run.well("delete", private)
    new = ("An0therSecret", "no-good-Secret", "Hub-pass-1", "Wrong-pass-1")
    for secret in ("Harbor12345", ROBOT_SECRET, *new):
        assert secret not in run.everything
        assert secret not in repr(private)


def program(plan, *arguments):
    return subprocess.run(
        [sys.executable, "-m", "ops.harbor", *arguments],
        cwd=ROOT,
        env={**os.environ, **environment(plan)},
        input=secret_input(plan),
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_as_the_engine_runs_it(plan, known):
    made = program(plan, "create")
    assert (made.returncode, names(known.robots)) == (0, ["talos-mine"]), made.stderr
    assert json.loads(made.stdout)["robot"] == "robot$talos-mine"
    assert program(replace(plan, password="Wrong-pass-1"), "update").returncode == 1
    assert program(plan, "delete").returncode == 0
    assert nothing_is_there(known)


def test_the_program_wants_a_command(plan):
    done = program(plan, "destroy")
    assert done.returncode == 1
    assert "usage: python -m ops.harbor create | update | delete" in done.stderr


def test_two_servers_share_nothing(tmp_path, plan):
    other = Server(Harbor(tmp_path)).start()
    with Client(other.url, plan.username, plan.password) as harbor:
        assert harbor.all("/projects") == ()
    other.stop()
