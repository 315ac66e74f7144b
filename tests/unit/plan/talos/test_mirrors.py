"""Mirrors in machine configs, in both formats, and as flags."""

import base64

import yaml

from plan.talos import mirrors
from plan.talos.mirrors import Mirror
from tests.unit.plan.shapes import GATEWAY, MADE, planned_file


def documents(plan, kind="RegistryMirrorConfig"):
    made = yaml.safe_load_all(plan.outputs["machineConfigPatch"])
    return {doc["name"]: doc for doc in made if doc["kind"] == kind}


def legacy(plan, part="mirrors"):
    patch = yaml.safe_load(plan.outputs["legacyMachineConfigPatch"])
    return patch["machine"]["registries"].get(part)


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


def test_both_formats_have_every_upstream():
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


def test_skip_fallback_is_set_only_if_configured():
    plan = planned_file("skip-fallback")
    assert documents(plan)["ghcr.io"]["skipFallback"] is True
    assert legacy(plan)["ghcr.io"]["skipFallback"] is True
    assert "skipFallback" not in documents(plan)["quay.io"]
    assert "skipFallback" not in legacy(plan)["quay.io"]


def test_only_plain_mirrors_become_flags():
    plan = planned_file("skip-fallback")
    assert mirrors.registry_mirror_values(plan.mirrors) == (f"quay.io=http://{GATEWAY}:5002",)


def test_no_mirrors_are_no_patch():
    assert mirrors.documents_patch([]) == ""


def test_the_ca_of_the_caches_goes_to_the_nodes_once_per_endpoint():
    plan = planned_file("tls-with-a-ca-of-its-own")
    assert documents(plan)["quay.io"]["endpoints"] == [{"url": f"https://{GATEWAY}:5002"}]
    ca = MADE.ca.strip()
    tls = documents(plan, "RegistryTLSConfig")
    assert set(tls) == {f"{GATEWAY}:{port}" for port in (5000, 5001, 5002, 5003, 5004, 5006)}, (
        "Talos looks it up by the endpoint's host and port, not by the registry's name"
    )
    assert tls[f"{GATEWAY}:5002"] == {
        "apiVersion": "v1alpha1",
        "kind": "RegistryTLSConfig",
        "name": f"{GATEWAY}:5002",
        "ca": ca,
    }
    config = legacy(plan, "config")
    assert set(config) == set(tls)
    assert base64.b64decode(config[f"{GATEWAY}:5002"]["tls"]["ca"]).decode() == ca, (
        "the old format has certificates in base64"
    )


def test_the_login_of_the_caches_goes_to_the_nodes_with_the_endpoint():
    plan = planned_file("cache-login")
    auth = documents(plan, "RegistryAuthConfig")
    assert auth[f"{GATEWAY}:5000"] == {
        "apiVersion": "v1alpha1",
        "kind": "RegistryAuthConfig",
        "name": f"{GATEWAY}:5000",
        "username": "nodes",
        "password": "hunter2",
    }
    login = {"auth": {"username": "nodes", "password": "hunter2"}}
    assert legacy(plan, "config")[f"{GATEWAY}:5000"] == login
    assert len(auth) == len(documents(plan))


def test_ca_and_login_of_one_endpoint_share_an_entry():
    config = legacy(planned_file("cache-login-and-tls"), "config")
    assert set(config[f"{GATEWAY}:5004"]) == {"tls", "auth"}


def test_without_tls_and_login_the_patches_have_only_mirrors():
    plan = planned_file("minimal")
    kinds = {doc["kind"] for doc in yaml.safe_load_all(plan.outputs["machineConfigPatch"])}
    assert kinds == {"RegistryMirrorConfig"}
    assert legacy(plan, "config") is None


def test_a_path_prefix_is_in_a_path_that_nodes_use_as_it_is():
    plan = planned_file("upstream-with-ca-prefix-and-proxy")
    url = f"http://{GATEWAY}:5000/v2/proxy-docker.io"
    assert documents(plan)["docker.io"]["endpoints"] == [{"url": url, "overridePath": True}]
    assert legacy(plan)["docker.io"] == {"endpoints": [url], "overridePath": True}


def test_a_mirror_with_a_ca_or_a_login_is_not_a_flag():
    for name in ("tls-with-a-ca-of-its-own", "cache-login"):
        plan = planned_file(name)
        assert mirrors.registry_mirror_values(plan.mirrors) == (), (
            "nodes that boot with the mirror alone would go around the cache"
        )
        assert "--registry-mirror" not in plan.outputs["talosctlCommand"]


def test_the_name_of_an_endpoint_is_host_and_port_of_its_url():
    names = {
        "https://harbor.example.com/v2/proxy-docker.io": "harbor.example.com",
        "http://172.17.0.1:5000": "172.17.0.1:5000",
        "https://[fd00::5]:5000/v2": "[fd00::5]:5000",
    }
    assert {url: Mirror(host="docker.io", url=url).endpoint for url in names} == names


def test_mirrors_are_ordered_by_host():
    some = [Mirror(host=host, url="http://h") for host in ("quay.io", "docker.io", "gcr.io")]
    ordered = [mirror.host for mirror in mirrors.in_order(some)]
    assert ordered == ["docker.io", "gcr.io", "quay.io"]
