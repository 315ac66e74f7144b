"""The stack's outputs: what scripts and people rely on."""

import json

from tests.plan.shapes import GATEWAY, planned_file

NAMES = {
    "caches",
    "endpoints",
    "localEndpoints",
    "machineConfigPatch",
    "legacyMachineConfigPatch",
    "talosctlCommand",
}


def test_the_names_of_the_outputs_are_a_promise():
    assert set(planned_file("minimal").outputs) == NAMES


def test_caches_say_all_that_day_two_commands_need():
    caches = planned_file("known-upstream-behind-another-url").outputs["caches"]
    assert caches["docker.io"] == {
        "container": "registry-docker.io",
        "volume": "registry-docker.io",
        "remoteUrl": "https://mirror.example.com",
        "port": 6000,
    }


def test_endpoints_are_for_nodes_and_local_endpoints_for_this_machine():
    outputs = planned_file("minimal").outputs
    assert outputs["endpoints"]["quay.io"] == f"http://{GATEWAY}:5002"
    assert outputs["localEndpoints"]["quay.io"] == "http://127.0.0.1:5002"


def test_endpoints_have_no_path_even_where_the_mirror_has_one():
    outputs = planned_file("override-path").outputs
    assert outputs["endpoints"]["docker.io"] == f"http://{GATEWAY}:5000"


def test_no_output_holds_a_secret():
    outputs = planned_file("all-keys").outputs
    assert "hunter2" not in json.dumps(outputs)
    assert "bob" not in json.dumps(outputs)
