"""The steps for a Harbor, given what it has; `tests/real/private/harbor` carries them out."""

import json
from dataclasses import replace

import pytest

from plan.harbor import reconcile
from plan.harbor.reconcile import RefusalError
from tests.unit.plan.harbor.shapes import (
    PLAN,
    THERE,
    WITH_ROBOT,
    WITH_USER,
    found,
    on,
    project,
    registry,
    robot,
    theirs,
)


def asked(steps):
    return [(step.method, step.path) for step in steps]


class TestEndpoints:
    def test_a_missing_one_is_created_with_the_mark_of_its_stack(self):
        (step,) = reconcile.endpoint_steps(PLAN, found())
        assert (step.does, step.method, step.path) == ("create", "POST", "/registries")
        assert step.body["description"] == "made by talos-cache, stack mine (0123456789ab)"
        assert "credential" not in step.body

    def test_with_credentials_they_are_in_it_and_in_no_repr(self):
        (step,) = reconcile.endpoint_steps(replace(PLAN, projects=(WITH_USER,)), found())
        assert step.body["credential"]["access_secret"] == "secret"
        assert "secret" not in repr(step)

    @pytest.mark.parametrize(
        "changes",
        [
            {"url": "https://x.test"},
            {"name": "another"},
            {"insecure": True},
            {"credential": {"access_key": "bob", "access_secret": "*****"}},
        ],
    )
    def test_an_own_one_that_differs_is_written_with_its_secret(self, changes):
        state = on(registry(**changes))
        (step,) = reconcile.endpoint_steps(PLAN, state)
        assert (step.method, step.path) == ("PUT", "/registries/1")
        assert {"access_key", "access_secret", "url"} <= set(step.body)

    def test_an_own_one_without_its_project_is_used(self):
        assert reconcile.endpoint_steps(PLAN, found(registries=[registry()])) == ()

    def test_a_password_is_always_written_because_no_one_can_read_it(self):
        there = registry(credential={"access_key": "alice", "access_secret": "*****"})
        state = on(there)
        plan = replace(PLAN, projects=(WITH_USER,))
        assert asked(reconcile.endpoint_steps(plan, state)) == [("PUT", "/registries/1")]

    def test_an_unchanged_one_and_another_users_stay_as_they_are(self):
        assert reconcile.endpoint_steps(PLAN, THERE) == ()
        other = on(theirs(name="x"))
        assert reconcile.endpoint_steps(PLAN, other) == ()


class TestProjects:
    def test_a_missing_one_is_created_on_its_endpoint(self):
        state = found(registries=[registry(id=5)])
        (step,) = reconcile.project_steps(replace(PLAN, quota_bytes=9), state)
        assert step.body == {
            "project_name": "proxy",
            "registry_id": 5,
            "storage_limit": 9,
            "metadata": {"public": "false"},
        }
        assert reconcile.project_steps(PLAN, state)[0].body["storage_limit"] == -1

    def test_an_own_one_is_opened_and_another_users_is_not(self):
        plan = replace(PLAN, public=True)
        (step,) = reconcile.project_steps(plan, THERE)
        assert (step.path, step.body) == ("/projects/2", {"metadata": {"public": "true"}})
        other = on(theirs())
        assert reconcile.project_steps(plan, other) == ()
        assert reconcile.project_steps(PLAN, THERE) == ()


QUOTA = {"id": 8, "hard": {"storage": -1}}


class TestSettings:
    def policy(self, days, **changes):
        (step,) = reconcile.setting_steps(replace(PLAN, retention_days=days), project(), None, None)
        return {"id": 4, **step.body, **changes}

    def test_without_retention_days_harbors_seven_days_are_removed(self):
        steps = reconcile.setting_steps(PLAN, project(), self.policy(7), QUOTA)
        assert asked(steps) == [("DELETE", "/retentions/4")]
        assert reconcile.setting_steps(PLAN, project(), None, QUOTA) == ()

    def test_retention_days_create_a_policy_or_change_it(self):
        plan = replace(PLAN, retention_days=30)
        assert asked(reconcile.setting_steps(plan, project(), None, None)) == [
            ("POST", "/retentions")
        ]
        changed = reconcile.setting_steps(plan, project(), self.policy(7), None)
        assert asked(changed) == [("PUT", "/retentions/4")]
        assert changed[0].body["id"] == 4

    def test_what_harbor_adds_is_not_a_difference(self):
        there = json.loads(json.dumps(self.policy(30)))
        for number, rule in enumerate(reversed(there["rules"])):
            rule |= {"id": number, "priority": 1}
            del rule["disabled"]
            rule["tag_selectors"][0]["extras"] = ""
        there["rules"].reverse()
        there["trigger"]["references"] = {"job_id": 1}
        plan = replace(PLAN, retention_days=30)
        assert reconcile.setting_steps(plan, project(), there, None) == ()

    @pytest.mark.parametrize(
        "changes",
        [
            {"trigger": {"kind": "Schedule", "settings": None}},
            {"trigger": None},
            {"algorithm": "and"},
            {"rules": []},
            {"rules": None},
            {"rules": [{"template": "always", "params": None}]},
            {"rules": [{"tag_selectors": [{}], "scope_selectors": None}]},
        ],
    )
    def test_what_was_changed_is_a_difference(self, changes):
        plan = replace(PLAN, retention_days=30)
        assert reconcile.setting_steps(plan, project(), self.policy(30, **changes), None)

    def test_the_reference_to_a_policy_that_is_gone_is_removed_first(self):
        there = project(metadata={"public": "false", "retention_id": "4"})
        forgotten = ("DELETE", "/projects/2/metadatas/retention_id")
        assert asked(reconcile.setting_steps(PLAN, there, None, QUOTA)) == [forgotten]
        plan = replace(PLAN, retention_days=30)
        steps = reconcile.setting_steps(plan, there, None, None)
        assert asked(steps) == [forgotten, ("POST", "/retentions")]
        steps = reconcile.setting_steps(PLAN, there, self.policy(7), QUOTA)
        assert asked(steps) == [("DELETE", "/retentions/4")], "this one is not gone"

    def test_quotas(self):
        plan = replace(PLAN, quota_bytes=9)
        (step,) = reconcile.setting_steps(plan, project(), None, QUOTA)
        assert (step.path, step.body) == ("/quotas/8", {"hard": {"storage": 9}})
        assert reconcile.setting_steps(PLAN, project(), None, None) == ()
        with pytest.raises(RefusalError, match="quotas are disabled"):
            reconcile.setting_steps(plan, project(), None, None)


class TestRobots:
    def test_it_pulls_from_the_projects_and_nothing_else(self):
        (step,) = reconcile.robot_steps(WITH_ROBOT, THERE)
        assert step.body["name"] == "talos"
        assert step.body["level"] == "system"
        assert step.body["duration"] == -1
        assert step.body["permissions"] == robot()["permissions"]
        assert "secret" not in step.body, "Harbor makes one of its own"

    def test_an_unchanged_one_stays_and_another_is_updated(self):
        same = replace(THERE, robots=(robot(),))
        assert reconcile.robot_steps(WITH_ROBOT, same) == ()
        for changes in (
            {"disable": True},
            {"duration": 30},
            {"permissions": []},
            {"permissions": None},
        ):
            (step,) = reconcile.robot_steps(WITH_ROBOT, replace(THERE, robots=(robot(**changes),)))
            assert asked([step]) == [("PUT", "/robots/3")]
            assert step.body["name"] == "robot$talos"

    def test_the_stacks_other_robots_are_deleted_and_another_users_stay(self):
        others = (robot(id=7, name="robot$old"), robot(id=8, name="robot$x", description=""))
        state = replace(THERE, robots=(robot(), *others))
        assert asked(reconcile.robot_steps(WITH_ROBOT, state)) == [("DELETE", "/robots/7")]
        gone = asked(reconcile.robot_steps(PLAN, state))
        assert gone == [("DELETE", "/robots/3"), ("DELETE", "/robots/7")]

    def test_its_secret_is_set(self):
        state = replace(THERE, robots=(robot(id=7, name="robot$old"), robot()))
        step = reconcile.secret_step(WITH_ROBOT, state)
        assert asked([step]) == [("PATCH", "/robots/3")]
        assert step.body == {"secret": "Robot5ecret"}
        assert "Robot5ecret" not in repr(step)
        assert reconcile.secret_step(PLAN, state) is None


def test_the_outputs_say_what_is_the_stacks_own_and_no_secret():
    outputs = reconcile.made(WITH_ROBOT, THERE)
    assert outputs["robot"] == "robot$talos"
    own = {"project": "proxy", "mirror": "https://harbor.test/v2/proxy", "made": True}
    assert outputs["projects"] == {"docker.io": own}
    assert reconcile.made_before(outputs) == {"proxy"}
    for state in (on(theirs()), found()):
        assert reconcile.made(PLAN, state)["projects"]["docker.io"]["made"] is False
        assert reconcile.made_before(reconcile.made(PLAN, state)) == frozenset()
    assert not any(secret in json.dumps(outputs) for secret in WITH_ROBOT.secrets)
