"""`python -m ops.harbor` against the double: what it adopts, refuses, removes and leaves."""

import json
import re
from dataclasses import replace

import pytest

from tests.real.private.harbor.conftest import DOCKER, QUAY, ROBOT_SECRET
from tests.real.private.harbor.states import (
    changes,
    hold_something,
    names,
    nothing_is_there,
    somebodys,
    the,
)


def is_made(done, host="docker.io"):
    """Whether a run has called a project the stack's own."""
    return json.loads(done.stdout)["projects"][host]["made"]


class TestWhatIsSomebodyElses:
    def test_the_same_is_adopted_and_left_as_it_is(self, run, plan, known):
        somebodys(known)
        before = str(known.registries), str(known.projects[901])
        done = run.well("create", plan)
        assert (is_made(done), is_made(done, "quay.io")) == (False, True)
        assert (str({900: known.registries[900]}), str(known.projects[901])) == before
        assert 901 in the(known.robots, "talos-mine")["permissions"], "nodes pull from it, too"

    def test_destroy_leaves_what_was_adopted(self, run, plan, known):
        somebodys(known)
        run.well("create", plan)
        hold_something(known)
        run.well("delete", plan)
        assert (names(known.projects), names(known.registries)) == (["proxy-docker.io"], ["theirs"])
        assert known.store.listed(901)
        assert known.robots == {}

    @pytest.mark.parametrize(
        ("other", "difference"),
        [
            ({"url": QUAY}, f"it caches {QUAY}, not {DOCKER}"),
            ({"public": "true"}, "it is public, not private"),
            ({"user": "bob"}, "as another user"),
            ({"registry": None}, "not a proxy cache"),
        ],
    )
    def test_another_is_refused_with_the_difference(self, run, plan, known, other, difference):
        somebodys(known, **other)
        ours = replace(plan.projects[0], username="alice", password="secret")
        told = run.failing("create", plan, projects=(ours, plan.projects[1]))
        assert "the project proxy-docker.io exists" in told
        assert difference in told
        assert "(harbor.projectPrefix)" in told
        assert changes(known) == []

    def test_an_endpoint_of_the_name_is_refused_and_its_maker_named(self, run, plan, known):
        other = "made by talos-cache, stack theirs (ba9876543210)"
        somebodys(known, name="proxy-docker.io", description=other)
        del known.projects[901]
        assert f"this stack did not create it ({other})" in run.failing("create", plan)
        assert changes(known) == []

    def test_a_robot_of_the_name_keeps_its_secret(self, run, created, known):
        robot = the(known.robots, "talos-mine")
        robot["description"] = "for the build servers"
        known.requests.clear()
        assert "(harbor.robot)" in run.failing("update", created, robot_secret="An0therSecret")
        assert (robot["secret"], changes(known)) == (ROBOT_SECRET, [])

    def test_two_stacks_of_one_name_are_not_the_same(self, run, created, known):
        other = replace(created, owner="ba9876543210", robot="robot$talos-theirs")
        done = run.well("create", other)
        assert (is_made(done), is_made(done, "quay.io")) == (False, False)
        run.well("delete", other)
        assert names(known.projects) == ["proxy-docker.io", "proxy-quay.io"]
        assert names(known.robots) == ["talos-mine"]


class TestDelete:
    def test_nothing_is_left(self, run, created, known):
        hold_something(known, count=130)
        assert run.well("delete", created).stdout == ""
        assert nothing_is_there(known)
        deleted = [path for method, path in changes(known) if method == "DELETE"]
        assert len([path for path in deleted if "/repositories/" in path]) == 130
        assert "/projects/proxy-docker.io/repositories/library%252Fimage-0" in deleted

    def test_a_second_time_it_finds_nothing_and_that_is_fine(self, run, created, known):
        run.well("delete", created)
        run.well("delete", created)
        assert nothing_is_there(known)

    def test_what_holds_images_is_kept_with_its_endpoint(self, run, plan, known):
        run.well("create", plan, keep_data=True)
        hold_something(known)
        done = run.well("delete", plan, keep_data=True)
        assert "the project proxy-docker.io contains images" in done.stderr
        assert names(known.projects) == ["proxy-docker.io"]
        assert names(known.registries) == ["proxy-docker.io"]
        assert known.robots == {}
        assert is_made(run.well("create", plan, keep_data=True)) is True

    @pytest.mark.parametrize("state_was_lost", [False, True])
    def test_what_was_kept_goes_when_it_may_however_long_ago_that_was(
        self, run, plan, known, state_was_lost
    ):
        keeping = replace(plan, keep_data=True)
        run.well("create", keeping)
        hold_something(known, "proxy-quay.io")
        without = replace(keeping, projects=plan.projects[:1])
        for _ in range(3):
            done = run.well("update", without)
            assert "the project proxy-quay.io contains images" in done.stderr
            assert "another user" not in done.stderr
        if state_was_lost:
            run.previous = ""
        run.well("delete", replace(without, keep_data=False))
        assert nothing_is_there(known)

    def test_what_was_kept_and_is_wanted_again_is_the_stacks_own(self, run, plan, known):
        keeping = replace(plan, keep_data=True)
        run.well("create", keeping)
        hold_something(known)
        run.well("update", keeping, projects=plan.projects[1:])
        assert is_made(run.well("update", keeping, quota_bytes=7)) is True
        assert {one["storage"] for one in known.quotas.values()} == {7}
        run.well("delete", plan)
        assert nothing_is_there(known)

    def test_an_endpoint_that_was_renamed_goes_with_its_project(self, run, created, known):
        the(known.registries, "proxy-quay.io")["name"] = "renamed"
        run.well("update", created, projects=created.projects[:1])
        assert names(known.registries) == names(known.projects) == ["proxy-docker.io"]

    def test_what_somebody_has_taken_over_stays_and_is_named(self, run, created, known):
        the(known.registries, "proxy-quay.io")["description"] = "the platform team has this now"
        done = run.well("delete", created)
        assert "the project proxy-quay.io stays: the description of its registry end" in done.stderr
        assert names(known.registries) == names(known.projects) == ["proxy-quay.io"]

    def test_a_project_that_somebody_put_on_the_endpoint_stays(self, run, created, known):
        number = the(known.registries, "proxy-quay.io")["id"]
        made = {"name": "colleague", "registry_id": number, "metadata": {"public": "true"}}
        known.projects[950] = {"project_id": 950, "owner_id": 3, **made}
        done = run.well("delete", created)
        assert "another user created the project colleague" in done.stderr
        assert names(known.projects) == ["colleague"]
        assert names(known.registries) == ["proxy-quay.io"]

    def test_a_pull_that_fills_a_project_meanwhile_is_told(self, run, created, known):
        def pull(method, path):
            if method == "DELETE" and re.fullmatch(r"/projects/\d+", path):
                hold_something(known)

        known.meanwhile = pull
        told = run.failing("delete", created)
        assert "412 the project contains repositories, can not be deleted" in told
        assert "run this again" in told
        known.meanwhile = None
        run.well("delete", created)
        assert nothing_is_there(known)
