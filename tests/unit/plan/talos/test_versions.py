"""Versions in texts, the version of nodes, and the images that belong to a version."""

import pytest

from plan.talos.images import (
    EMPTY_SCHEMATIC,
    image_list_argv,
    node_images,
    nodes_images_argv,
    system_image,
    with_kubernetes,
)
from plan.talos.versions import Version, node_version, version_in
from tests.unit.plan.shapes import cluster_settings


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Client v1.13.0", "v1.13.0"),
        ("Client:\n\tTag:         v1.10.9\n", "v1.10.9"),
        ("v1.13.0-alpha.1", "v1.13.0-alpha.1"),
        ("Client Talos v1.14.0-rc.10\n", "v1.14.0-rc.10"),
        ("v1.14.0-beta.0-12-g1234567-dirty", "v1.14.0-beta.0"),
        ("1.11.5", "v1.11.5"),
        ("v1.12.0-mine", "v1.12.0"),
        ("Talos v10.20.30", "v10.20.30"),
    ],
)
def test_a_version_is_found_in_a_text(text, expected):
    assert str(version_in(text)) == expected


@pytest.mark.parametrize("text", ["", "nonsense", "v1.13", "latest", "va.b.c", "x1.2.3"])
def test_other_texts_have_no_version(text):
    assert version_in(text) is None


def test_versions_are_compared_by_their_numbers():
    assert Version(1, 9, 10) < Version(1, 10, 0) < Version(1, 10, 2)
    assert Version(1, 10, 0, "-rc.1") == Version(1, 10, 0)


def test_family_b_begins_with_1_12_and_so_do_documents_on_nodes():
    versions = [Version(1, minor, 5) for minor in (10, 11, 12, 13, 14)]
    assert [each.is_family_b for each in versions] == [False, False, True, True, True]
    assert [each.reads_documents for each in versions] == [False, False, True, True, True]


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"talosVersion": "v1.11.5", "image": "h.lan/talos:v1.12.0"}, "v1.11.5"),
        ({"image": "h.lan/talos:v1.12.0"}, "v1.12.0"),
        ({"image": "h.lan:5000/talos:main"}, "v1.13.0"),
        ({"image": "h.lan/talos:1.12.0"}, "v1.13.0"),
        ({}, "v1.13.0"),
    ],
    ids=str,
)
def test_nodes_have_the_configured_version_or_else_talosctls(keys, expected):
    assert str(node_version(cluster_settings(**keys), version_in("v1.13.0"))) == expected


SCHEMATIC = "ab" * 32


@pytest.mark.parametrize(
    ("talosctl", "keys", "expected"),
    [
        ("v1.13.0", {"image": "h.lan/talos:v1.12.0"}, "h.lan/talos:v1.12.0"),
        ("v1.13.0", {"talosVersion": "1.12.0"}, "ghcr.io/siderolabs/talos:v1.12.0"),
        ("v1.13.0", {"talosVersion": "v1.13.0-rc.1"}, "ghcr.io/siderolabs/talos:v1.13.0-rc.1"),
        ("v1.14.0-rc.1", {}, "ghcr.io/siderolabs/talos:v1.14.0-rc.1"),
        # VMs install themselves from the installer of their schematic.
        ("v1.11.5", {"provisioner": "qemu"}, "ghcr.io/siderolabs/installer:v1.11.5"),
        (
            "v1.11.5",
            {"provisioner": "qemu", "schematic": SCHEMATIC},
            f"factory.talos.dev/installer/{SCHEMATIC}:v1.11.5",
        ),
        (
            "v1.13.0",
            {"provisioner": "qemu", "schematic": SCHEMATIC, "talosVersion": "v1.13.2"},
            f"factory.talos.dev/metal-installer/{SCHEMATIC}:v1.13.2",
        ),
        (
            "v1.13.0",
            {"provisioner": "qemu", "presets": ["iso-secureboot"]},
            f"factory.talos.dev/metal-installer-secureboot/{EMPTY_SCHEMATIC}:v1.13.0",
        ),
    ],
    ids=str,
)
def test_nodes_have_the_configured_image_or_talos_own(talosctl, keys, expected):
    assert system_image(cluster_settings(**keys), version_in(talosctl)) == expected


@pytest.mark.parametrize(
    ("talosctl", "talos", "line"),
    [
        ("v1.11.5", "v1.11.2", "talosctl image default"),
        ("v1.13.0", "1.13.9", "talosctl image k8s-bundle"),
    ],
)
def test_what_a_version_needs_is_listed_by_the_talosctl_of_its_release(talosctl, talos, line):
    assert image_list_argv("talosctl", version_in(talosctl), talos) == line.split()


@pytest.mark.parametrize(("talos", "why"), [("v1.12.0", "talosctl 1.12"), ("latest", "'latest'")])
def test_what_no_talosctl_here_can_list_is_refused(talos, why):
    refusal = image_list_argv("talosctl", version_in("v1.13.0"), talos)
    assert isinstance(refusal, str)
    assert why in refusal


@pytest.mark.parametrize("kubernetes", ["v1.33.1", "1.33.1"])
def test_another_kubernetes_changes_its_own_images_and_no_other(kubernetes):
    listed = [
        "ghcr.io/siderolabs/flannel:v0.27.4",
        "registry.k8s.io/kube-proxy:v1.34.1",
        "ghcr.io/siderolabs/kubelet:v1.34.1",
        "registry.k8s.io/pause:3.10",
    ]
    assert with_kubernetes(listed, "") == listed
    changed = [name.replace("v1.34.1", "v1.33.1") for name in listed]
    assert with_kubernetes(listed, kubernetes) == changed


def test_images_on_nodes_are_listed_with_the_clusters_own_talosconfig():
    argv = nodes_images_argv("talosctl", "/private/config", ("10.5.0.2", "10.5.0.3"), "cri")
    to_nodes = "talosctl --talosconfig /private/config --nodes 10.5.0.2,10.5.0.3"
    assert argv == f"{to_nodes} image list --namespace cri".split()


def test_only_tagged_images_are_taken_from_the_nodes_lists():
    # As talosctl 1.11 prints it.
    printed = """\
NODE       IMAGE                           DIGEST          SIZE     CREATED
10.5.0.2   registry.k8s.io/pause:3.10      sha256:0123     311 kB   2 minutes ago
10.5.0.2   registry.k8s.io/pause@sha256:0  sha256:0123     311 kB   2 minutes ago
10.5.0.3   registry.k8s.io/pause:3.10      sha256:0123     311 kB   2 minutes ago
10.5.0.3   sha256:4567                     sha256:0123     311 kB   2 minutes ago
10.5.0.3
"""
    assert node_images(printed) == ["registry.k8s.io/pause:3.10"]
    assert node_images("") == []
    assert node_images("error: nothing") == []
