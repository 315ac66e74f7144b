"""HarborProjects, as the engine sees it."""

import json
from dataclasses import replace

from components import HarborProjects
from plan.harbor import transport
from plan.harbor.desired import HarborPlan, HarborProject
from tests.unit.components.engine import COMMAND, HARBOR, Secret, run

SECRETS = ("hunter2", "Robot5ecret", "upstream-password")
PLAN = HarborPlan(
    stack="mine",
    owner="0123456789ab",
    url="https://harbor.test",
    ca_pem="",
    projects=(
        HarborProject(
            host="docker.io",
            name="proxy-docker.io",
            registry_name="talos-docker.io",
            registry_type="docker-hub",
            remote_url="https://hub.docker.com",
            username="alice",
            password="upstream-password",
        ),
    ),
    public=False,
    retention_days=30,
    quota_bytes=None,
    robot="robot$talos-mine",
    robot_secret="Robot5ecret",
    username="admin",
    password="hunter2",
    keep_data=True,
)


def registered(plan=PLAN):
    return run(lambda: HarborProjects("harbor", plan))


def test_it_is_a_component_with_one_command():
    record = registered()
    assert len(record.resources) == 2
    assert record.one(COMMAND, "harbor-command").parent == record.one(HARBOR, "harbor").urn
    assert record.outputs[record.one(HARBOR).urn] == {"projects": ["proxy-docker.io"]}


def test_the_command_line_has_no_path_of_this_machine():
    inputs = registered().one(COMMAND).inputs
    for step in ("create", "update", "delete"):
        assert inputs[step] == f"exec .work/venv/bin/python -m ops.harbor {step}"
    assert "dir" not in inputs, "a second checkout would show a difference"


def test_secrets_are_only_in_standard_input_and_marked():
    inputs = dict(registered().one(COMMAND).inputs)
    stdin = inputs.pop("stdin")
    assert isinstance(stdin, Secret)
    for secret in SECRETS:
        assert secret in stdin.value
        assert secret not in json.dumps(inputs)


def test_the_command_can_rebuild_its_plan():
    inputs = registered().one(COMMAND).inputs
    assert transport.read(inputs["environment"], inputs["stdin"].value) == PLAN


def test_another_harbor_replaces_it_and_the_old_one_goes_first():
    resource = registered().one(COMMAND)
    assert resource.inputs["triggers"] == [{"url": "https://harbor.test", "owner": "0123456789ab"}]
    assert resource.delete_before_replace


def test_another_password_updates_it():
    before = registered().one(COMMAND).inputs
    after = registered(replace(PLAN, password="another")).one(COMMAND).inputs
    assert {key for key in after if after[key] != before[key]} == {"stdin"}


def test_another_repair_updates_it():
    def of(repairs):
        return run(lambda: HarborProjects("harbor", PLAN, repairs)).one(COMMAND).inputs

    before, after = of(1), of(2)
    assert {key for key in after if after[key] != before[key]} == {"environment"}
    assert transport.read(after["environment"], after["stdin"].value) == PLAN
    assert of(0) == registered().one(COMMAND).inputs


def test_standard_output_is_for_the_next_run_and_is_not_shown():
    assert registered().one(COMMAND).inputs["logging"] == "stderr"
