"""The steps for a Harbor, given what it has; `tests/real/private/harbor` carries them out."""

import json
from dataclasses import replace

import pytest

from plan.harbor import cleanup, desired, reconcile, refusals, transport
from plan.harbor.desired import HarborPlan, HarborProject
from plan.harbor.inventory import Found
from plan.harbor.reconcile import RefusalError

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


THEIRS = registry(description="", url=f"{HUB}/")
THERE = found(registries=[registry()], projects=[project()])


def asked(steps):
    return [(step.method, step.path) for step in steps]


class TestTravel:
    def test_the_plan_arrives_unchanged(self):
        whole = replace(WITH_ROBOT, projects=(WITH_USER,), quota_bytes=7, ca_pem="a\nb\n")
        arrived = transport.read(transport.environment(whole), transport.secret_input(whole))
        assert arrived == whole

    def test_secrets_are_passed_separately(self):
        whole = replace(WITH_ROBOT, projects=(WITH_USER,))
        public, secret = json.dumps(transport.environment(whole)), transport.secret_input(whole)
        assert whole.secrets == ("hunter2", "Robot5ecret", "secret")
        for text in (*whole.secrets, "alice"):
            assert text in secret
            assert text not in public
        assert not any(text in repr(whole) for text in whole.secrets)
        assert "\n" not in secret

    def test_what_can_not_change_in_place(self):
        assert transport.identity(PLAN) == {"url": "https://harbor.test", "owner": "0123456789ab"}


@pytest.mark.parametrize(
    ("host", "url", "endpoint"),
    [
        ("docker.io", "https://registry-1.docker.io", ("docker-hub", HUB)),
        ("docker.io", "https://mirror.test", ("docker-registry", "https://mirror.test")),
        ("ghcr.io", "https://ghcr.io", ("github-ghcr", "https://ghcr.io")),
        ("gcr.io", "https://gcr.io", ("docker-registry", "https://gcr.io")),
        ("quay.io", "https://quay.io", ("docker-registry", "https://quay.io")),
        ("mine.test", "https://ghcr.io", ("docker-registry", "https://ghcr.io")),
    ],
)
def test_the_endpoint_of_an_upstream(host, url, endpoint):
    assert desired.upstream_endpoint(host, url) == endpoint


def test_a_mirror_has_the_whole_path():
    assert desired.mirror_url("https://harbor.test/", "proxy") == "https://harbor.test/v2/proxy"


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ("Abcdefg1", True),
        ("Abcdef1", False),
        ("abcdefg1", False),
        ("ABCDEFG1", False),
        ("Abcdefgh", False),
        ("Aa1" + "x" * 125, True),
        ("Aa1" + "x" * 126, False),
    ],
)
def test_harbors_rule_for_a_robots_secret(text, good):
    assert desired.is_robot_secret(text) is good


class TestRefusals:
    @pytest.mark.parametrize(
        ("plan", "state"),
        [
            (PLAN, found()),
            (PLAN, THERE),
            (PLAN, found(registries=[registry()])),
            (
                PLAN,
                found(registries=[registry(description="", url=f"{HUB}/")], projects=[project()]),
            ),
            (WITH_ROBOT, found(robots=[robot()])),
            (WITH_ROBOT, found(robots=[robot(name="robot$other", description="")])),
            (replace(WITH_ROBOT, robot="bot-talos"), found(prefix="bot-")),
        ],
    )
    def test_none(self, plan, state):
        assert refusals.refusals(plan, state) == ()

    @pytest.mark.parametrize(
        ("plan", "state", "text"),
        [
            (PLAN, found(registries=[registry(description="")]), "registry endpoint endpoint"),
            (
                PLAN,
                found(registries=[registry(description="made by talos-cache, stack x (y)")]),
                "(made by talos-cache, stack x (y))",
            ),
            (PLAN, found(projects=[project(registry_id=0)]), "not a proxy cache"),
            (PLAN, found(projects=[project(registry_id=9)]), "not a proxy cache"),
            (
                PLAN,
                found(
                    registries=[registry(description="", url="https://x.test")],
                    projects=[project(metadata={"public": "true"})],
                ),
                f"https://x.test, not {HUB}; it is public, not private",
            ),
            (
                replace(PLAN, public=True),
                found(registries=[registry(description="")], projects=[project(metadata={})]),
                "it is private, not public",
            ),
            (
                replace(PLAN, projects=(WITH_USER,)),
                found(
                    registries=[registry(description="", credential={"access_key": "bob"})],
                    projects=[project()],
                ),
                "as another user",
            ),
            (
                PLAN,
                found(registries=[registry(type="docker-registry")], projects=[project()]),
                "is of type docker-registry, not docker-hub",
            ),
            (WITH_ROBOT, found(robots=[robot(description="")]), "(harbor.robot)"),
            (WITH_ROBOT, found(prefix="bot-"), "bot-NAME"),
            (WITH_ROBOT, found(prefix="bot-"), "harbor.robot: bot-talos"),
            (replace(WITH_ROBOT, robot="robot$A B"), found(), "harbor.robot: robot$talos-mine"),
        ],
    )
    def test_each_names_the_difference_and_the_way_out(self, plan, state, text):
        (refusal,) = refusals.refusals(plan, state)
        assert text in refusal

    def test_all_are_reported_at_once(self):
        state = found(registries=[registry(description="")], robots=[robot(description="")])
        assert len(refusals.refusals(WITH_ROBOT, state)) == 2


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
        state = found(registries=[registry(**changes)], projects=[project()])
        (step,) = reconcile.endpoint_steps(PLAN, state)
        assert (step.method, step.path) == ("PUT", "/registries/1")
        assert {"access_key", "access_secret", "url"} <= set(step.body)

    def test_an_own_one_without_its_project_is_used(self):
        assert reconcile.endpoint_steps(PLAN, found(registries=[registry()])) == ()

    def test_a_password_is_always_written_because_no_one_can_read_it(self):
        there = registry(credential={"access_key": "alice", "access_secret": "*****"})
        state = found(registries=[there], projects=[project()])
        plan = replace(PLAN, projects=(WITH_USER,))
        assert asked(reconcile.endpoint_steps(plan, state)) == [("PUT", "/registries/1")]

    def test_an_unchanged_one_and_another_users_stay_as_they_are(self):
        assert reconcile.endpoint_steps(PLAN, THERE) == ()
        other = found(registries=[registry(description="", name="x")], projects=[project()])
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
        other = found(registries=[registry(description="")], projects=[project()])
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
            assert (step.method, step.path, step.body["name"]) == (
                "PUT",
                "/robots/3",
                "robot$talos",
            )

    def test_the_stacks_other_robots_are_deleted_and_another_users_stay(self):
        others = (robot(id=7, name="robot$old"), robot(id=8, name="robot$x", description=""))
        state = replace(THERE, robots=(robot(), *others))
        assert asked(reconcile.robot_steps(WITH_ROBOT, state)) == [("DELETE", "/robots/7")]
        gone = asked(reconcile.robot_steps(PLAN, state))
        assert gone == [("DELETE", "/robots/3"), ("DELETE", "/robots/7")]

    def test_its_secret_is_set(self):
        state = replace(THERE, robots=(robot(id=7, name="robot$old"), robot()))
        step = reconcile.secret_step(WITH_ROBOT, state)
        assert (step.method, step.path, step.body) == (
            "PATCH",
            "/robots/3",
            {"secret": "Robot5ecret"},
        )
        assert "Robot5ecret" not in repr(step)
        assert reconcile.secret_step(PLAN, state) is None


class TestRemovals:
    def of(self, state, *, wanted=(), known=("proxy",), **changes):
        return cleanup.removals(replace(PLAN, **changes), state, wanted, known)

    def test_an_endpoint_is_removed_after_its_projects(self):
        (removal,) = self.of(THERE)
        assert (removal.projects, removal.stays) == ((project(),), None)

    def test_what_is_wanted_and_what_belongs_to_another_user_stays(self):
        assert self.of(THERE, wanted=["proxy"]) == ()
        assert self.of(found(registries=[registry(description="")], projects=[project()])) == ()

    def test_a_project_with_images_is_kept_with_its_endpoint_unless_they_may_go(self):
        state = found(registries=[registry()], projects=[project(repo_count=3)])
        (removal,) = self.of(state)
        assert removal.projects == ()
        assert "proxy contains images" in removal.stays
        (removal,) = self.of(state, keep_data=False)
        assert (removal.projects, removal.stays) == (state.projects, None)

    def test_what_another_user_created_there_stays(self):
        state = found(
            registries=[registry()], projects=[project(), project(name="x", project_id=9)]
        )
        (removal,) = self.of(state)
        assert removal.projects == (project(),)
        assert "another user created the project x" in removal.stays

    def test_what_was_kept_once_is_known_by_its_endpoints_name(self):
        named = project(name="endpoint", repo_count=3)
        state = found(registries=[registry()], projects=[named])
        (removal,) = self.of(state, known=())
        assert "endpoint contains images" in removal.stays
        (removal,) = self.of(state, known=(), keep_data=False)
        assert (removal.projects, removal.stays) == ((named,), None)

    def test_credentials_that_stay_with_an_endpoint_are_reported(self):
        credential = {"type": "basic", "access_key": "alice", "access_secret": "*****"}
        for changes, stays in (({}, False), ({"credential": credential}, True)):
            endpoint = registry(**changes)
            (removal,) = self.of(found(registries=[endpoint], projects=[project(repo_count=3)]))
            assert removal.told.startswith("the registry endpoint endpoint stays")
            assert ("with the credentials" in removal.told) is stays

    def test_what_no_longer_has_the_mark_is_given_up(self):
        given_up = found(registries=[registry(description="ours now")], projects=[project()])
        assert cleanup.given_up(PLAN, given_up, ["proxy", "gone"]) == ("proxy",)
        assert (
            cleanup.given_up(PLAN, given_up, []) == cleanup.given_up(PLAN, THERE, ["proxy"]) == ()
        )

    def test_an_endpoint_without_projects_is_removed(self):
        (removal,) = self.of(found(registries=[registry(), registry(id=9, description="")]))
        assert (removal.registry["id"], removal.projects, removal.stays) == (1, (), None)


def test_the_outputs_say_what_is_the_stacks_own_and_no_secret():
    outputs = reconcile.made(WITH_ROBOT, THERE)
    assert outputs["robot"] == "robot$talos"
    assert outputs["projects"] == {
        "docker.io": {
            "project": "proxy",
            "mirror": "https://harbor.test/v2/proxy",
            "made": True,
        }
    }
    other = found(registries=[registry(description="")], projects=[project()])
    assert reconcile.made(PLAN, other)["projects"]["docker.io"]["made"] is False
    assert reconcile.made(PLAN, found())["projects"]["docker.io"]["made"] is False
    assert not any(secret in json.dumps(outputs) for secret in WITH_ROBOT.secrets)
