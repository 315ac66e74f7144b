"""The key `cluster`: one mapping or a list of them, and what becomes of its keys."""

import pytest

from plan import engine_yaml
from plan.problems import SettingsError
from plan.settings.nodes import (
    ONE,
    Disk,
    Machine,
)
from plan.settings.patches import Patch
from plan.settings.stack import parse
from tests.unit.plan.shapes import cluster_settings, planned, planned_file


def only(name):
    (cluster,) = planned_file(name).settings.clusters
    return cluster


def test_the_default_cluster_has_the_defaults_of_the_talos_guide():
    cluster = cluster_settings()
    assert (cluster.provisioner, cluster.name, cluster.cidr) == (
        "docker",
        "talos-default",
        "10.5.0.0/24",
    )
    assert (cluster.control_planes, cluster.workers) == (1, 1)
    size = Machine(cpus="2", memory=2048)
    assert (cluster.control_plane_machine, cluster.worker_machine) == (size, size)
    assert cluster.create_timeout == "25m"
    assert (cluster.wait, cluster.merge_kubeconfig, cluster.allow_reboot) == (True, False, False)
    assert (cluster.talosctl_version, cluster.talos_version) == ("auto", None)


def test_all_keys_of_a_cluster_on_docker_are_read():
    cluster = only("cluster-with-all-keys-on-docker")
    assert (cluster.provisioner, cluster.name, cluster.cidr) == ("docker", "lab", "10.7.0.0/24")
    assert (cluster.control_planes, cluster.workers) == (1, 2)
    assert cluster.talos_version == "v1.12.0", "tags start with the v that people leave out"
    assert cluster.image == "ghcr.io/siderolabs/talos:v1.12.0"
    assert cluster.kubernetes_version == "v1.34.1"
    assert cluster.control_plane_machine == Machine(cpus="4", memory=4096)
    assert cluster.worker_machine == Machine(cpus="0.5", memory=1536)
    assert cluster.exposed_ports == ("8080:80/tcp", "127.0.0.1:5353:53/udp")
    assert (cluster.talosctl_version, cluster.create_timeout) == ("auto", "1h30m")
    assert (cluster.wait, cluster.merge_kubeconfig, cluster.allow_reboot) == (True, True, True)
    assert (cluster.warm, cluster.warm_file) == (True, "images.txt")


def test_all_keys_of_a_cluster_on_qemu_are_read():
    cluster = only("cluster-with-all-keys-on-qemu")
    assert (cluster.provisioner, cluster.control_planes) == ("qemu", 3)
    assert cluster.schematic == "fedcba98" * 8
    assert cluster.presets == ("iso-secureboot", "maintenance")
    assert cluster.disks == (Disk(driver="virtio", size=10240), Disk(driver="nvme", size=512))
    assert cluster.talosctl_version == "v1.13.0"


def test_patches_keep_their_order_and_know_their_nodes():
    first, second, third, fourth = only("cluster-with-all-keys-on-docker").patches
    assert first == Patch(scope="all", file="patches/hostname.yaml")
    assert (second.scope, second.file) == ("all", "")
    assert "hunter2" in second.text
    assert third.scope == "controlPlanes"
    assert third.text.startswith("cluster: {allowScheduling"), "text stays as it was written"
    assert fourth == Patch(scope="workers", file="~/talos/worker.yaml")


def test_a_patch_of_a_stack_file_is_yaml_that_says_the_same():
    (patch,) = cluster_settings(patches=[{"machine": {"env": {"ON": True, "N": 1}}}]).patches
    (document,) = planned({"cluster": {"patches": [patch.text]}}).settings.clusters[0].patches
    assert document == patch


@pytest.mark.parametrize("text", ["\U0001f600", "\\ud83d\\ude00", "\\\U0001f600\x7f", "\u2028"])
def test_any_character_arrives_as_gos_yaml_takes_it(text):
    """It refuses the surrogate pair that JSON writes for an emoji, and so does our reader."""
    patch = {"machine": {"env": {"GREETING": text}}}
    (parsed,) = cluster_settings(patches=[patch]).patches
    assert engine_yaml.load(parsed.text) == patch


def test_the_one_cluster_keeps_its_logical_name_when_it_is_renamed():
    # Its component stays the same, so the engine deletes the old cluster before it creates the new.
    assert cluster_settings(name="one").slug == cluster_settings(name="two").slug == ONE


def test_clusters_of_a_list_have_their_own_logical_names():
    clusters = planned_file("clusters-side-by-side").settings.clusters
    assert [cluster.slug for cluster in clusters] == ["cluster-one", "cluster-two", "cluster-three"]


def test_an_item_without_a_value_is_a_default_cluster():
    (cluster,) = parse({"cluster": [None]}).clusters
    assert (cluster.name, cluster.slug) == ("talos-default", "cluster-talos-default")


def test_nodes_have_the_addresses_that_talosctl_gives_them():
    cluster = cluster_settings(cidr="10.7.0.0/24", workers=2)
    assert cluster.node_ips == ("10.7.0.2", "10.7.0.3", "10.7.0.4"), "the gateway has the first"
    assert cluster_settings(workers=0).node_ips == ("10.5.0.2",)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("controlPlaneMemory", "512MiB"),
        ("workerMemory", "999999GiB"),
        ("workerCpus", 0.1),
        ("controlPlaneCpus", 256),
        ("name", "a" * 44),
        ("name", "1"),
        ("controlPlanes", 9),
        ("workers", 0),
        ("workers", 99),
        ("exposedPorts", ["65535:65535/udp"]),
        ("exposedPorts", ["1:1/tcp"]),
        ("image", "localhost/talos:v1.13.0"),
        ("image", "localhost:5000/siderolabs/talos:v1.13.0"),
        ("image", "registry.lan/talos:main"),
        ("talosVersion", "v1.14.0-rc.1"),
    ],
)
def test_the_last_value_that_is_right_is_taken(key, value):
    cluster_settings(**{key: value})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("controlPlaneMemory", "511MiB"),
        ("workerMemory", "1000000GiB"),
        ("workerCpus", 0.09),
        ("controlPlaneCpus", 256.5),
        ("controlPlaneCpus", float("nan")),
        ("name", "a" * 45),
        ("controlPlanes", 10),
        ("workers", 100),
        ("exposedPorts", ["65536:80/tcp"]),
        ("exposedPorts", ["80:65536/tcp"]),
        ("exposedPorts", ["080:80/tcp"]),
        ("exposedPorts", ["80:80/sctp"]),
        ("exposedPorts", ["80:80/tcp\n"]),
        ("image", "ghcr.io/siderolabs/talos:v1.13.0\n"),
        ("image", "ghcr.io:v1.13.0"),
        ("schematic", "FEDCBA98" * 8),
        ("talosVersion", "v1.13"),
    ],
)
def test_the_first_value_that_is_wrong_is_refused(key, value):
    with pytest.raises(SettingsError) as caught:
        cluster_settings(**{key: value})
    assert any(problem.path.startswith(f"cluster.{key}") for problem in caught.value.problems)


@pytest.mark.parametrize(("length", "most"), [(29, 5), (28, 13), (27, 29)])
def test_a_network_has_room_for_its_nodes_the_gateway_and_its_own_two_addresses(length, most):
    cidr = f"10.5.0.0/{length}"
    assert len(cluster_settings(cidr=cidr, workers=most - 1).node_ips) == most
    with pytest.raises(SettingsError, match="the gateway"):
        cluster_settings(cidr=cidr, workers=most)


@pytest.mark.parametrize("provisioner", ["docker", "qemu"])
def test_a_key_of_the_other_provisioner_may_be_empty(provisioner):
    lists = {key: [] for key in ("presets", "disks", "exposedPorts")}
    cluster_settings(provisioner=provisioner, schematic=None, image=None, **lists)
    cluster_settings(provisioner=provisioner, **dict.fromkeys(lists))


def test_networks_side_by_side_touch_but_do_not_overlap():
    clusters = [{"name": "a", "cidr": "10.5.0.0/25"}, {"name": "b", "cidr": "10.5.0.128/25"}]
    assert len(parse({"cluster": clusters}).clusters) == 2


def test_a_network_that_overlaps_with_two_is_reported_once():
    clusters = [
        {"name": "a", "cidr": "10.5.0.0/24"},
        {"name": "b", "cidr": "10.6.0.0/24"},
        {"name": "c", "cidr": "10.0.0.0/12"},
    ]
    with pytest.raises(SettingsError) as caught:
        parse({"cluster": clusters})
    (problem,) = caught.value.problems
    assert problem.path == "cluster[2].cidr"
    assert "10.16.0.0/24" in problem.fix, "the first one that no cluster has"


def test_talosctls_own_network_is_proposed_if_no_cluster_has_it():
    clusters = [{"name": "a", "cidr": "10.6.0.0/24"}, {"name": "b", "cidr": "10.6.0.0/24"}]
    with pytest.raises(SettingsError, match=r"write 10\.5\.0\.0/24"):
        parse({"cluster": clusters})


def test_what_yaml_cannot_express_is_not_a_patch():
    loop = {}
    loop["machine"] = loop
    with pytest.raises(SettingsError, match=r"cluster.patches\[0\]"):
        cluster_settings(patches=[loop])


@pytest.mark.parametrize(
    ("written", "read"),
    [(True, (True, "")), (False, (False, "")), (None, (False, "")), ("@a.txt", (True, "a.txt"))],
)
def test_warm_is_true_false_or_a_list(written, read):
    cluster = cluster_settings(warm=written)
    assert (cluster.warm, cluster.warm_file) == read


@pytest.mark.parametrize(
    ("provisioner", "allowed", "may"),
    [("qemu", True, True), ("qemu", False, False), ("docker", True, False)],
)
def test_only_machines_reboot_and_only_if_the_stack_lets_them(provisioner, allowed, may):
    cluster = cluster_settings(provisioner=provisioner, allowReboot=allowed)
    assert (cluster.can_reboot, cluster.may_reboot) == (provisioner == "qemu", may)
