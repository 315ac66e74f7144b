"""Checks of the user's patches; the messages are in invalid/cluster-patch*.txt."""

import pytest
import yaml

from plan.problems import MASK
from plan.talos.mirrors import patch_documents
from plan.talos.patches import problems
from tests.unit.plan.shapes import cluster_plan


def problem(text):
    (found,) = problems("cluster.patches[0]", text, "", [])
    return found


@pytest.mark.parametrize(
    ("operation", "shape"),
    [
        ("{op: add, path: /machine/sysctls/a~1b, value: x}", "{machine: {sysctls: {a/b: ...}}}"),
        ("{op: replace, path: /cluster/proxy, value: {}}", "{cluster: {proxy: ...}}"),
        ("{op: remove, path: /cluster/proxy}", "{cluster: {proxy: {$patch: delete}}}"),
        ("{op: test, path: /cluster/proxy}", "{machine: {network: {hostname: one}}}"),
        ("{op: add, path: /machine/disks/-, value: x}", "{machine: {network: {hostname: one}}}"),
        ("{op: add}", "{machine: {network: {hostname: one}}}"),
        ("{op: add, path: ''}", "{machine: {network: {hostname: one}}}"),
        (f"{{op: add, path: {'/a' * 20}}}", "{machine: {network: {hostname: one}}}"),
    ],
)
def test_a_json_patch_is_refused_with_an_equivalent_patch(operation, shape):
    for text in (operation, f"[{operation}]", f"- {operation}\n- {{op: move}}\n"):
        assert problem(text).found == "a JSON patch"
        assert problem(text).fix == f"write it as in {shape}"


def test_what_is_proposed_for_a_json_patch_is_a_patch():
    fix = problem("[{op: remove, path: /cluster/proxy}]").fix.removeprefix("write it as in ")
    assert patch_documents(fix) == [{"cluster": {"proxy": {"$patch": "delete"}}}]
    assert problems("cluster.patches[0]", fix, "", []) == []


@pytest.mark.parametrize(
    "text",
    [
        "machine: {type: worker}",
        "machine:\ncluster:\n",
        "version: v1alpha1\nmachine: {type: worker}\npersist: true\ndebug: false\n",
        "apiVersion: v1alpha1\nkind: HostnameConfig\nhostname: one\n",
        "apiVersion: v1alpha1\nkind: KmsgLogConfig\nname: a\n$patch: delete\n",
        "machine: {type: worker}\n---\napiVersion: v1alpha1\nkind: Other\n",
    ],
)
def test_what_talos_accepts_is_accepted(text):
    assert problems("cluster.patches[0]", text, "", []) == []


def test_every_document_that_talos_would_not_accept_is_refused():
    found = problems("p", "{file: a}\n---\nmachine: {}\n---\n{op: add}\n", "all.yaml", [])
    assert [one.path for one in found] == ["p (all.yaml)"] * 2


def test_what_is_still_encrypted_is_not_checked():
    """As day-two commands see it in a stack's file; the program gets it decrypted."""
    encrypted = '{"secure": "v1:abc"}'
    assert problems("p", encrypted, "", []) == []
    assert problems("p", encrypted, "a file.yaml", []), "the engine decrypts no files"


def test_a_text_that_is_not_yaml_has_no_documents():
    assert patch_documents("{") == patch_documents("- a\n") == []


@pytest.mark.parametrize(
    "text",
    [
        "machine: !!timestamp soon",
        "machine: !!bool perhaps",
        "machine: !!int many",
        "machine: 2024-99-99",
        "machine: !own {}",
        "machine: {? {}: 1}",
        "machine: [hunter2]",
        "cluster: hunter2",
        "machine: {",
        "machine: \x00",
        "[" * 600,
        "{a: " * 600,
        "just words",
        "machine: {}\n---\n[]",
        "---\n---\n",
    ],
    ids=lambda text: text[:24],
)
def test_what_is_not_a_patch_is_refused_and_not_shown(text):
    told = problem(text)
    assert (told.path, told.found) == ("cluster.patches[0]", MASK)
    assert "hunter2" not in f"{told.rule} {told.fix}"


@pytest.mark.parametrize(
    "patch",
    [
        # A mirror of a registry without a cache.
        {"machine": {"registries": {"mirrors": {"gcr.io": {"endpoints": ["http://h"]}}}}},
        {"apiVersion": "v1alpha1", "kind": "RegistryMirrorConfig", "name": "gcr.io"},
        # Logins of a registry that has a cache: they are for the registry itself.
        {"apiVersion": "v1alpha1", "kind": "RegistryAuthConfig", "name": "docker.io"},
        {"machine": {"registries": {"config": {"docker.io": {"auth": {"username": "u"}}}}}},
        {"machine": {"registries": {"mirrors": None}}},
        # TLS and logins of other endpoints.
        {"apiVersion": "v1alpha1", "kind": "RegistryTLSConfig", "name": "registry.lan", "ca": "x"},
        {"machine": {"registries": {"config": {"registry.lan": {"auth": {}}}}}},
        {"apiVersion": "v1alpha1", "kind": "Other", "name": "172.17.0.1:5000"},
    ],
    ids=str,
)
def test_a_patch_may_set_what_this_stack_does_not(patch):
    (own,) = cluster_plan({"patches": [patch]}, upstreams={"docker.io": {}}).settings.patches
    assert yaml.safe_load(own.text) == patch
