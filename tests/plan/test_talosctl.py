"""The talosctl line: two families of commands, and when it needs a patch."""

import shlex

import pytest

from tests.plan.shapes import planned, planned_file


def line_for(cluster, **config):
    return planned({"cluster": cluster, **config}).outputs["talosctlCommand"]


def after(line, flag):
    words = shlex.split(line)
    return words[words.index(flag) + 1]


def test_without_a_cluster_the_line_makes_talosctls_default_one():
    assert planned_file("minimal").outputs["talosctlCommand"] == line_for({})


def test_every_plain_mirror_is_one_flag():
    words = shlex.split(line_for({}))
    values = [words[i + 1] for i, word in enumerate(words) if word == "--registry-mirror"]
    assert len(values) == 6
    assert "docker.io=http://172.17.0.1:5000" in values
    assert "--config-patch" not in words, "a mirror given twice would have its endpoints joined"


def test_one_mirror_that_is_not_plain_puts_all_into_the_patch():
    line = planned_file("skip-fallback").outputs["talosctlCommand"]
    write, create = line.split(" && ")
    assert write == "pulumi stack output machineConfigPatch > mirrors.yaml"
    assert after(create, "--config-patch") == "@mirrors.yaml"
    assert "--registry-mirror" not in create, "never both for one registry"


def test_an_old_talos_gets_the_patch_in_its_own_format():
    upstreams = {"docker.io": {"overridePath": True}}
    line = line_for({"talosVersion": "v1.11.5"}, upstreams=upstreams)
    assert line.startswith("pulumi stack output legacyMachineConfigPatch > mirrors.yaml && ")


def test_a_new_talosctl_has_a_command_per_provisioner():
    assert "talosctl cluster create docker --name" in line_for({"talosVersion": "v1.12.0"})
    qemu = line_for({"provisioner": "qemu", "talosVersion": "v1.13.0"})
    assert "talosctl cluster create qemu --name" in qemu
    assert after(qemu, "--talos-version") == "v1.13.0"


def test_docker_on_a_new_talosctl_takes_a_subnet_and_makes_one_control_plane():
    line = line_for({"cidr": "10.9.0.0/24", "controlPlanes": 3})
    assert after(line, "--subnet") == "10.9.0.0/24"
    assert "--controlplanes" not in line, "the flag is not there"


@pytest.mark.parametrize("version", ["v1.11.5", "1.9.0", "v0.14.3"])
def test_an_old_talosctl_has_one_command_with_a_provisioner_flag(version):
    line = line_for({"talosVersion": version, "controlPlanes": 3})
    assert after(line, "--provisioner") == "docker"
    assert after(line, "--cidr") == "10.5.0.0/24"
    assert after(line, "--controlplanes") == "3"


def test_a_version_without_its_v_still_names_an_image_that_there_is():
    line = planned_file("cluster-of-an-old-talos").outputs["talosctlCommand"]
    assert after(line, "--image") == "ghcr.io/siderolabs/talos:v1.11.5", "tags start with v"
    assert after(line, "--talos-version") == "v1.11.5"


def test_kubernetes_versions_have_no_v_for_talosctl():
    assert after(line_for({"kubernetesVersion": "v1.36.0"}), "--kubernetes-version") == "1.36.0"


def test_qemu_needs_root_and_keeps_the_users_home():
    line = line_for({"provisioner": "qemu"})
    assert line.startswith("sudo --preserve-env=HOME talosctl ")
    assert "sudo" not in line_for({}), "Docker does not"


def test_versions_left_out_are_left_to_talosctl():
    line = line_for({"provisioner": "qemu"})
    assert not {"--image", "--talos-version", "--kubernetes-version"} & set(shlex.split(line))


def test_all_keys_reach_the_line():
    line = planned_file("all-keys").outputs["talosctlCommand"].split(" && ")[1]
    assert (after(line, "--name"), after(line, "--workers")) == ("lab", "2")
    assert (after(line, "--controlplanes"), after(line, "--cidr")) == ("3", "10.7.0.0/24")
