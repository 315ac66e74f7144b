"""Settings that a version of talosctl does not support, and creates that never end."""

import pytest

from plan.settings.stack import parse
from plan.talos.unsupported import all_refusals, refusals, waits_for_a_cni
from plan.talos.versions import version_in
from tests.unit.plan.shapes import cluster_settings

A, B = "v1.11.5", "v1.13.0"
# The ways out.
AUTO, NEWER, OLDER = "talosctlVersion: auto", "install talosctl 1.12 or newer", "use talosctl 1.11"
TAGGED = "a tag such as v1.13.0"
TALOS = "registry.lan/talos"
QEMU = {"provisioner": "qemu"}
TWO_PORTS = {"controlPlanes": 2, "exposedPorts": ["8080:80/tcp"]}
THREE_DISKS = {**QEMU, "disks": ["virtio:9GiB", "virtio:5GiB", "virtio:6GiB"]}


def told(keys, name):
    """Path -> problem, without the key's group."""
    problems = refusals(cluster_settings(**keys), version_in(name))
    assert all(problem.path.startswith("cluster.") for problem in problems)
    assert len({problem.path for problem in problems}) == len(problems)
    return {problem.path.removeprefix("cluster."): problem for problem in problems}


def image(tag, **keys):
    return {"image": f"{TALOS}:{tag}", **keys}


def requiring(version, installed):
    """A stack that requires a version, the installed one, the key, and what is found."""
    key = "talosctlVersion"
    return {key: version}, installed, key, f"talosctl {installed} on PATH"


@pytest.mark.parametrize(
    ("keys", "name"),
    [
        *(({}, name) for name in ("v1.10.0", "v1.12.0", "v1.14.9")),
        *((QEMU, name) for name in ("v1.10.0", "v1.12.0", "v1.14.9")),
        ({"talosctlVersion": "1.13.0"}, "v1.13.0"),
        ({"talosctlVersion": "v1.14.0-rc.1"}, "v1.14.0-rc.1"),
        # Nodes of a later patch release than talosctl, and older ones.
        ({"talosVersion": "v1.13.9"}, B),
        ({"talosVersion": "v1.11.5"}, B),
        ({**QEMU, "disks": ["virtio:9GiB", "virtio:5GiB"]}, A),
        ({"controlPlanes": 1, "exposedPorts": ["8080:80/tcp"]}, A),
        ({"controlPlanes": 2}, A),
        ({"controlPlanes": 3}, A),
        ({"wait": False}, A),
        (image("main", talosVersion="v1.10.9"), A),
        (image("1.10.9", talosVersion="v1.10.9"), A),
        (image("v1", talosVersion="v1.10.9"), A),
        ({**QEMU, "controlPlanes": 3}, B),
        (image("v1.12.0-mine"), B),
        (image("v1.12.0-mine", talosVersion="v1.12.0"), B),
    ],
    ids=str,
)
def test_what_a_talosctl_can_do_is_not_refused(keys, name):
    assert told(keys, name) == {}


@pytest.mark.parametrize(
    ("keys", "name", "key", "found", "fix"),
    [
        # Another talosctl than the required one.
        (*requiring("1.12.0", B), AUTO),
        (*requiring("1.13.1", B), AUTO),
        (*requiring("v1.14.0-rc.1", "v1.14.0-rc.2"), AUTO),
        (*requiring("v1.14.0-rc.1", "v1.14.0"), AUTO),
        # Nodes newer than talosctl.
        ({"talosVersion": B}, "v1.12.0", "talosVersion", f"Talos {B}", "talosctl 1.13"),
        (image(B), "v1.12.0", "image", f"Talos {B}", "talosctl 1.13"),
        # What only family B can do.
        ({**QEMU, "presets": ["iso", "maintenance"]}, A, "presets", "iso, maintenance", NEWER),
        (THREE_DISKS, A, "disks", "disks of several sizes", NEWER),
        ({**QEMU, "disks": ["virtio:9GiB", "nvme:5GiB"]}, A, "disks", "nvme", NEWER),
        (TWO_PORTS, A, "exposedPorts", "8080:80/tcp", NEWER),
        # What only family A can do.
        ({"wait": False}, B, "wait", "false", OLDER),
        ({"controlPlanes": 3}, B, "controlPlanes", "3", OLDER),
        # Family A needs a version beside a tag that is not one.
        (image("main"), A, "image", f"{TALOS}:main", "talosVersion"),
        (image("1.10.9"), A, "image", f"{TALOS}:1.10.9", "talosVersion"),
        (image("v1"), A, "image", f"{TALOS}:v1", "talosVersion"),
        # Family B reads the version from the tag.
        (image("main"), B, "image", f"{TALOS}:main", TAGGED),
        (image("1.12.0"), B, "image", f"{TALOS}:1.12.0", TAGGED),
        (image("main", talosVersion="v1.12.0"), B, "image", f"{TALOS}:main", TAGGED),
        (image("v1.12.0", talosVersion=A), B, "image", f"{TALOS}:v1.12.0", TAGGED),
    ],
    ids=str,
)
def test_what_a_talosctl_can_not_do_is_refused(keys, name, key, found, fix):
    problems = told(keys, name)
    assert set(problems) == {key}
    assert problems[key].found == found
    assert keys.get("talosctlVersion", name).removeprefix("v") in problems[key].rule
    assert fix in problems[key].fix


@pytest.mark.parametrize("name", ["v1.9.6", "v0.14.3", "v1.15.0", "v2.10.0"])
def test_a_talosctl_whose_flags_are_not_known_is_refused_and_nothing_else_checked(name):
    (problem,) = told({"wait": False}, name).values()
    assert (problem.path, problem.found) == ("cluster.talosctlVersion", f"talosctl {name}")
    assert "1.10 to 1.14" in problem.rule


def test_all_mistakes_are_reported_together():
    keys = {"wait": False, "controlPlanes": 3, "talosVersion": "v1.14.0"}
    assert set(told(keys, B)) == {"wait", "controlPlanes", "talosVersion"}


def test_the_path_has_the_clusters_place_in_the_list():
    config = [{"name": "one", "wait": False}, {"name": "two", "cidr": "10.6.0.0/24"}]
    config.append({"name": "three", "cidr": "10.7.0.0/24", "controlPlanes": 3})
    problems = all_refusals(parse({"cluster": config}).clusters, version_in(B))
    assert [problem.path for problem in problems] == ["cluster[0].wait", "cluster[2].controlPlanes"]
    (problem,) = all_refusals([cluster_settings(wait=False)], version_in(B))
    assert problem.path == "cluster.wait", "the one of a mapping"


NO_CNI = {"cluster": {"network": {"cni": {"name": "none"}}}}


@pytest.mark.parametrize(
    ("name", "most", "way"),
    [
        ("v1.11.5", "createTimeout (30m)", "wait: false"),
        ("v1.12.0", "20 minutes", "talosctl 1.13 or newer"),
    ],
)
@pytest.mark.parametrize("key", ["patches", "controlPlanePatches"])
def test_a_warning_about_a_create_that_waits_has_its_time_and_the_ways_out(name, most, way, key):
    cluster = cluster_settings(name="lab", createTimeout="30m", **{key: [NO_CNI]})
    warning = waits_for_a_cni(cluster, version_in(name))
    for part in ("lab", "cluster.network.cni.name: none", most, way, "docs/clusters.md"):
        assert part in warning


@pytest.mark.parametrize(
    ("keys", "name", "warns"),
    [
        ({"patches": [NO_CNI]}, "v1.13.0", False),
        ({}, A, False),
        ({"patches": [{"cluster": {"network": {"cni": {"name": "flannel"}}}}]}, A, False),
        ({"patches": [{"cluster": {"network": None}}, {"machine": {"type": "worker"}}]}, A, False),
        ({"patches": [{"cluster": {**NO_CNI["cluster"], "inlineManifests": [{}]}}]}, A, False),
        ({"patches": [NO_CNI, {"cluster": {"extraManifests": ["https://cni"]}}]}, A, False),
        ({"patches": [NO_CNI], "wait": False}, A, False),
        # Family B always waits, except for machines without a config.
        ({"patches": [NO_CNI], "wait": False}, "v1.12.0", True),
        ({"patches": [NO_CNI], **QEMU}, "v1.12.0", True),
        ({"patches": [NO_CNI], **QEMU, "presets": ["iso", "maintenance"]}, "v1.12.0", False),
    ],
    ids=str,
)
def test_a_warning_only_if_nodes_never_become_ready_and_create_waits(keys, name, warns):
    assert bool(waits_for_a_cni(cluster_settings(**keys), version_in(name))) is warns
