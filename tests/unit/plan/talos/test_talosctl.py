"""talosctl's command lines: two families, the line to paste, and the lines for one node.

The flags are those of the releases' sources: `talosctl cluster create --help` hides some of them.
"""

from dataclasses import replace

import pytest

from plan.talos.create_flags import create_argv, destroy_argv
from plan.talos.images import EMPTY_SCHEMATIC
from plan.talos.mirrors import Mirror
from plan.talos.node_commands import (
    boot_argv,
    needs_reboot,
    patch_argv,
    patch_mode,
    read_config_argv,
    reboots,
    service_argv,
)
from plan.talos.talosctl import Place
from plan.talos.unsupported import refusals
from plan.talos.versions import version_in
from tests.unit.plan.shapes import cluster_settings, planned, planned_file

# Which release is of which family is tested once (test_versions.py), so one of each stands for it.
# 1.12 differs from 1.13 only in what test_unsupported.py shows of clusters without a CNI.
A, B = "v1.11.5", "v1.13.0"
PLACE = Place(program="/opt/talosctl", state="/private/state", talosconfig="/private/config")
FULL_PLACE = replace(
    PLACE,
    patches=(("all", "/p/0"), ("controlPlanes", "/p/1"), ("workers", "/p/2")),
    architecture="arm64",
)
# Only plain ones become flags: talosctl would join the endpoints of a flag and a patch. None is
# marked insecure: Talos's own puller fails with a TLS entry for an endpoint that is http.
MIRRORS = (
    Mirror(host="docker.io", url="http://172.17.0.1:5000"),
    Mirror(host="quay.io", url="http://172.17.0.1:5002", skip_fallback=True),
    Mirror(host="gcr.io", url="http://172.17.0.1:5003/v2", override_path=True),
    Mirror(host="ghcr.io", url="http://172.17.0.1:5004"),
)
FULL = {
    "name": "lab",
    "workers": 2,
    "cidr": "10.7.0.0/24",
    "talosVersion": "v1.10.9",
    "kubernetesVersion": "v1.33.6",
    "controlPlaneCpus": 4,
    "controlPlaneMemory": "4GiB",
    "workerCpus": 0.5,
    "workerMemory": "1536MiB",
    "createTimeout": "30m",
}
FULL_DOCKER = {
    **FULL,
    "image": "ghcr.io/siderolabs/talos:v1.10.9",
    "exposedPorts": ["8080:80/tcp", "192.168.1.10:5353:53/udp"],
}
FULL_QEMU = {**FULL, "provisioner": "qemu", "controlPlanes": 3, "schematic": "5c" * 32}
FULL_QEMU_A = {**FULL_QEMU, "disks": ["virtio:10GiB", "virtio:6GiB", "virtio:6GiB"]}
FULL_QEMU_B = {
    **FULL_QEMU,
    "disks": ["virtio:10GiB", "nvme:6GiB"],
    "presets": ["iso-secureboot", "maintenance"],
}
DOCKER_A = """
/opt/talosctl cluster create --provisioner docker --name lab --state /private/state
--workers 2 --cidr 10.7.0.0/24 --controlplanes 1
--cpus 4 --cpus-workers 0.5 --memory 4096 --memory-workers 1536
--image ghcr.io/siderolabs/talos:v1.10.9 --talos-version v1.10.9 --kubernetes-version 1.33.6
--registry-mirror docker.io=http://172.17.0.1:5000 --registry-mirror ghcr.io=http://172.17.0.1:5004
--config-patch @/p/0 --config-patch-control-plane @/p/1 --config-patch-worker @/p/2
--exposed-ports 8080:80/tcp,192.168.1.10:5353:53/udp --docker-host-ip 127.0.0.1
--talosconfig /private/config --wait --wait-timeout 30m
"""
DOCKER_B = """
/opt/talosctl cluster create docker --name lab --state /private/state
--workers 2 --subnet 10.7.0.0/24
--cpus-controlplanes 4 --cpus-workers 0.5 --memory-controlplanes 4096MiB --memory-workers 1536MiB
--image ghcr.io/siderolabs/talos:v1.10.9 --kubernetes-version 1.33.6
--registry-mirror docker.io=http://172.17.0.1:5000 --registry-mirror ghcr.io=http://172.17.0.1:5004
--config-patch @/p/0 --config-patch-controlplanes @/p/1 --config-patch-workers @/p/2
--exposed-ports 8080:80/tcp,192.168.1.10:5353:53/udp --host-ip 127.0.0.1
--talosconfig-destination /private/config
"""
ASSETS = f"https://factory.talos.dev/image/{'5c' * 32}/v1.10.9"
QEMU_A = f"""
/opt/talosctl cluster create --provisioner qemu --name lab --state /private/state
--workers 2 --cidr 10.7.0.0/24 --controlplanes 3
--cpus 4 --cpus-workers 0.5 --memory 4096 --memory-workers 1536
--disk 10240 --extra-disks 2 --extra-disks-size 6144 --extra-disks-drivers virtio,virtio
--vmlinuz-path {ASSETS}/kernel-arm64 --initrd-path {ASSETS}/initramfs-arm64.xz
--install-image factory.talos.dev/installer/{"5c" * 32}:v1.10.9
--talos-version v1.10.9 --kubernetes-version 1.33.6
--registry-mirror docker.io=http://172.17.0.1:5000 --registry-mirror ghcr.io=http://172.17.0.1:5004
--config-patch @/p/0 --config-patch-control-plane @/p/1 --config-patch-worker @/p/2
--talosconfig /private/config --wait --wait-timeout 30m
"""
QEMU_B = f"""
/opt/talosctl cluster create qemu --name lab --state /private/state
--workers 2 --cidr 10.7.0.0/24 --controlplanes 3
--cpus-controlplanes 4 --cpus-workers 0.5 --memory-controlplanes 4096MiB --memory-workers 1536MiB
--disks virtio:10240MiB,nvme:6144MiB
--schematic-id {"5c" * 32} --presets iso-secureboot,maintenance
--talos-version v1.10.9 --kubernetes-version 1.33.6
--registry-mirror docker.io=http://172.17.0.1:5000 --registry-mirror ghcr.io=http://172.17.0.1:5004
--config-patch @/p/0 --config-patch-controlplanes @/p/1 --config-patch-workers @/p/2
--talosconfig-destination /private/config
"""


def argv_for(keys, name, place=PLACE):
    return create_argv(cluster_settings(**keys), (), version_in(name), place)


def values_of(argv, flag):
    return [argv[i + 1] for i, word in enumerate(argv) if word == flag]


def flags_of(argv):
    return {word for word in argv if word.startswith("--")}


class TestCreate:
    @pytest.mark.parametrize(
        ("keys", "name", "line"),
        [
            pytest.param(FULL_DOCKER, A, DOCKER_A, id="docker-A"),
            pytest.param(FULL_DOCKER, B, DOCKER_B, id="docker-B"),
            pytest.param(FULL_QEMU_A, A, QEMU_A, id="qemu-A"),
            pytest.param(FULL_QEMU_B, B, QEMU_B, id="qemu-B"),
        ],
    )
    def test_the_whole_line(self, keys, name, line):
        cluster, talosctl = cluster_settings(**keys), version_in(name)
        assert create_argv(cluster, MIRRORS, talosctl, FULL_PLACE) == line.split()
        assert refusals(cluster, talosctl) == ()

    @pytest.mark.parametrize("name", [A, B])
    @pytest.mark.parametrize("provisioner", ["docker", "qemu"])
    def test_the_default_cluster_has_no_flags_of_the_other_provisioner(self, name, provisioner):
        flags = flags_of(argv_for({"provisioner": provisioner}, name))
        only_docker = {"--image", "--subnet", "--exposed-ports", "--host-ip", "--docker-host-ip"}
        only_qemu = {"--vmlinuz-path", "--initrd-path", "--install-image", "--disk", "--disks"}
        assert not flags & (only_qemu if provisioner == "docker" else only_docker)
        assert not flags & {"--config-patch", "--registry-mirror", "--kubernetes-version"}
        assert {"--name", "--state", "--workers", "--cpus-workers", "--memory-workers"} <= flags

    def test_patches_keep_their_order(self):
        patches = (("workers", "/w"), ("all", "/a"), ("all", "/b"))
        argv = argv_for({}, B, replace(PLACE, patches=patches))
        assert [word for word in argv if word.startswith("@")] == ["@/w", "@/a", "@/b"]
        assert values_of(argv, "--config-patch") == ["@/a", "@/b"]

    def test_without_waiting_there_is_no_kubeconfig_yet(self):
        argv = argv_for({"wait": False}, A)
        assert argv[-2:] == ["--wait=false", "--skip-kubeconfig"]
        assert "--wait-timeout" not in argv

    @pytest.mark.parametrize(
        ("talos", "name", "booted"),
        [
            ({}, A, A),
            ({}, "v1.11.0-rc.1", "v1.11.0-rc.1"),
            ({"talosVersion": "v1.10.9-rc.1"}, A, "v1.10.9-rc.1"),
        ],
        ids=["talosctls-own", "before-its-release", "configured"],
    )
    def test_family_a_boots_vms_without_a_schematic(self, talos, name, booted):
        argv = argv_for({"provisioner": "qemu", **talos}, name)
        assets = f"https://factory.talos.dev/image/{EMPTY_SCHEMATIC}/{booted}"
        assert values_of(argv, "--vmlinuz-path") == [f"{assets}/kernel-amd64"], "no ${ARCH} in URLs"
        assert values_of(argv, "--initrd-path") == [f"{assets}/initramfs-amd64.xz"]
        assert values_of(argv, "--install-image") == [f"ghcr.io/siderolabs/installer:{booted}"]
        assert values_of(argv, "--talos-version") == list(talos.values())

    def test_family_b_chooses_the_boot_of_vms_by_itself(self):
        flags = flags_of(argv_for({"provisioner": "qemu"}, B))
        assert not flags & {"--schematic-id", "--presets", "--disks", "--talos-version"}

    def test_one_disk_brings_no_others(self):
        argv = argv_for({"provisioner": "qemu", "disks": ["virtio:8GiB"]}, A)
        assert values_of(argv, "--disk") == ["8192"]
        assert not [word for word in argv if word.startswith("--extra-disks")]


PLAIN = {"docker.io": {}, "quay.io": {}}
# A flag and a patch for one registry would have its endpoints joined: so all go into the patch.
NO_FALLBACK = {"docker.io": {}, "quay.io": {"skipFallback": True}}
OWN_PATH = {"docker.io": {}, "quay.io": {"overridePath": True}}
MIRROR_FLAGS = (
    "--registry-mirror docker.io=http://172.17.0.1:5000 "
    "--registry-mirror quay.io=http://172.17.0.1:5002"
)
NODES_B = "--workers 1 --subnet 10.5.0.0/24 --image ghcr.io/siderolabs/talos:v1.13.0"
IMAGE_A = "--image ghcr.io/siderolabs/talos:v1.11.5 --talos-version v1.11.5"
SUDO = "sudo --preserve-env=HOME talosctl"


class TestLineToPaste:
    @pytest.mark.parametrize(
        ("cluster", "upstreams", "line"),
        [
            pytest.param(
                {},
                PLAIN,
                f"talosctl cluster create docker --name talos-default {NODES_B} {MIRROR_FLAGS}",
                id="default",
            ),
            pytest.param(
                {"name": "lab", "workers": 2, "cidr": "10.9.0.0/24", "controlPlanes": 3},
                PLAIN,
                "talosctl cluster create docker --name lab --workers 2 --subnet 10.9.0.0/24 "
                f"--image ghcr.io/siderolabs/talos:v1.13.0 {MIRROR_FLAGS}",
                id="docker-B-has-one-control-plane",
            ),
            # Tags have a v; the stack file may leave it out.
            pytest.param(
                {"talosVersion": "1.11.5", "controlPlanes": 3, "kubernetesVersion": "v1.33.6"},
                PLAIN,
                "talosctl cluster create --provisioner docker --name talos-default --workers 1 "
                f"--cidr 10.5.0.0/24 --controlplanes 3 {IMAGE_A} --kubernetes-version 1.33.6 "
                f"{MIRROR_FLAGS}",
                id="docker-A",
            ),
            pytest.param(
                {"provisioner": "qemu"},
                PLAIN,
                f"{SUDO} cluster create qemu --name talos-default --workers 1 --cidr 10.5.0.0/24 "
                f"--controlplanes 1 {MIRROR_FLAGS}",
                id="qemu-B-has-talosctls-versions",
            ),
            pytest.param(
                {"provisioner": "qemu", "talosVersion": "v1.13.0", "controlPlanes": 3},
                NO_FALLBACK,
                f"pulumi stack output machineConfigPatch > mirrors.yaml && {SUDO} cluster create "
                "qemu --name talos-default --workers 1 --cidr 10.5.0.0/24 --controlplanes 3 "
                "--talos-version v1.13.0 --config-patch @mirrors.yaml",
                id="qemu-B-without-fallback",
            ),
            pytest.param(
                {"talosVersion": "v1.11.5"},
                OWN_PATH,
                "pulumi stack output legacyMachineConfigPatch > mirrors.yaml && talosctl cluster "
                "create --provisioner docker --name talos-default --workers 1 --cidr 10.5.0.0/24 "
                f"--controlplanes 1 {IMAGE_A} --config-patch @mirrors.yaml",
                id="docker-A-own-path",
            ),
        ],
    )
    def test_the_whole_line(self, cluster, upstreams, line):
        outputs = planned({"cluster": cluster, "upstreams": upstreams}).outputs
        assert outputs["talosctlCommand"] == line

    @pytest.mark.parametrize("name", ["1.9.0", "v0.14.3"])
    def test_a_talos_older_than_what_is_supported_has_a_line_of_family_a(self, name):
        line = planned({"cluster": {"talosVersion": name}}).outputs["talosctlCommand"]
        assert "create --provisioner docker" in line

    def test_without_a_cluster_it_makes_talosctls_default_one(self):
        default = planned({"cluster": {}}).outputs["talosctlCommand"]
        assert planned_file("minimal").outputs["talosctlCommand"] == default

    def test_with_several_clusters_it_makes_the_first_one(self):
        line = planned_file("clusters-side-by-side").outputs["talosctlCommand"]
        assert values_of(line.split(), "--name") == ["one"]


TO_NODE = "/opt/talosctl --talosconfig /private/config --nodes 10.5.0.2"


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (
            destroy_argv(cluster_settings(**FULL_QEMU_A), version_in(A), PLACE),
            "/opt/talosctl cluster destroy --name lab --state /private/state --provisioner qemu "
            "--force",
        ),
        # Family B reads the provisioner from its state.
        (
            destroy_argv(cluster_settings(**FULL_QEMU_B), version_in(B), PLACE),
            "/opt/talosctl cluster destroy --name lab --state /private/state --force",
        ),
        (
            read_config_argv(PLACE, "10.5.0.2"),
            f"{TO_NODE} get machineconfig v1alpha1 --output yaml",
        ),
        (boot_argv(PLACE, "10.5.0.2"), f"{TO_NODE} read /proc/sys/kernel/random/boot_id"),
        (
            service_argv(PLACE, "10.5.0.2", "etcd"),
            f"{TO_NODE} get services etcd --output yaml",
        ),
        (
            patch_argv(FULL_PLACE, "10.5.0.2", "no-reboot"),
            f"{TO_NODE} patch machineconfig --patch @/p/0 --patch @/p/1 "
            "--patch @/p/2 --mode no-reboot",
        ),
    ],
    ids=["destroy-A", "destroy-B", "config", "boot", "service", "patch"],
)
def test_the_whole_line_of(argv, line):
    assert argv == line.split()


AUTH_DOCUMENT = "machine: {type: worker}\n---\nkind: RegistryAuthConfig\nname: docker.io\n"
AUTH_ENTRY = "machine: {registries: {config: {docker.io: {auth: {username: u}}}}}"
NO_AUTH = "machine: {registries: {config: {docker.io: {tls: {ca: x}}}, mirrors: {a: {auth: 1}}}}"


def mode_for(talosctl, nodes, patches, *, allow):
    return patch_mode(version_in(talosctl), version_in(nodes), patches, allow_reboot=allow)


class TestReboot:
    @pytest.mark.parametrize("patch", [AUTH_DOCUMENT, AUTH_ENTRY])
    @pytest.mark.parametrize("name", ["v1.10.9", "v1.13.9"])
    def test_credentials_of_registries_need_one_up_to_1_13(self, patch, name):
        assert needs_reboot(patch, version_in(name))
        assert mode_for("v1.13.0", name, [NO_AUTH, patch], allow=True) == "reboot"

    @pytest.mark.parametrize("patch", [AUTH_DOCUMENT, AUTH_ENTRY])
    def test_they_need_none_from_1_14_on(self, patch):
        # There is no mode `reboot` any more, either.
        assert not needs_reboot(patch, version_in("v1.14.0"))
        assert mode_for("v1.14.0", "v1.14.0", [patch], allow=True) == "auto"

    @pytest.mark.parametrize(
        "patch", [NO_AUTH, "machine: {registries: {config: {docker.io: null}}}", "kind: Other", ""]
    )
    def test_nothing_else_needs_one(self, patch):
        assert not needs_reboot(patch, version_in("v1.13.0"))
        assert mode_for("v1.13.0", "v1.13.0", [patch], allow=True) == "auto"

    def test_a_talosctl_without_the_mode_is_refused(self):
        with pytest.raises(ValueError, match=r"v1\.14\.0 .*reboot"):
            mode_for("v1.14.0", "v1.13.0", [AUTH_ENTRY], allow=True)

    def test_none_happens_unless_it_is_allowed(self):
        assert mode_for("v1.13.0", "v1.13.0", [AUTH_DOCUMENT], allow=False) == "no-reboot"

    def test_talosctl_prints_whether_a_node_reboots(self):
        assert reboots("patched it\nApplied configuration with a reboot\n")
        assert not reboots("patched it\nApplied configuration without a reboot\n")
