"""The record of a cluster between two runs: read as every version wrote it, or refused."""

import json

import pytest
from msgspec.structs import replace

from ops.cluster.record import VERSION, ClusterRecord, decode, encode, printed
from ops.errors import OpsError
from tests.checkout import ROOT

KEPT = ROOT / "tests/fixtures/states/cluster"
WHOLE = ClusterRecord(
    owner="me",
    name="dev",
    provisioner="docker",
    talosctl="v1.13.0",
    node_version="v1.13.0",
    mirrors={"docker.io": "http://172.17.0.1:5000"},
    patches={"c0ffee": "all"},
    network="n1",
    containers=("c1", "c2"),
    merged_kubeconfig="/home/me/.kube/config",
    identity="digest",
    logins="another",
    attempts=({"docker.io": "http://172.17.0.1:5999"},),
    patched={"10.5.0.2": ("c0ffee",)},
)


ALONE = ClusterRecord(name="dev", talosctl="v1.13.0", node_version="v1.13.0")


def test_what_was_written_is_read():
    assert decode(encode(WHOLE), "it", "") == WHOLE
    assert json.loads(encode(WHOLE))["version"] == VERSION


def test_what_the_engine_keeps_has_nothing_of_the_private_fields():
    kept = json.loads(printed(WHOLE))
    assert list(kept) == [
        *("name", "provisioner", "talosctl", "nodeVersion", "mirrors", "patches", "network"),
        *("containers", "mergedKubeconfig"),
    ]


def printed_before():
    """What the engine keeps of the cluster of the version before."""
    state = json.loads((KEPT / "state.json").read_text())
    outputs = (resource.get("outputs", {}) for resource in state["deployment"]["resources"])
    [content] = [kept["stdout"] for kept in outputs if "nodeVersion" in kept.get("stdout", "")]
    return content


def test_what_the_engine_keeps_is_byte_for_byte_what_the_version_before_printed():
    """That one reads it too, and goes by names that are always there."""
    assert printed(decode(printed_before(), "it", "")) == printed_before()
    machines = replace(ALONE, provisioner="qemu", network=None, containers=())
    assert printed(machines) == (
        '{"name": "dev", "provisioner": "qemu", "talosctl": "v1.13.0", "nodeVersion": "v1.13.0", '
        '"mirrors": {}, "patches": {}, "mergedKubeconfig": null}'
    )


def test_what_the_version_before_has_written_is_read_to_its_last_field():
    """Made by a release without versions in its records."""
    [marker] = KEPT.glob("machine/*/owner.json")
    before = json.loads(marker.read_text())
    record = decode(marker.read_bytes(), "it", "")
    assert record.is_complete
    assert json.loads(encode(record)) == {**before, "version": VERSION}


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("cut sho", r"JSON is malformed: invalid character \(byte 0\)"),
        ('{"mirrors": []}', r"Expected `object`, got `array` - at `\$\.mirrors`"),
        ('{"version": "one"}', r"Expected `int`, got `str` - at `\$\.version`"),
    ],
)
def test_a_damaged_record_says_where_why_and_what_to_do(content, why):
    with pytest.raises(OpsError, match=rf"^/x/owner\.json can't be read.*{why}\. Remove it$"):
        decode(content, "/x/owner.json", "Remove it")


def test_what_a_later_version_has_written_is_refused():
    with pytest.raises(OpsError, match=r"version is 9, .* up to 1\). Update this"):
        decode('{"version": 9, "mirrors": "in a new form"}', "it", "")
