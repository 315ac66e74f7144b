"""`python -m ops.harbor` against the double: what it makes, updates, adopts, refuses, removes."""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace

import pytest

from host.paths import ROOT
from ops.harbor import command
from ops.harbor.client import Client
from plan.harbor.transport import environment, secret_input
from tests.fakes.harbor.api import Harbor
from tests.fakes.harbor.server import Server
from tests.real.private.harbor.conftest import DOCKER, QUAY, ROBOT_SECRET

MARK = "made by talos-cache, stack mine (0123456789ab)"
CHANGES = ("POST", "PUT", "PATCH", "DELETE")


def names(things):
    return sorted(one["name"] for one in things.values())


def nothing_is_there(known):
    return not (known.registries or known.projects or known.robots or known.quotas)


def changes(known):
    return [(method, path) for method, path in known.requests if method in CHANGES]


def the(things, name):
    (found,) = (one for one in things.values() if one["name"] == name)
    return found


def hold_something(known, project="proxy-docker.io", count=1):
    """As if so many repositories had been pulled through a project."""
    number = known.project(project)["project_id"]
    config = {"digest": "sha256:" + "c" * 64, "size": 2, "mediaType": "x"}
    content = json.dumps({"schemaVersion": 2, "config": config, "layers": []}).encode()
    for index in range(count):
        repository = known.store.repository(number, f"library/image-{index}")
        repository.blobs.add(config["digest"])
        repository.manifests["sha256:" + "d" * 64] = ("application/json", content)
        repository.tags["v1"] = "sha256:" + "d" * 64


class TestCreate:
    def test_it_makes_endpoints_projects_and_a_robot(self, run, plan, known):
        done = run("create", plan)
        assert done.returncode == 0, done.stderr
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

    def test_what_was_pulled_or_pushed_lately_is_kept(self, run, plan, known):
        run("create", plan)
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
        assert run("create", plan, retention_days=None).returncode == 0
        for project in known.projects.values():
            assert "retention_id" not in project["metadata"]

    def test_public_projects_need_no_robot(self, run, plan, known):
        assert run("create", plan, public=True, robot="", robot_secret="").returncode == 0
        assert known.project("proxy-quay.io")["metadata"]["public"] == "true"
        assert known.robots == {}

    def test_the_upstreams_credentials_are_in_the_endpoint(self, run, plan, known):
        first, second = plan.projects
        first = replace(first, username="alice", password="hub-pass")
        assert run("create", plan, projects=(first, second)).returncode == 0
        assert the(known.registries, "proxy-docker.io")["credential"] == {
            "type": "basic",
            "access_key": "alice",
            "access_secret": "hub-pass",
        }
        assert the(known.registries, "proxy-quay.io")["credential"] == {}

    def test_another_prefix_of_robots_is_told_with_the_name_to_write(self, run, plan, known):
        known.robot_prefix = "bot-"
        done = run("create", plan)
        assert done.returncode == 1
        assert "Write harbor.robot: bot-talos-mine" in done.stderr
        assert nothing_is_there(known)
        assert run("create", plan, robot="bot-talos-mine").returncode == 0
        assert names(known.robots) == ["talos-mine"]

    def test_a_robot_that_gets_another_name_after_all_is_undone(self, run, plan, known):
        def another_prefix(method, path):
            if (method, path) == ("POST", "/robots"):
                known.robot_prefix = "bot-"

        known.meanwhile = another_prefix
        done = run("create", plan)
        assert done.returncode == 1
        assert "bot-talos-mine, not robot$talos-mine: set harbor.robot" in done.stderr
        assert nothing_is_there(known)


class TestAgain:
    def test_a_second_create_changes_nothing_but_sets_the_secret(self, run, plan, known):
        first = run("create", plan)
        before = str((known.registries, known.projects, known.quotas, known.retentions))
        known.requests.clear()
        second = run("create", plan)
        assert second.stdout == first.stdout
        (number,) = known.robots
        assert changes(known) == [("PATCH", f"/robots/{number}")]
        after = str((known.registries, known.projects, known.quotas, known.retentions))
        assert after == before

    def test_an_update_changes_in_place(self, run, plan, known):
        run("create", plan)
        numbers = sorted(known.registries), sorted(known.projects), sorted(known.robots)
        done = run(
            "update",
            plan,
            public=True,
            retention_days=7,
            quota_bytes=None,
            robot_secret="An0therSecret",
        )
        assert done.returncode == 0, done.stderr
        assert (sorted(known.registries), sorted(known.projects), sorted(known.robots)) == numbers
        assert {one["metadata"]["public"] for one in known.projects.values()} == {"true"}
        assert {one["storage"] for one in known.quotas.values()} == {-1}
        days = {
            tuple(rule["params"].values()) for p in known.retentions.values() for rule in p["rules"]
        }
        assert days == {(7,)}
        assert the(known.robots, "talos-mine")["secret"] == "An0therSecret"

    def test_what_was_changed_by_hand_is_put_right(self, run, plan, known):
        run("create", plan)
        known.project("proxy-quay.io")["metadata"]["public"] = "true"
        the(known.registries, "proxy-quay.io")["url"] = DOCKER
        the(known.robots, "talos-mine").update(disable=True, permissions=[])
        for quota in known.quotas.values():
            quota["storage"] = 1
        known.retentions[int(known.project("proxy-docker.io")["metadata"]["retention_id"])][
            "rules"
        ][0]["disabled"] = True
        assert run("update", plan).returncode == 0
        assert known.project("proxy-quay.io")["metadata"]["public"] == "false"
        assert the(known.registries, "proxy-quay.io")["url"] == QUAY
        robot = the(known.robots, "talos-mine")
        assert (robot["disable"], sorted(robot["permissions"])) == (False, sorted(known.projects))
        assert {one["storage"] for one in known.quotas.values()} == {5_000_000_000}
        assert not any(
            rule["disabled"] for one in known.retentions.values() for rule in one["rules"]
        )

    def test_what_was_removed_by_hand_is_made_again(self, run, plan, known):
        run("create", plan)
        known.robots.clear()
        number = known.project("proxy-quay.io")["project_id"]
        del known.projects[number]
        assert run("update", plan).returncode == 0
        assert names(known.projects) == ["proxy-docker.io", "proxy-quay.io"]
        assert sorted(the(known.robots, "talos-mine")["permissions"]) == sorted(known.projects)

    def test_another_password_of_the_upstream_reaches_harbor(self, run, plan, known):
        one = replace(plan.projects[0], username="alice", password="first")
        run("create", plan, projects=(one,))
        run("update", plan, projects=(replace(one, password="second"),))
        assert the(known.registries, "proxy-docker.io")["credential"]["access_secret"] == "second"
        run("update", plan, projects=plan.projects[:1])
        assert the(known.registries, "proxy-docker.io")["credential"] == {}

    def test_another_remote_url_moves_the_endpoint_and_keeps_its_credentials(
        self, run, plan, known, registry
    ):
        known.upstreams["https://mirror.test"] = registry.url
        quay = replace(plan.projects[1], username="alice", password="secret")
        run("create", plan, projects=(quay,))
        moved = replace(quay, remote_url="https://mirror.test/")
        assert run("update", plan, projects=(moved,)).returncode == 0
        endpoint = the(known.registries, "proxy-quay.io")
        assert endpoint["url"] == "https://mirror.test"
        assert endpoint["credential"]["access_secret"] == "secret"

    def test_a_project_that_is_wanted_no_more_goes_with_its_endpoint(self, run, plan, known):
        run("create", plan)
        assert run("update", plan, projects=plan.projects[:1]).returncode == 0
        assert names(known.projects) == ["proxy-docker.io"]
        assert names(known.registries) == ["proxy-docker.io"]
        assert the(known.robots, "talos-mine")["permissions"] == list(known.projects)

    def test_the_robot_goes_when_the_projects_become_public(self, run, plan, known):
        run("create", plan)
        assert run("update", plan, public=True, robot="", robot_secret="").returncode == 0
        assert known.robots == {}


def somebodys(known, *, url=DOCKER, public="false", name="theirs", description="", user=""):
    """A proxy cache that another user has created."""
    credential = {"type": "basic", "access_key": user, "access_secret": "x"} if user else {}
    known.registries[900] = {
        "id": 900,
        "name": name,
        "url": url,
        "type": "docker-hub",
        "description": description,
        "credential": credential,
        "insecure": False,
        "status": "healthy",
    }
    known.projects[901] = {
        "project_id": 901,
        "owner_id": 1,
        "name": "proxy-docker.io",
        "registry_id": 900,
        "metadata": {"public": public},
    }


class TestWhatIsSomebodyElses:
    def test_the_same_is_adopted_and_left_as_it_is(self, run, plan, known):
        somebodys(known)
        before = str(known.registries), str(known.projects[901])
        done = run("create", plan)
        assert done.returncode == 0, done.stderr
        projects = json.loads(done.stdout)["projects"]
        assert (projects["docker.io"]["made"], projects["quay.io"]["made"]) == (False, True)
        assert (str({900: known.registries[900]}), str(known.projects[901])) == before
        assert 901 in the(known.robots, "talos-mine")["permissions"], "nodes pull from it, too"

    def test_destroy_leaves_what_was_adopted(self, run, plan, known):
        somebodys(known)
        run("create", plan)
        hold_something(known)
        assert run("delete", plan).returncode == 0
        assert (names(known.projects), names(known.registries)) == (["proxy-docker.io"], ["theirs"])
        assert known.store.listed(901)
        assert known.robots == {}

    @pytest.mark.parametrize(
        ("other", "difference"),
        [
            ({"url": QUAY}, f"it caches {QUAY}, not {DOCKER}"),
            ({"public": "true"}, "it is public, not private"),
        ],
    )
    def test_another_is_refused_with_the_difference(self, run, plan, known, other, difference):
        somebodys(known, **other)
        done = run("create", plan)
        assert done.returncode == 1
        assert "the project proxy-docker.io exists" in done.stderr
        assert difference in done.stderr
        assert "(harbor.projectPrefix)" in done.stderr
        assert changes(known) == []

    def test_other_credentials_of_the_upstream_are_a_difference(self, run, plan, known):
        somebodys(known, user="bob")
        one = replace(plan.projects[0], username="alice", password="secret")
        done = run("create", plan, projects=(one,))
        assert done.returncode == 1
        assert "as another user" in done.stderr

    def test_a_project_that_is_no_proxy_cache_is_refused(self, run, plan, known):
        somebodys(known)
        del known.projects[901]["registry_id"]
        done = run("create", plan)
        assert (done.returncode, "not a proxy cache" in done.stderr) == (1, True)
        assert changes(known) == []

    def test_an_endpoint_of_the_name_is_refused_and_its_maker_named(self, run, plan, known):
        other = "made by talos-cache, stack theirs (ba9876543210)"
        somebodys(known, name="proxy-docker.io", description=other)
        del known.projects[901]
        done = run("create", plan)
        assert done.returncode == 1
        assert f"this stack did not create it ({other})" in done.stderr
        assert changes(known) == []

    def test_a_robot_of_the_name_keeps_its_secret(self, run, plan, known):
        run("create", plan)
        robot = the(known.robots, "talos-mine")
        robot["description"] = "for the build servers"
        known.requests.clear()
        done = run("update", plan, robot_secret="An0therSecret")
        assert done.returncode == 1
        assert "(harbor.robot)" in done.stderr
        assert (robot["secret"], changes(known)) == (ROBOT_SECRET, [])

    def test_two_stacks_of_one_name_are_not_the_same(self, run, plan, known):
        run("create", plan)
        other = replace(plan, owner="ba9876543210", robot="robot$talos-theirs")
        done = run("create", other)
        assert not any(one["made"] for one in json.loads(done.stdout)["projects"].values())
        assert run("delete", other).returncode == 0
        assert names(known.projects) == ["proxy-docker.io", "proxy-quay.io"]
        assert names(known.robots) == ["talos-mine"]


class TestDelete:
    def test_nothing_is_left(self, run, plan, known):
        run("create", plan)
        hold_something(known, count=130)
        done = run("delete", plan)
        assert done.returncode == 0, done.stderr
        assert nothing_is_there(known)
        assert done.stdout == ""
        deleted = [path for method, path in changes(known) if method == "DELETE"]
        assert len([path for path in deleted if "/repositories/" in path]) == 130
        assert "/projects/proxy-docker.io/repositories/library%252Fimage-0" in deleted

    def test_what_holds_images_is_kept_with_its_endpoint(self, run, plan, known):
        run("create", plan, keep_data=True)
        hold_something(known)
        done = run("delete", plan, keep_data=True)
        assert done.returncode == 0
        assert "the project proxy-docker.io contains images" in done.stderr
        assert names(known.projects) == ["proxy-docker.io"]
        assert names(known.registries) == ["proxy-docker.io"]
        assert known.robots == {}
        again = run("create", plan, keep_data=True)
        assert json.loads(again.stdout)["projects"]["docker.io"]["made"] is True

    @pytest.mark.parametrize("state_was_lost", [False, True])
    def test_what_was_kept_goes_when_it_may_however_long_ago_that_was(
        self, run, plan, known, state_was_lost
    ):
        keeping = replace(plan, keep_data=True)
        run("create", keeping)
        hold_something(known, "proxy-quay.io")
        without = replace(keeping, projects=plan.projects[:1])
        for _ in range(3):
            done = run("update", without)
            assert "the project proxy-quay.io contains images" in done.stderr
            assert "another user" not in done.stderr
        if state_was_lost:
            run.previous = ""
        done = run("delete", replace(without, keep_data=False))
        assert done.returncode == 0
        assert nothing_is_there(known)

    def test_what_was_kept_and_is_wanted_again_is_the_stacks_own(self, run, plan, known):
        keeping = replace(plan, keep_data=True)
        run("create", keeping)
        hold_something(known)
        run("update", keeping, projects=plan.projects[1:])
        again = run("update", keeping, quota_bytes=7)
        assert json.loads(again.stdout)["projects"]["docker.io"]["made"] is True
        assert {one["storage"] for one in known.quotas.values()} == {7}
        assert run("delete", plan).returncode == 0
        assert nothing_is_there(known)

    def test_an_endpoint_that_was_renamed_goes_with_its_project(self, run, plan, known):
        run("create", plan)
        the(known.registries, "proxy-quay.io")["name"] = "renamed"
        run("update", plan, projects=plan.projects[:1])
        assert names(known.registries) == names(known.projects) == ["proxy-docker.io"]

    def test_what_somebody_has_taken_over_stays_and_is_named(self, run, plan, known):
        run("create", plan)
        the(known.registries, "proxy-quay.io")["description"] = "the platform team has this now"
        done = run("delete", plan)
        assert done.returncode == 0
        assert "the project proxy-quay.io stays: the description of its registry end" in done.stderr
        assert names(known.registries) == names(known.projects) == ["proxy-quay.io"]

    def test_a_second_time_it_finds_nothing_and_that_is_fine(self, run, plan, known):
        run("create", plan)
        assert [run("delete", plan).returncode for _ in range(2)] == [0, 0]
        assert nothing_is_there(known)

    def test_a_project_that_somebody_put_on_the_endpoint_stays(self, run, plan, known):
        run("create", plan)
        number = the(known.registries, "proxy-quay.io")["id"]
        made = {"name": "colleague", "registry_id": number, "metadata": {"public": "true"}}
        known.projects[950] = {"project_id": 950, "owner_id": 3, **made}
        done = run("delete", plan)
        assert done.returncode == 0
        assert "another user created the project colleague" in done.stderr
        assert (names(known.projects), names(known.registries)) == (
            ["colleague"],
            ["proxy-quay.io"],
        )

    def test_a_pull_that_fills_a_project_meanwhile_is_told(self, run, plan, known):
        run("create", plan)

        def pull(method, path):
            if method == "DELETE" and re.fullmatch(r"/projects/\d+", path):
                hold_something(known)

        known.meanwhile = pull
        done = run("delete", plan)
        assert done.returncode == 1
        assert "412 the project contains repositories, can not be deleted" in done.stderr
        assert "run this again" in done.stderr
        known.meanwhile = None
        assert run("delete", plan).returncode == 0
        assert nothing_is_there(known)


class TestFailure:
    def test_an_upstream_that_harbor_does_not_reach_undoes_everything(self, run, plan, known):
        del known.upstreams[QUAY]
        done = run("create", plan)
        assert done.returncode == 1
        assert "400 the registry is unhealthy" in done.stderr
        assert f"Harbor itself can't use {QUAY}" in done.stderr
        assert "undo: delete the registry endpoint proxy-docker.io" in done.stderr
        assert nothing_is_there(known)

    def test_a_late_failure_undoes_everything(self, run, plan, known):
        known.quota_per_project = False
        done = run("create", plan)
        assert done.returncode == 1
        assert "project quotas are disabled" in done.stderr
        assert nothing_is_there(known)
        assert run("create", plan, quota_bytes=None).returncode == 0

    def test_only_what_this_run_made_is_undone(self, run, plan, known):
        run("create", plan, projects=plan.projects[:1])
        known.upstreams.pop(QUAY)
        assert run("update", plan).returncode == 1
        assert names(known.projects) == ["proxy-docker.io"]
        assert names(known.registries) == ["proxy-docker.io"]
        assert names(known.robots) == ["talos-mine"]

    def test_somebody_who_is_faster_is_told_and_keeps_what_is_theirs(self, run, plan, known):
        def faster(method, path):
            if (method, path) == ("POST", "/projects") and not known.project("proxy-docker.io"):
                somebodys(known)

        known.meanwhile = faster
        done = run("create", plan)
        assert done.returncode == 1
        assert "409 The project named proxy-docker.io already exists" in done.stderr
        assert "make up again" in done.stderr
        assert (names(known.projects), names(known.registries)) == (["proxy-docker.io"], ["theirs"])

    def test_what_can_not_be_undone_is_named(self, run, plan, known):
        def in_use(method, path):
            if method == "POST" and path == "/robots":
                hold_something(known)
                known.robot_prefix = "bot-"

        known.meanwhile = in_use
        done = run("create", plan)
        assert done.returncode == 1
        assert "the project proxy-docker.io stays: " in done.stderr
        assert names(known.projects) == ["proxy-docker.io"]

    def test_a_type_that_this_harbor_takes_for_no_proxy_cache(self, run, plan, known):
        one = replace(plan.projects[1], registry_type="quay")
        done = run("create", plan, projects=(one,))
        assert (done.returncode, "unsupported registry type quay" in done.stderr) == (1, True)
        assert nothing_is_there(known)

    def test_another_type_of_an_own_endpoint_can_not_be_had(self, run, plan, known):
        run("create", plan)
        one = replace(plan.projects[0], registry_type="docker-registry", remote_url=QUAY)
        done = run("update", plan, projects=(one,))
        assert done.returncode == 1
        assert "is of type docker-hub, not docker-registry" in done.stderr


class TestSecrets:
    def test_none_is_told_whatever_happens(self, run, plan, known):
        one = replace(plan.projects[0], username="alice", password="Hub-pass-1")
        private = replace(plan, projects=(one, plan.projects[1]))
        run("create", private)
        run("update", private, robot_secret="An0therSecret")
        run("update", private, robot_secret="no-good-Secret")
        run("update", private, password="Wrong-pass-1")
        known.upstreams.clear()
        run("update", private)
        run("delete", private)
        assert "failed" in run.everything
        for secret in (
            "Harbor12345",
            ROBOT_SECRET,
            "An0therSecret",
            "no-good-Secret",
            "Hub-pass-1",
            "Wrong-pass-1",
        ):
            assert secret not in run.everything
        assert all(secret not in repr(private) for secret in ("Harbor12345", "Hub-pass-1"))


class TestManyPages:
    def test_what_is_behind_the_first_hundred_is_found(self, run, plan, known):
        run("create", plan)
        ours = dict(known.projects), dict(known.registries)
        known.projects.clear()
        known.registries.clear()
        for index in range(1000, 1250):
            known.registries[index] = {**next(iter(ours[1].values())), "id": index}
            known.registries[index] |= {"name": f"other-{index}", "description": ""}
            other = {"project_id": index, "name": f"other-{index}", "metadata": {}}
            known.projects[index] = {**other, "registry_id": index}
            known.projects[index]["metadata"] = {"public": "true"}
        known.projects.update(ours[0])
        known.registries.update(ours[1])
        known.requests.clear()
        assert run("update", plan).returncode == 0
        (number,) = known.robots
        assert changes(known) == [("PATCH", f"/robots/{number}")]


def test_the_same_in_one_process(plan, known, client):
    made = command.bring_about(client, plan, {})
    assert made["projects"]["quay.io"]["made"]
    command.delete(client, plan, made)
    assert nothing_is_there(known)


def test_a_session_of_harbor_is_not_kept(plan, client):
    command.bring_about(client, plan, {})
    assert not client._http.cookies, "with it Harbor asks for a token against forged requests"


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
