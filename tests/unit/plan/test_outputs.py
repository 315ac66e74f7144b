"""The stack's outputs: what scripts and people rely on."""

import json

from plan.outputs import build, secrets
from tests.unit.plan.shapes import GATEWAY, OF_CLUSTERS, OUTPUTS, planned_file


def test_the_names_of_the_outputs_are_a_promise():
    assert set(planned_file("minimal").outputs) == OUTPUTS


def test_caches_have_all_that_day_two_commands_need():
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


def test_endpoints_have_no_path_even_if_the_mirror_has_one():
    outputs = planned_file("override-path").outputs
    assert outputs["endpoints"]["docker.io"] == f"http://{GATEWAY}:5000"


def test_clusters_add_how_to_reach_them():
    plan = planned_file("clusters-side-by-side")
    access = {
        name: {"talosconfig": f"/{name}/talosconfig", "kubeconfig": f"/{name}/kubeconfig"}
        for name in ("one", "two", "three")
    }
    outputs = build(plan.caches, plan.mirrors, plan.settings.clusters, access)
    assert set(outputs) == OUTPUTS | OF_CLUSTERS
    assert outputs["clusters"] == access
    first = (outputs["talosconfig"], outputs["kubeconfig"])
    assert first == ("/one/talosconfig", "/one/kubeconfig")


def test_without_clusters_there_is_nothing_to_reach():
    plan = planned_file("minimal")
    assert set(build(plan.caches, plan.mirrors, (), {})) == OUTPUTS


def test_both_patches_are_secret_exactly_if_there_is_a_login():
    both = {"machineConfigPatch", "legacyMachineConfigPatch"}
    assert secrets(planned_file("cache-login").mirrors) == both
    assert secrets(planned_file("tls-with-a-ca-of-its-own").mirrors) == set(), (
        "a CA is public, and people read their outputs"
    )
    assert secrets(planned_file("minimal").mirrors) == set()


def test_a_login_is_only_in_secret_outputs():
    plan = planned_file("cache-login-and-tls")
    hidden = secrets(plan.mirrors)
    shown = {name: value for name, value in plan.outputs.items() if name not in hidden}
    assert "hunter2" in json.dumps(plan.outputs), "nodes need it"
    assert "hunter2" not in json.dumps(shown)


def test_the_command_for_a_cluster_makes_a_patch_with_a_login_private():
    line = planned_file("cache-login").outputs["talosctlCommand"]
    assert line.startswith("(umask 077 && pulumi stack output --show-secrets machineConfigPatch > ")
    assert line.count("umask") == 1
    plain = planned_file("tls-with-a-ca-of-its-own").outputs["talosctlCommand"]
    assert plain.startswith("pulumi stack output machineConfigPatch > "), "nothing in it is secret"


def test_upstreams_behind_harbor_have_the_url_of_their_project():
    plan = planned_file("harbor-for-some-upstreams")
    assert plan.outputs["harbor"] == {
        host: f"https://harbor.example.com/v2/proxy-{host}"
        for host in ("docker.io", "registry.example.com")
    }
    assert list(plan.outputs["caches"]) == list(plan.outputs["endpoints"]) == ["quay.io"]
    assert "harbor" not in planned_file("minimal").outputs
