"""Checks of the user's patches; the messages are in invalid/cluster-patch*.txt."""

import pytest

from plan.talos.mirrors import patch_documents
from plan.talos.patches import problems


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
