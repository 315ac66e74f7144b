"""What tells nodes to ask the caches, in both formats and as flags."""

import yaml

from plan import mirrors
from tests.plan.shapes import GATEWAY, planned_file


def documents(plan):
    return {doc["name"]: doc for doc in yaml.safe_load_all(plan.outputs["machineConfigPatch"])}


def legacy(plan):
    patch = yaml.safe_load(plan.outputs["legacyMachineConfigPatch"])
    return patch["machine"]["registries"]["mirrors"]


def test_a_plain_mirror_is_host_and_endpoint_and_nothing_else():
    plan = planned_file("minimal")
    endpoint = f"http://{GATEWAY}:5004"
    assert documents(plan)["ghcr.io"] == {
        "apiVersion": "v1alpha1",
        "kind": "RegistryMirrorConfig",
        "name": "ghcr.io",
        "endpoints": [{"url": endpoint}],
    }
    assert legacy(plan)["ghcr.io"] == {"endpoints": [endpoint]}


def test_both_formats_hold_every_upstream():
    plan = planned_file("minimal")
    assert list(documents(plan)) == list(legacy(plan)) == [cache.host for cache in plan.caches]


def test_override_path_brings_its_own_v2():
    plan = planned_file("override-path")
    url = f"http://{GATEWAY}:5000/v2"
    assert documents(plan)["docker.io"]["endpoints"] == [{"url": url, "overridePath": True}], (
        "the document has the flag per endpoint, and containerd adds no /v2 then"
    )
    assert legacy(plan)["docker.io"] == {"endpoints": [url], "overridePath": True}
    assert "/v2" not in str(documents(plan)["quay.io"]), "Talos adds /v2 to the others itself"


def test_skip_fallback_is_set_where_it_is_asked_for_only():
    plan = planned_file("skip-fallback")
    assert documents(plan)["ghcr.io"]["skipFallback"] is True
    assert legacy(plan)["ghcr.io"]["skipFallback"] is True
    assert "skipFallback" not in documents(plan)["quay.io"]
    assert "skipFallback" not in legacy(plan)["quay.io"]


def test_flags_hold_only_what_they_can_express():
    plan = planned_file("skip-fallback")
    assert mirrors.registry_mirror_values(plan.mirrors) == (f"quay.io=http://{GATEWAY}:5002",)


def test_no_mirrors_are_no_patch():
    assert mirrors.documents_patch([]) == ""
