"""What has changed in a Harbor since a stack's last update, and the count for the engine."""

import json
from dataclasses import replace

import pytest

from plan import ownership
from plan.harbor import cleanup, drift, reconcile, transport
from plan.harbor.drift import Recorded
from plan.harbor.reconcile import Step
from tests.unit.plan.harbor.shapes import (
    HUB,
    PLAN,
    THERE,
    WITH_ROBOT,
    WITH_USER,
    found,
    project,
    registry,
    robot,
)

PRINTED = json.dumps(reconcile.made(PLAN, THERE))


def outputs(plan=PLAN, repairs=0, printed=PRINTED):
    return {"environment": transport.environment(plan, repairs), "stdout": printed}


@pytest.mark.parametrize("repairs", [0, 1, 12])
def test_the_count_stays_in_the_state(repairs):
    recorded = drift.recorded(outputs(repairs=repairs))
    assert recorded.repairs == repairs
    assert recorded.made == {"proxy"}
    assert recorded.is_of(PLAN), "so that a second preview is clean"
    assert not recorded.is_of(replace(PLAN, quota_bytes=7)), "then the command runs in any case"


def test_without_repairs_there_is_no_count():
    assert transport.REPAIRS_VARIABLE not in transport.environment(PLAN), (
        "no change for an older stack"
    )


@pytest.mark.parametrize(
    "other",
    [{}, {"environment": None}, {"environment": {"TALOS_CACHE_STACK": "mine"}}],
)
def test_another_command_is_not_harbors(other):
    assert drift.recorded(other) is None


@pytest.mark.parametrize("printed", [None, "", "{}"])
def test_a_command_that_has_printed_nothing_has_created_nothing(printed):
    assert drift.recorded(outputs(printed=printed)).made == frozenset()


def test_a_count_that_is_not_a_number_is_zero():
    recorded = Recorded(environment={transport.REPAIRS_VARIABLE: "many"}, made=frozenset())
    assert recorded.repairs == 0


def test_the_count_is_part_of_what_the_state_knows():
    resources = [
        (ownership.COMMAND_TYPE, {"environment": {"TALOS_CACHE_STACK": "mine"}}),
        (ownership.COMMAND_TYPE, outputs(repairs=3)),
    ]
    assert ownership.recorded(resources).harbor.repairs == 3
    assert ownership.recorded([]).harbor is None


def differences(state, *settings, plan=PLAN, made=("proxy",)):
    return drift.differences(plan, state, settings, made)


def test_nothing_differs_even_if_there_are_passwords():
    credential = {"type": "basic", "access_key": "alice", "access_secret": "*****"}
    state = found(registries=[registry(credential=credential)], projects=[project()])
    assert differences(state, plan=replace(PLAN, projects=(WITH_USER,))) == ()
    assert differences(replace(THERE, robots=(robot(),)), plan=WITH_ROBOT) == ()


@pytest.mark.parametrize(
    ("state", "messages"),
    [
        (
            found(),
            ("the project proxy is missing", "the registry endpoint endpoint is missing"),
        ),
        (found(registries=[registry()]), ("the project proxy is missing",)),
        (
            found(registries=[registry(url="https://other")], projects=[project()]),
            ("the registry endpoint endpoint was changed",),
        ),
        (
            found(registries=[registry()], projects=[project(metadata={"public": "true"})]),
            ("the project proxy was changed",),
        ),
        (
            replace(THERE, robots=(robot(),)),
            ("the robot account robot$talos should not exist",),
        ),
        (
            found(registries=[registry(description="x", url=f"{HUB}/")], projects=[project()]),
            (f"the project proxy: {cleanup.GIVEN_UP}",),
        ),
    ],
)
def test_what_differs_is_reported(state, messages):
    assert differences(state) == messages


def test_what_the_settings_need_and_what_is_refused_is_reported():
    step = Step(does="create", what="the retention", method="POST", path="/retentions")
    assert differences(THERE, step) == ("the retention is missing",)
    (refusal,) = differences(found(projects=[project(registry_id=None)]), made=())
    assert "not a proxy cache" in refusal
