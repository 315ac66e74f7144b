"""talosctl's lines: two families of commands, what each can't do, and the line to paste.

The flags are those of the releases' sources: `talosctl cluster create --help` hides some of them.
"""

import shlex

import pytest

from plan.settings.stack import parse
from plan.talos import images
from plan.talos.create_flags import create_argv, destroy_argv
from plan.talos.images import (
    image_list_argv,
    node_images,
    nodes_images_argv,
    system_image,
    with_kubernetes,
)
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
from plan.talos.unsupported import (
    all_refusals,
    refusals,
    waits_for_a_cni,
)
from plan.talos.versions import (
    Version,
    node_version,
    version_in,
)
from tests.unit.plan.shapes import cluster_settings, planned, planned_file

FAMILY_A = ["v1.10.9", "v1.11.5"]
FAMILY_B = ["v1.12.0", "v1.13.0", "v1.14.0"]
VERSIONS = FAMILY_A + FAMILY_B
PLACE = Place(program="/opt/talosctl", state="/private/state", talosconfig="/private/talosconfig")
ALL_PATCHES = (
    ("all", "/private/patch-0.yaml"),
    ("controlPlanes", "/private/patch-1.yaml"),
    ("workers", "/private/patch-2.yaml"),
)
FULL_PLACE = Place(
    program="/opt/talosctl",
    state="/private/state",
    talosconfig="/private/talosconfig",
    patches=ALL_PATCHES,
    architecture="arm64",
)
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
FULL_DOCKER = cluster_settings(
    **FULL,
    image="ghcr.io/siderolabs/talos:v1.10.9",
    exposedPorts=["8080:80/tcp", "192.168.1.10:5353:53/udp"],
)
SCHEMATIC = "ab" * 32
QEMU_KEYS = {"provisioner": "qemu", "controlPlanes": 3, "schematic": SCHEMATIC}
FULL_QEMU_A = cluster_settings(
    **FULL, **QEMU_KEYS, disks=["virtio:10GiB", "virtio:6GiB", "virtio:6GiB"]
)
FULL_QEMU_B = cluster_settings(
    **FULL,
    **QEMU_KEYS,
    disks=["virtio:10GiB", "nvme:6GiB"],
    presets=["iso-secureboot", "maintenance"],
)


def version(name):
    return version_in(name)


def argv_for(keys, name, mirrors=(), place=PLACE):
    return create_argv(cluster_settings(**keys), mirrors, version(name), place)


def after(argv, flag):
    assert argv.count(flag) == 1, f"{flag} stands once"
    return argv[argv.index(flag) + 1]


def values_of(argv, flag):
    return [argv[i + 1] for i, word in enumerate(argv) if word == flag]


class TestCreate:
    @pytest.mark.parametrize("name", FAMILY_A)
    def test_the_whole_line_of_family_a_on_docker(self, name):
        assert create_argv(FULL_DOCKER, MIRRORS, version(name), FULL_PLACE) == [
            *("/opt/talosctl", "cluster", "create", "--provisioner", "docker"),
            *("--name", "lab", "--state", "/private/state"),
            *("--workers", "2", "--cidr", "10.7.0.0/24", "--controlplanes", "1"),
            *("--cpus", "4", "--cpus-workers", "0.5"),
            *("--memory", "4096", "--memory-workers", "1536"),
            *("--image", "ghcr.io/siderolabs/talos:v1.10.9"),
            *("--talos-version", "v1.10.9", "--kubernetes-version", "1.33.6"),
            *("--registry-mirror", "docker.io=http://172.17.0.1:5000"),
            *("--registry-mirror", "ghcr.io=http://172.17.0.1:5004"),
            *("--config-patch", "@/private/patch-0.yaml"),
            *("--config-patch-control-plane", "@/private/patch-1.yaml"),
            *("--config-patch-worker", "@/private/patch-2.yaml"),
            *("--exposed-ports", "8080:80/tcp,192.168.1.10:5353:53/udp"),
            *("--docker-host-ip", "127.0.0.1"),
            *("--talosconfig", "/private/talosconfig"),
            *("--wait", "--wait-timeout", "30m"),
        ]

    @pytest.mark.parametrize("name", FAMILY_B)
    def test_the_whole_line_of_family_b_on_docker(self, name):
        assert create_argv(FULL_DOCKER, MIRRORS, version(name), FULL_PLACE) == [
            *("/opt/talosctl", "cluster", "create", "docker"),
            *("--name", "lab", "--state", "/private/state"),
            *("--workers", "2", "--subnet", "10.7.0.0/24"),
            *("--cpus-controlplanes", "4", "--cpus-workers", "0.5"),
            *("--memory-controlplanes", "4096MiB", "--memory-workers", "1536MiB"),
            *("--image", "ghcr.io/siderolabs/talos:v1.10.9"),
            *("--kubernetes-version", "1.33.6"),
            *("--registry-mirror", "docker.io=http://172.17.0.1:5000"),
            *("--registry-mirror", "ghcr.io=http://172.17.0.1:5004"),
            *("--config-patch", "@/private/patch-0.yaml"),
            *("--config-patch-controlplanes", "@/private/patch-1.yaml"),
            *("--config-patch-workers", "@/private/patch-2.yaml"),
            *("--exposed-ports", "8080:80/tcp,192.168.1.10:5353:53/udp"),
            *("--host-ip", "127.0.0.1"),
            *("--talosconfig-destination", "/private/talosconfig"),
        ]

    @pytest.mark.parametrize("name", FAMILY_A)
    def test_the_whole_line_of_family_a_on_qemu(self, name):
        assets = f"https://factory.talos.dev/image/{'ab' * 32}/v1.10.9"
        assert create_argv(FULL_QEMU_A, MIRRORS, version(name), FULL_PLACE) == [
            *("/opt/talosctl", "cluster", "create", "--provisioner", "qemu"),
            *("--name", "lab", "--state", "/private/state"),
            *("--workers", "2", "--cidr", "10.7.0.0/24", "--controlplanes", "3"),
            *("--cpus", "4", "--cpus-workers", "0.5"),
            *("--memory", "4096", "--memory-workers", "1536"),
            *("--disk", "10240", "--extra-disks", "2", "--extra-disks-size", "6144"),
            *("--extra-disks-drivers", "virtio,virtio"),
            *("--vmlinuz-path", f"{assets}/kernel-arm64"),
            *("--initrd-path", f"{assets}/initramfs-arm64.xz"),
            *("--install-image", f"factory.talos.dev/installer/{'ab' * 32}:v1.10.9"),
            *("--talos-version", "v1.10.9", "--kubernetes-version", "1.33.6"),
            *("--registry-mirror", "docker.io=http://172.17.0.1:5000"),
            *("--registry-mirror", "ghcr.io=http://172.17.0.1:5004"),
            *("--config-patch", "@/private/patch-0.yaml"),
            *("--config-patch-control-plane", "@/private/patch-1.yaml"),
            *("--config-patch-worker", "@/private/patch-2.yaml"),
            *("--talosconfig", "/private/talosconfig"),
            *("--wait", "--wait-timeout", "30m"),
        ]

    @pytest.mark.parametrize("name", FAMILY_B)
    def test_the_whole_line_of_family_b_on_qemu(self, name):
        assert create_argv(FULL_QEMU_B, MIRRORS, version(name), FULL_PLACE) == [
            *("/opt/talosctl", "cluster", "create", "qemu"),
            *("--name", "lab", "--state", "/private/state"),
            *("--workers", "2", "--cidr", "10.7.0.0/24", "--controlplanes", "3"),
            *("--cpus-controlplanes", "4", "--cpus-workers", "0.5"),
            *("--memory-controlplanes", "4096MiB", "--memory-workers", "1536MiB"),
            *("--disks", "virtio:10240MiB,nvme:6144MiB"),
            *("--schematic-id", "ab" * 32, "--presets", "iso-secureboot,maintenance"),
            *("--talos-version", "v1.10.9", "--kubernetes-version", "1.33.6"),
            *("--registry-mirror", "docker.io=http://172.17.0.1:5000"),
            *("--registry-mirror", "ghcr.io=http://172.17.0.1:5004"),
            *("--config-patch", "@/private/patch-0.yaml"),
            *("--config-patch-controlplanes", "@/private/patch-1.yaml"),
            *("--config-patch-workers", "@/private/patch-2.yaml"),
            *("--talosconfig-destination", "/private/talosconfig"),
        ]

    @pytest.mark.parametrize("name", VERSIONS)
    @pytest.mark.parametrize("provisioner", ["docker", "qemu"])
    def test_the_default_cluster_says_what_it_is_and_nothing_of_the_other_provisioner(
        self, name, provisioner
    ):
        argv = argv_for({"provisioner": provisioner}, name)
        flags = {word for word in argv if word.startswith("--")}
        only_docker = {"--image", "--subnet", "--exposed-ports", "--host-ip", "--docker-host-ip"}
        only_qemu = {"--vmlinuz-path", "--initrd-path", "--install-image", "--disk", "--disks"}
        assert not flags & (only_qemu if provisioner == "docker" else only_docker)
        assert not flags & {"--config-patch", "--registry-mirror", "--kubernetes-version"}
        assert {"--name", "--state", "--workers", "--cpus-workers", "--memory-workers"} <= flags

    @pytest.mark.parametrize("name", FAMILY_B)
    @pytest.mark.parametrize("provisioner", ["docker", "qemu"])
    def test_the_bare_form_never_meets_family_b(self, name, provisioner):
        argv = argv_for({"provisioner": provisioner}, name)
        assert argv[1:4] == ["cluster", "create", provisioner], "without it, it would make VMs"
        assert "--provisioner" not in argv

    @pytest.mark.parametrize("name", VERSIONS)
    def test_no_registry_is_both_in_a_flag_and_left_to_a_patch(self, name):
        argv = argv_for({}, name, MIRRORS)
        hosts = [value.split("=")[0] for value in values_of(argv, "--registry-mirror")]
        assert hosts == ["docker.io", "ghcr.io"], "endpoints of flag and patch would be joined"

    @pytest.mark.parametrize("name", VERSIONS)
    def test_no_registry_is_said_to_be_insecure(self, name):
        # Talos's own puller fails with a TLS entry for an endpoint that is http.
        argv = argv_for({}, name, MIRRORS, FULL_PLACE)
        assert not [word for word in argv if "insecure" in word]

    @pytest.mark.parametrize("name", VERSIONS)
    def test_patches_keep_their_order(self, name):
        patches = (("workers", "/w"), ("all", "/a"), ("all", "/b"))
        argv = argv_for({}, name, (), Place(**{**vars(PLACE), "patches": patches}))
        assert [word for word in argv if word.startswith("@")] == ["@/w", "@/a", "@/b"]
        assert values_of(argv, "--config-patch") == ["@/a", "@/b"]

    @pytest.mark.parametrize("name", FAMILY_A)
    def test_without_waiting_there_is_no_kubernetes_to_ask_for_a_kubeconfig(self, name):
        argv = argv_for({"wait": False}, name)
        assert argv[-2:] == ["--wait=false", "--skip-kubeconfig"]
        assert "--wait-timeout" not in argv

    @pytest.mark.parametrize("name", FAMILY_B)
    def test_family_b_has_no_flags_of_waiting(self, name):
        argv = argv_for({"createTimeout": "1h"}, name)
        assert not [word for word in argv if "wait" in word or word == "--skip-kubeconfig"]

    @pytest.mark.parametrize("name", FAMILY_A)
    def test_family_a_boots_vms_of_its_own_version_without_a_schematic(self, name):
        argv = argv_for({"provisioner": "qemu"}, name)
        assets = f"https://factory.talos.dev/image/{images.EMPTY_SCHEMATIC}/{name}"
        assert after(argv, "--vmlinuz-path") == f"{assets}/kernel-amd64", "URLs know no ${ARCH}"
        assert after(argv, "--initrd-path") == f"{assets}/initramfs-amd64.xz"
        assert after(argv, "--install-image") == f"ghcr.io/siderolabs/installer:{name}"
        assert "--talos-version" not in argv

    def test_a_release_candidate_boots_what_it_is_called(self):
        keys = {"provisioner": "qemu", "talosVersion": "v1.11.0-rc.1"}
        argv = argv_for(keys, "v1.11.5")
        assert "/v1.11.0-rc.1/kernel-" in after(argv, "--vmlinuz-path")
        assert after(argv, "--install-image").endswith(":v1.11.0-rc.1")

    def test_a_talosctl_before_its_release_makes_nodes_of_its_own_version(self):
        image = "ghcr.io/siderolabs/talos:v1.14.0-rc.1"
        assert after(argv_for({}, "v1.14.0-rc.1"), "--image") == image
        argv = argv_for({"provisioner": "qemu"}, "v1.11.0-rc.1")
        assert after(argv, "--install-image") == "ghcr.io/siderolabs/installer:v1.11.0-rc.1"

    @pytest.mark.parametrize("name", FAMILY_B)
    def test_family_b_chooses_the_boot_of_vms_by_itself(self, name):
        argv = argv_for({"provisioner": "qemu"}, name)
        flags = {"--schematic-id", "--presets", "--disks", "--talos-version"}
        assert not flags & set(argv)
        assert after(argv_for({"provisioner": "qemu", "presets": ["pxe"]}, name), "--presets")

    @pytest.mark.parametrize("name", FAMILY_A)
    def test_one_disk_brings_no_others(self, name):
        argv = argv_for({"provisioner": "qemu", "disks": ["virtio:8GiB"]}, name)
        assert after(argv, "--disk") == "8192"
        assert not [word for word in argv if word.startswith("--extra-disks")]


class TestOtherLines:
    @pytest.mark.parametrize("name", FAMILY_A)
    def test_family_a_is_told_what_it_destroys(self, name):
        assert destroy_argv(FULL_QEMU_A, version(name), PLACE) == [
            *("/opt/talosctl", "cluster", "destroy", "--name", "lab", "--state", "/private/state"),
            *("--provisioner", "qemu", "--force"),
        ]

    @pytest.mark.parametrize("name", FAMILY_B)
    def test_family_b_reads_from_its_state_what_it_destroys(self, name):
        assert destroy_argv(FULL_QEMU_B, version(name), PLACE) == [
            *("/opt/talosctl", "cluster", "destroy", "--name", "lab", "--state", "/private/state"),
            "--force",
        ]

    def test_a_nodes_config_is_read_from_that_node(self):
        assert read_config_argv(PLACE, "10.5.0.2") == [
            *("/opt/talosctl", "--talosconfig", "/private/talosconfig", "--nodes", "10.5.0.2"),
            *("get", "machineconfig", "v1alpha1", "--output", "yaml"),
        ]

    def test_whether_a_node_has_booted_and_is_well_is_asked_of_that_node(self):
        to_node = ["/opt/talosctl", "--talosconfig", "/private/talosconfig", "--nodes", "10.5.0.2"]
        boot = boot_argv(PLACE, "10.5.0.2")
        assert boot == [*to_node, "read", "/proc/sys/kernel/random/boot_id"]
        health = service_argv(PLACE, "10.5.0.2", "etcd")
        assert health == [*to_node, "get", "services", "etcd", "--output", "yaml"]

    def test_a_reboot_is_told_by_talosctl(self):
        assert reboots("patched it\nApplied configuration with a reboot\n")
        assert not reboots("patched it\nApplied configuration without a reboot\n")

    def test_a_node_gets_all_patches_in_one_step(self):
        assert patch_argv(FULL_PLACE, "10.5.0.3", "no-reboot") == [
            *("/opt/talosctl", "--talosconfig", "/private/talosconfig", "--nodes", "10.5.0.3"),
            *("patch", "machineconfig", "--patch", "@/private/patch-0.yaml"),
            *("--patch", "@/private/patch-1.yaml", "--patch", "@/private/patch-2.yaml"),
            *("--mode", "no-reboot"),
        ]


AUTH_DOCUMENT = "machine: {type: worker}\n---\nkind: RegistryAuthConfig\nname: docker.io\n"
AUTH_ENTRY = "machine: {registries: {config: {docker.io: {auth: {username: u}}}}}"
NO_AUTH = "machine: {registries: {config: {docker.io: {tls: {ca: x}}}, mirrors: {a: {auth: 1}}}}"


def mode_for(talosctl, nodes, patches, *, allow):
    return patch_mode(version(talosctl), version(nodes), patches, allow_reboot=allow)


class TestReboot:
    @pytest.mark.parametrize("patch", [AUTH_DOCUMENT, AUTH_ENTRY])
    @pytest.mark.parametrize("name", ["v1.10.9", "v1.11.5", "v1.12.0", "v1.13.9"])
    def test_credentials_of_registries_need_one_up_to_1_13(self, patch, name):
        assert needs_reboot(patch, version(name))
        assert mode_for("v1.13.0", name, [NO_AUTH, patch], allow=True) == "reboot"

    @pytest.mark.parametrize("patch", [AUTH_DOCUMENT, AUTH_ENTRY])
    def test_they_need_none_from_1_14_on(self, patch):
        # There is no mode `reboot` any more, either.
        assert not needs_reboot(patch, version("v1.14.0"))
        assert mode_for("v1.14.0", "v1.14.0", [patch], allow=True) == "auto"

    @pytest.mark.parametrize(
        "patch", [NO_AUTH, "machine: {registries: {config: {docker.io: null}}}", "kind: Other", ""]
    )
    def test_nothing_else_needs_one(self, patch):
        assert not needs_reboot(patch, version("v1.13.0"))
        assert mode_for("v1.13.0", "v1.13.0", [patch], allow=True) == "auto"

    def test_a_talosctl_without_the_mode_says_so(self):
        with pytest.raises(ValueError, match=r"talosctl v1\.14\.0 can't have nodes reboot"):
            mode_for("v1.14.0", "v1.13.0", [AUTH_ENTRY], allow=True)

    @pytest.mark.parametrize("name", VERSIONS)
    def test_none_happens_unless_it_is_allowed(self, name):
        assert mode_for("v1.13.0", name, [AUTH_DOCUMENT], allow=False) == "no-reboot"


def told(keys, name):
    """Path -> problem, without the key's group."""
    problems = refusals(cluster_settings(**keys), version(name))
    assert all(problem.path.startswith("cluster.") for problem in problems)
    assert len({problem.path for problem in problems}) == len(problems)
    return {problem.path.removeprefix("cluster."): problem for problem in problems}


class TestRefusals:
    @pytest.mark.parametrize("name", VERSIONS)
    @pytest.mark.parametrize("provisioner", ["docker", "qemu"])
    def test_the_default_cluster_can_be_made_by_every_release(self, name, provisioner):
        assert told({"provisioner": provisioner}, name) == {}

    @pytest.mark.parametrize(
        ("cluster", "names"),
        [
            (FULL_DOCKER, VERSIONS),
            (FULL_QEMU_A, VERSIONS),
            (FULL_QEMU_B, FAMILY_B),
        ],
        ids=["docker", "qemu-a", "qemu-b"],
    )
    def test_what_the_whole_lines_are_for_can_be_made(self, cluster, names):
        assert [refusals(cluster, version(name)) for name in names] == [()] * len(names)

    @pytest.mark.parametrize("name", ["v1.9.6", "v0.14.3", "v1.15.0", "v2.10.0"])
    def test_a_talosctl_whose_flags_are_not_known_is_refused(self, name):
        (problem,) = refusals(cluster_settings(wait=False), version(name))
        assert problem.path == "cluster.talosctlVersion"
        assert problem.found == f"talosctl {name}"
        assert problem.rule == "talosctl 1.10 to 1.14 are supported"
        assert problem.fix == "install one of these, for instance v1.13.0"

    @pytest.mark.parametrize("name", ["v1.10.0", "v1.14.9"])
    def test_the_first_and_the_last_one_that_are_known_are_not(self, name):
        assert told({}, name) == {}

    def test_another_talosctl_than_the_stack_wants_is_refused(self):
        (problem,) = told({"talosctlVersion": "1.12.0"}, "v1.13.0").values()
        assert problem.found == "talosctl v1.13.0 on PATH"
        assert problem.rule == "the stack wants talosctl v1.12.0"
        assert problem.fix == "install that one, or write talosctlVersion: auto"
        assert told({"talosctlVersion": "1.13.0"}, "v1.13.0") == {}

    def test_a_patch_release_is_another_one(self):
        assert "talosctlVersion" in told({"talosctlVersion": "1.13.1"}, "v1.13.0")

    def test_a_talosctl_before_its_release_can_be_wanted(self):
        wanted = {"talosctlVersion": "v1.14.0-rc.1"}
        assert told(wanted, "v1.14.0-rc.1") == {}
        assert "talosctlVersion" in told(wanted, "v1.14.0")
        assert "talosctlVersion" in told(wanted, "v1.14.0-rc.2")

    @pytest.mark.parametrize(
        ("keys", "path"),
        [
            ({"talosVersion": "v1.13.0"}, "talosVersion"),
            ({"image": "ghcr.io/siderolabs/talos:v1.13.0"}, "image"),
        ],
    )
    def test_nodes_newer_than_talosctl_are_refused(self, keys, path):
        problem = told(keys, "v1.12.0")[path]
        assert problem.found == "Talos v1.13.0"
        assert problem.rule == "talosctl v1.12.0 knows no machine config newer than its own"
        assert problem.fix == "install a talosctl of 1.13, or choose an older Talos"

    def test_nodes_of_a_later_patch_release_are_not(self):
        assert told({"talosVersion": "v1.13.9"}, "v1.13.0") == {}
        assert told({"talosVersion": "v1.11.5"}, "v1.13.0") == {}

    @pytest.mark.parametrize("name", FAMILY_A)
    def test_family_a_has_no_presets(self, name):
        problem = told({"provisioner": "qemu", "presets": ["iso", "maintenance"]}, name)["presets"]
        assert problem.found == "iso, maintenance"
        assert problem.rule == f"talosctl {name} has no presets"
        assert problem.fix == "install talosctl 1.12 or newer"

    @pytest.mark.parametrize("name", FAMILY_A)
    def test_family_a_makes_further_disks_of_one_size(self, name):
        keys = {"provisioner": "qemu", "disks": ["virtio:9GiB", "virtio:5GiB", "virtio:6GiB"]}
        problem = told(keys, name)["disks"]
        assert problem.found == "disks of several sizes"
        assert problem.rule.endswith("makes all disks behind the first one of one size")
        assert problem.fix == "install talosctl 1.12 or newer"
        keys["disks"].pop()
        assert told(keys, name) == {}

    @pytest.mark.parametrize("name", FAMILY_A)
    def test_family_a_makes_disks_of_one_driver(self, name):
        keys = {"provisioner": "qemu", "disks": ["virtio:9GiB", "nvme:5GiB"]}
        problem = told(keys, name)["disks"]
        assert problem.found == "nvme"
        assert problem.fix == "write virtio, or install talosctl 1.12 or newer"

    @pytest.mark.parametrize("name", FAMILY_A)
    def test_family_a_publishes_ports_on_every_control_plane(self, name):
        keys = {"controlPlanes": 2, "exposedPorts": ["8080:80/tcp"]}
        problem = told(keys, name)["exposedPorts"]
        assert problem.found == "8080:80/tcp"
        assert problem.rule.endswith("publishes them on every control plane, which clashes")
        assert problem.fix == "write controlPlanes: 1, or install talosctl 1.12 or newer"
        assert told({**keys, "controlPlanes": 1}, name) == {}
        assert told({"controlPlanes": 2}, name) == {}

    @pytest.mark.parametrize("tag", ["main", "1.10.9", "v1"])
    @pytest.mark.parametrize("name", FAMILY_A)
    def test_family_a_needs_a_version_beside_a_tag_that_is_none(self, name, tag):
        image = f"registry.lan/talos:{tag}"
        problem = told({"image": image}, name)["image"]
        assert problem.found == image
        assert problem.fix == "write its talosVersion too"
        assert told({"image": image, "talosVersion": "v1.10.9"}, name) == {}

    @pytest.mark.parametrize("name", FAMILY_B)
    def test_family_b_always_waits(self, name):
        problem = told({"wait": False}, name)["wait"]
        assert problem.found == "false"
        assert problem.fix == "remove it, or use talosctl 1.11"
        assert told({"wait": False}, "v1.11.5") == {}

    @pytest.mark.parametrize("name", FAMILY_B)
    def test_family_b_makes_one_control_plane_on_docker(self, name):
        problem = told({"controlPlanes": 3}, name)["controlPlanes"]
        assert problem.found == "3"
        assert problem.fix == (
            "write controlPlanes: 1, choose provisioner: qemu, or use talosctl 1.11"
        )
        assert told({"controlPlanes": 3, "provisioner": "qemu"}, name) == {}
        assert told({"controlPlanes": 3}, "v1.11.5") == {}

    @pytest.mark.parametrize("name", FAMILY_B)
    @pytest.mark.parametrize(
        "keys",
        [
            {"image": "registry.lan/talos:main"},
            {"image": "registry.lan/talos:1.12.0"},
            {"image": "registry.lan/talos:main", "talosVersion": "v1.12.0"},
            {"image": "registry.lan/talos:v1.12.0", "talosVersion": "v1.11.5"},
        ],
        ids=str,
    )
    def test_family_b_reads_the_version_from_the_images_tag(self, name, keys):
        problem = told(keys, name)["image"]
        assert problem.found == keys["image"]
        assert problem.rule.endswith("reads the Talos version from the image's tag")
        assert problem.fix == "give the image a tag such as v1.13.0, and leave talosVersion out"
        right = "registry.lan/talos:v1.12.0-mine"
        assert told({"image": right}, name) == {}
        assert told({"image": right, "talosVersion": "v1.12.0"}, name) == {}

    def test_all_that_is_wrong_is_told_at_once(self):
        keys = {"wait": False, "controlPlanes": 3, "talosVersion": "v1.14.0"}
        assert set(told(keys, "v1.13.0")) == {"wait", "controlPlanes", "talosVersion"}

    def test_of_several_clusters_each_is_told_by_its_place_in_the_list(self):
        config = [{"name": "one", "wait": False}, {"name": "two", "cidr": "10.6.0.0/24"}]
        config.append({"name": "three", "cidr": "10.7.0.0/24", "controlPlanes": 3})
        several = parse({"cluster": config}).clusters
        problems = all_refusals(several, version("v1.13.0"))
        assert [problem.path for problem in problems] == [
            "cluster[0].wait",
            "cluster[2].controlPlanes",
        ]
        (problem,) = all_refusals([cluster_settings(wait=False)], version("v1.13.0"))
        assert problem.path == "cluster.wait", "the one of a mapping"


class TestVersions:
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
    def test_a_version_is_found_in_a_text(self, text, expected):
        assert str(version_in(text)) == expected

    @pytest.mark.parametrize("text", ["", "nonsense", "v1.13", "latest", "va.b.c", "x1.2.3"])
    def test_none_is_found_where_there_is_none(self, text):
        assert version_in(text) is None

    def test_versions_are_compared_by_their_numbers(self):
        assert Version(1, 9, 10) < Version(1, 10, 0) < Version(1, 10, 2)
        assert Version(1, 10, 0, "-rc.1") == Version(1, 10, 0)

    @pytest.mark.parametrize("name", VERSIONS)
    def test_nodes_from_1_12_on_read_documents(self, name):
        assert version(name).reads_documents == version(name).is_family_b == (name in FAMILY_B)

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
    def test_nodes_are_as_new_as_asked_for_or_else_as_talosctl(self, keys, expected):
        assert str(node_version(cluster_settings(**keys), version("v1.13.0"))) == expected

    @pytest.mark.parametrize(
        ("keys", "expected"),
        [
            ({"image": "h.lan/talos:v1.12.0"}, "h.lan/talos:v1.12.0"),
            ({"talosVersion": "1.12.0"}, "ghcr.io/siderolabs/talos:v1.12.0"),
            ({"talosVersion": "v1.13.0-rc.1"}, "ghcr.io/siderolabs/talos:v1.13.0-rc.1"),
            ({}, "ghcr.io/siderolabs/talos:v1.13.0"),
        ],
        ids=str,
    )
    def test_docker_nodes_are_of_the_image_asked_for_or_talos_own(self, keys, expected):
        assert system_image(cluster_settings(**keys), version("v1.13.0")) == expected


def line_for(cluster, **config):
    return planned({"cluster": cluster, **config}).outputs["talosctlCommand"]


def word_after(line, flag):
    return after(shlex.split(line), flag)


class TestLine:
    def test_without_a_cluster_it_makes_talosctls_default_one(self):
        assert planned_file("minimal").outputs["talosctlCommand"] == line_for({})

    def test_with_several_clusters_it_makes_the_first_one(self):
        line = planned_file("clusters-side-by-side").outputs["talosctlCommand"]
        assert word_after(line, "--name") == "one"

    def test_every_plain_mirror_is_one_flag(self):
        words = shlex.split(line_for({}))
        values = values_of(words, "--registry-mirror")
        assert len(values) == 6
        assert "docker.io=http://172.17.0.1:5000" in values
        assert "--config-patch" not in words, "a mirror given twice would have its endpoints joined"

    def test_one_mirror_that_is_not_plain_puts_all_into_the_patch(self):
        line = planned_file("skip-fallback").outputs["talosctlCommand"]
        write, create = line.split(" && ")
        assert write == "pulumi stack output machineConfigPatch > mirrors.yaml"
        assert word_after(create, "--config-patch") == "@mirrors.yaml"
        assert "--registry-mirror" not in create, "never both for one registry"

    def test_an_old_talos_gets_the_patch_in_its_own_format(self):
        upstreams = {"docker.io": {"overridePath": True}}
        line = line_for({"talosVersion": "v1.11.5"}, upstreams=upstreams)
        assert line.startswith("pulumi stack output legacyMachineConfigPatch > mirrors.yaml && ")

    def test_a_new_talosctl_has_a_command_per_provisioner(self):
        assert "talosctl cluster create docker --name" in line_for({"talosVersion": "v1.12.0"})
        qemu = line_for({"provisioner": "qemu", "talosVersion": "v1.13.0"})
        assert "talosctl cluster create qemu --name" in qemu
        assert word_after(qemu, "--talos-version") == "v1.13.0"

    def test_docker_on_a_new_talosctl_takes_a_subnet_and_makes_one_control_plane(self):
        line = line_for({"cidr": "10.9.0.0/24", "controlPlanes": 3})
        assert word_after(line, "--subnet") == "10.9.0.0/24"
        assert "--controlplanes" not in line, "the flag is not there"

    @pytest.mark.parametrize("name", ["v1.11.5", "1.9.0", "v0.14.3"])
    def test_an_old_talosctl_has_one_command_with_a_provisioner_flag(self, name):
        line = line_for({"talosVersion": name, "controlPlanes": 3})
        assert word_after(line, "--provisioner") == "docker"
        assert word_after(line, "--cidr") == "10.5.0.0/24"
        assert word_after(line, "--controlplanes") == "3"

    def test_a_version_without_its_v_still_names_an_image_that_there_is(self):
        line = planned_file("cluster-of-an-old-talos").outputs["talosctlCommand"]
        assert word_after(line, "--image") == "ghcr.io/siderolabs/talos:v1.11.5", "tags have a v"
        assert word_after(line, "--talos-version") == "v1.11.5"

    def test_kubernetes_versions_have_no_v_for_talosctl(self):
        line = line_for({"kubernetesVersion": "v1.36.0"})
        assert word_after(line, "--kubernetes-version") == "1.36.0"

    def test_qemu_needs_root_and_keeps_the_users_home(self):
        line = line_for({"provisioner": "qemu"})
        assert line.startswith("sudo --preserve-env=HOME talosctl ")
        assert "sudo" not in line_for({}), "Docker does not"

    def test_versions_left_out_are_left_to_talosctl(self):
        words = set(shlex.split(line_for({"provisioner": "qemu"})))
        assert not {"--image", "--talos-version", "--kubernetes-version"} & words

    def test_all_keys_reach_it(self):
        line = planned_file("all-keys").outputs["talosctlCommand"].split(" && ")[1]
        assert (word_after(line, "--name"), word_after(line, "--workers")) == ("lab", "2")
        assert word_after(line, "--controlplanes") == "3"
        assert word_after(line, "--cidr") == "10.7.0.0/24"


@pytest.mark.parametrize(
    ("talosctl_version", "talos", "line"),
    [
        ("v1.11.5", "v1.11.2", "talosctl image default"),
        ("v1.12.0", "v1.12.0", "talosctl image k8s-bundle"),
        ("v1.13.0", "1.13.9", "talosctl image k8s-bundle"),
    ],
)
def test_what_a_version_needs_is_listed_by_the_talosctl_of_its_release(
    talosctl_version, talos, line
):
    assert image_list_argv("talosctl", version(talosctl_version), talos) == line.split()


@pytest.mark.parametrize(
    ("talos", "why"),
    [
        ("v1.12.0", "only talosctl 1.12 knows what Talos v1.12.0 needs"),
        ("latest", "'latest' is no version of Talos"),
    ],
)
def test_what_no_talosctl_here_can_list_is_refused(talos, why):
    said = image_list_argv("talosctl", version("v1.13.0"), talos)
    assert isinstance(said, str)
    assert why in said


@pytest.mark.parametrize("kubernetes", ["v1.33.1", "1.33.1"])
def test_another_kubernetes_changes_its_own_images_and_no_other(kubernetes):
    listed = [
        "ghcr.io/siderolabs/flannel:v0.27.4",
        "registry.k8s.io/kube-proxy:v1.34.1",
        "ghcr.io/siderolabs/kubelet:v1.34.1",
        "registry.k8s.io/pause:3.10",
    ]
    assert with_kubernetes(listed, "") == listed
    assert with_kubernetes(listed, kubernetes) == [
        "ghcr.io/siderolabs/flannel:v0.27.4",
        "registry.k8s.io/kube-proxy:v1.33.1",
        "ghcr.io/siderolabs/kubelet:v1.33.1",
        "registry.k8s.io/pause:3.10",
    ]


@pytest.mark.parametrize(
    ("talosctl_version", "config", "image"),
    [
        ("v1.11.5", {}, "ghcr.io/siderolabs/installer:v1.11.5"),
        ("v1.11.5", {"schematic": SCHEMATIC}, f"factory.talos.dev/installer/{SCHEMATIC}:v1.11.5"),
        (
            "v1.13.0",
            {"schematic": SCHEMATIC, "talosVersion": "v1.13.2"},
            f"factory.talos.dev/metal-installer/{SCHEMATIC}:v1.13.2",
        ),
        (
            "v1.13.0",
            {"presets": ["iso-secureboot"]},
            f"factory.talos.dev/metal-installer-secureboot/{images.EMPTY_SCHEMATIC}:v1.13.0",
        ),
    ],
)
def test_vms_install_themselves_from_the_installer_of_their_schematic(
    talosctl_version, config, image
):
    cluster = cluster_settings(provisioner="qemu", **config)
    assert system_image(cluster, version(talosctl_version)) == image


def test_the_images_on_nodes_are_asked_for_with_the_clusters_own_access():
    line = nodes_images_argv("talosctl", "/private/config", ("10.5.0.2", "10.5.0.3"), "cri")
    assert shlex.join(line) == (
        "talosctl --talosconfig /private/config --nodes 10.5.0.2,10.5.0.3 "
        "image list --namespace cri"
    )


def test_only_tagged_images_are_taken_from_what_the_nodes_say():
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


NO_CNI = {"cluster": {"network": {"cni": {"name": "none"}}}}


class TestClustersWithoutCni:
    @pytest.mark.parametrize(
        ("name", "most", "way"),
        [
            ("v1.10.9", "createTimeout (30m)", "or write wait: false"),
            ("v1.11.5", "createTimeout (30m)", "or write wait: false"),
            ("v1.12.0", "20 minutes", "talosctl 1.13 or newer"),
        ],
    )
    @pytest.mark.parametrize("key", ["patches", "controlPlanePatches"])
    def test_a_create_that_waits_for_one_is_told_with_its_time_and_the_ways_out(
        self, name, most, way, key
    ):
        cluster = cluster_settings(name="lab", createTimeout="30m", **{key: [NO_CNI]})
        told = waits_for_a_cni(cluster, version(name))
        assert told.startswith("the cluster lab has no CNI (cluster.network.cni.name: none)")
        assert f"create fails after {most}" in told
        assert way in told
        assert "docs/clusters.md" in told

    @pytest.mark.parametrize("name", ["v1.13.0", "v1.14.1"])
    def test_newer_ones_do_not_wait(self, name):
        assert waits_for_a_cni(cluster_settings(patches=[NO_CNI]), version(name)) is None

    @pytest.mark.parametrize(
        "keys",
        [
            {},
            {"patches": [{"cluster": {"network": {"cni": {"name": "flannel"}}}}]},
            {"patches": [{"cluster": {"network": None}}, {"machine": {"type": "worker"}}]},
            {"patches": [{"cluster": {**NO_CNI["cluster"], "inlineManifests": [{"name": "cni"}]}}]},
            {"patches": [NO_CNI, {"cluster": {"extraManifests": ["https://example.com/cni"]}}]},
            {"patches": [NO_CNI], "wait": False},
        ],
    )
    def test_nothing_is_told_where_nodes_get_ready_or_nobody_waits(self, keys):
        assert waits_for_a_cni(cluster_settings(**keys), version("v1.11.5")) is None

    def test_the_newer_family_always_waits_but_for_machines_without_a_config(self):
        def told(**keys):
            return waits_for_a_cni(cluster_settings(patches=[NO_CNI], **keys), version("v1.12.0"))

        assert told(wait=False)
        assert told(provisioner="qemu")
        assert not told(provisioner="qemu", presets=["iso", "maintenance"])
