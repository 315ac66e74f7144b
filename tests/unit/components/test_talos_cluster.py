"""TalosCluster, as the engine sees it."""

import json
from dataclasses import replace

import pulumi
import pytest

from components import TalosCluster
from plan.caches import addressing, cache_plan
from plan.settings.stack import parse
from plan.talos import cluster, cluster_transport, mirrors
from tests.unit.components.engine import CLUSTER, COMMAND, Secret, run

CONFIG = {
    "upstreams": {"docker.io": {}, "ghcr.io": {}},
    "cluster": {
        "name": "dev",
        "workers": 2,
        "createTimeout": "10m",
        "patches": ["machine: {env: {TOKEN: hunter2}}"],
    },
}


def plan_for(config=CONFIG):
    chosen = parse(config)
    plans = cache_plan.build(chosen, addressing.resolve(chosen, "172.17.0.1"))
    return cluster.build("mine", chosen.clusters, plans, mirrors.build(plans), {})[0]


def registered(plan=None, *, preview=False, ready=True):
    made = plan or plan_for()

    def program():
        TalosCluster("cluster", made, pulumi.Output.from_input(ready))

    return run(program, preview=preview)


def test_it_is_a_component_with_one_command():
    record = registered()
    assert len(record.resources) == 2
    assert record.one(COMMAND, "cluster-command").parent == record.one(CLUSTER, "cluster").urn


def test_the_command_line_has_no_path_of_this_machine():
    inputs = registered().one(COMMAND).inputs
    for step in ("create", "update", "delete"):
        assert inputs[step] == f"exec .work/venv/bin/python -m ops.cluster {step}"
    assert "/home" not in json.dumps(inputs["environment"])
    assert "/root" not in json.dumps(inputs["environment"])
    assert "dir" not in inputs, "a second checkout would show a difference"


def test_only_the_part_that_may_contain_secrets_is_secret():
    inputs = registered().one(COMMAND).inputs
    assert isinstance(inputs["stdin"], Secret)
    assert "hunter2" in inputs["stdin"].value
    assert "hunter2" not in json.dumps(inputs["environment"])
    assert json.loads(inputs["environment"]["TALOS_CACHE_CLUSTER"])["name"] == "dev"


def test_standard_output_is_for_the_next_run_and_is_not_shown():
    assert registered().one(COMMAND).inputs["logging"] == "stderr"


def test_another_identity_replaces_it_and_the_old_one_goes_first():
    resource = registered().one(COMMAND)
    assert resource.inputs["triggers"] == [
        json.loads(json.dumps(cluster_transport.identity(plan_for())))
    ]
    assert resource.delete_before_replace


def test_another_timeout_changes_nothing():
    assert registered().one(COMMAND).ignore_changes == ["environment.TALOS_CACHE_CREATE_TIMEOUT"]


def test_the_engine_waits_longer_than_the_command_does():
    assert registered().one(COMMAND).create_timeout == "720s"


def test_a_preview_shows_the_mirrors_though_the_caches_are_not_ready():
    more = plan_for({**CONFIG, "upstreams": {"docker.io": {}, "ghcr.io": {}, "quay.io": {}}})
    before, after = (
        registered(plan, preview=True).one(COMMAND).inputs for plan in (plan_for(), more)
    )
    changed = {
        key for key, value in after["environment"].items() if value != before["environment"][key]
    }
    assert changed == {"TALOS_CACHE_MIRRORS"}
    assert {**after, "environment": {}} == {**before, "environment": {}}


def test_an_update_runs_nothing_until_the_caches_answer():
    async def never():
        raise pulumi.RunError("a cache fails")

    with pytest.raises(pulumi.RunError, match="a cache fails"):
        run(lambda: TalosCluster("cluster", plan_for(), pulumi.Output.from_input(never())))


def test_the_same_plan_gives_the_same_command():
    again = replace(plan_for())
    assert registered(again).one(COMMAND).inputs == registered().one(COMMAND).inputs


def test_warming_is_a_command_before_the_cluster():
    config = {**CONFIG, "cluster": {**CONFIG["cluster"], "warm": True}}
    record = registered(plan_for(config))
    warm = record.one(COMMAND, "cluster-warm")
    line = "exec .work/venv/bin/python -m ops warm --stack mine --cluster dev"
    assert (warm.inputs["create"], warm.inputs["update"]) == (line, line)
    assert warm.urn in record.one(COMMAND, "cluster-command").depends_on
    assert "hunter2" not in json.dumps(warm.inputs["environment"])
