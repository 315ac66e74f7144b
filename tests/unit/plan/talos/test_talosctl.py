"""talosctl's command lines: two families, what each does not support, and the line to paste.

The flags are those of the releases' sources: `talosctl cluster create --help` hides some of them.
"""

import shlex
from dataclasses import replace

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

# Which release is of which family is tested once (TestVersions), so one of each stands for it. 1.12
# differs from 1.13 only in what TestClustersWithoutCni shows.
A, B = "v1.11.5", "v1.13.0"
FAMILIES = pytest.mark.parametrize("name", [A, B])
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


def argv_for(keys, name, place=PLACE):
    return create_argv(cluster_settings(**keys), (), version(name), place)


def after(argv, flag):
    assert argv.count(flag) == 1, f"{flag} is there once"
    return argv[argv.index(flag) + 1]


def values_of(argv, flag):
    return [argv[i + 1] for i, word in enumerate(argv) if word == flag]


class TestCreate:
    def test_the_whole_line_of_family_a_on_docker(self):
        assert create_argv(FULL_DOCKER, MIRRORS, version(A), FULL_PLACE) == [
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

    def test_the_whole_line_of_family_b_on_docker(self):
        assert create_argv(FULL_DOCKER, MIRRORS, version(B), FULL_PLACE) == [
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

    def test_the_whole_line_of_family_a_on_qemu(self):
        assets = f"https://factory.talos.dev/image/{'ab' * 32}/v1.10.9"
        assert create_argv(FULL_QEMU_A, MIRRORS, version(A), FULL_PLACE) == [
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

    def test_the_whole_line_of_family_b_on_qemu(self):
        assert create_argv(FULL_QEMU_B, MIRRORS, version(B), FULL_PLACE) == [
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

    @FAMILIES
    @pytest.mark.parametrize("provisioner", ["docker", "qemu"])
    def test_the_default_cluster_has_no_flags_of_the_other_provisioner(self, name, provisioner):
        argv = argv_for({"provisioner": provisioner}, name)
        flags = {word for word in argv if word.startswith("--")}
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

    def test_family_a_boots_vms_of_its_own_version_without_a_schematic(self):
        argv = argv_for({"provisioner": "qemu"}, A)
        assets = f"https://factory.talos.dev/image/{images.EMPTY_SCHEMATIC}/{A}"
        assert after(argv, "--vmlinuz-path") == f"{assets}/kernel-amd64", "URLs know no ${ARCH}"
        assert after(argv, "--initrd-path") == f"{assets}/initramfs-amd64.xz"
        assert after(argv, "--install-image") == f"ghcr.io/siderolabs/installer:{A}"
        assert "--talos-version" not in argv

    def test_a_release_candidate_boots_its_own_images(self):
        keys = {"provisioner": "qemu", "talosVersion": "v1.11.0-rc.1"}
        argv = argv_for(keys, A)
        assert "/v1.11.0-rc.1/kernel-" in after(argv, "--vmlinuz-path")
        assert after(argv, "--install-image").endswith(":v1.11.0-rc.1")

    def test_a_talosctl_before_its_release_makes_nodes_of_its_own_version(self):
        image = "ghcr.io/siderolabs/talos:v1.14.0-rc.1"
        assert after(argv_for({}, "v1.14.0-rc.1"), "--image") == image
        argv = argv_for({"provisioner": "qemu"}, "v1.11.0-rc.1")
        assert after(argv, "--install-image") == "ghcr.io/siderolabs/installer:v1.11.0-rc.1"

    def test_family_b_chooses_the_boot_of_vms_by_itself(self):
        argv = argv_for({"provisioner": "qemu"}, B)
        flags = {"--schematic-id", "--presets", "--disks", "--talos-version"}
        assert not flags & set(argv)

    def test_one_disk_brings_no_others(self):
        argv = argv_for({"provisioner": "qemu", "disks": ["virtio:8GiB"]}, A)
        assert after(argv, "--disk") == "8192"
        assert not [word for word in argv if word.startswith("--extra-disks")]


class TestOtherLines:
    def test_family_a_needs_the_provisioner_to_destroy(self):
        assert destroy_argv(FULL_QEMU_A, version(A), PLACE) == [
            *("/opt/talosctl", "cluster", "destroy", "--name", "lab", "--state", "/private/state"),
            *("--provisioner", "qemu", "--force"),
        ]

    def test_family_b_reads_the_provisioner_from_its_state(self):
        assert destroy_argv(FULL_QEMU_B, version(B), PLACE) == [
            *("/opt/talosctl", "cluster", "destroy", "--name", "lab", "--state", "/private/state"),
            "--force",
        ]

    def test_a_nodes_config_is_read_from_that_node(self):
        assert read_config_argv(PLACE, "10.5.0.2") == [
            *("/opt/talosctl", "--talosconfig", "/private/talosconfig", "--nodes", "10.5.0.2"),
            *("get", "machineconfig", "v1alpha1", "--output", "yaml"),
        ]

    def test_boot_id_and_health_are_read_from_that_node(self):
        to_node = ["/opt/talosctl", "--talosconfig", "/private/talosconfig", "--nodes", "10.5.0.2"]
        boot = boot_argv(PLACE, "10.5.0.2")
        assert boot == [*to_node, "read", "/proc/sys/kernel/random/boot_id"]
        health = service_argv(PLACE, "10.5.0.2", "etcd")
        assert health == [*to_node, "get", "services", "etcd", "--output", "yaml"]

    def test_talosctl_prints_whether_a_node_reboots(self):
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
    @pytest.mark.parametrize("name", ["v1.10.9", "v1.13.9"])
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

    def test_a_talosctl_without_the_mode_is_refused(self):
        with pytest.raises(ValueError, match=r"v1\.14\.0 .*reboot"):
            mode_for("v1.14.0", "v1.13.0", [AUTH_ENTRY], allow=True)

    def test_none_happens_unless_it_is_allowed(self):
        assert mode_for("v1.13.0", "v1.13.0", [AUTH_DOCUMENT], allow=False) == "no-reboot"


def told(keys, name):
    """Path -> problem, without the key's group."""
    problems = refusals(cluster_settings(**keys), version(name))
    assert all(problem.path.startswith("cluster.") for problem in problems)
    assert len({problem.path for problem in problems}) == len(problems)
    return {problem.path.removeprefix("cluster."): problem for problem in problems}


class TestRefusals:
    @pytest.mark.parametrize("name", ["v1.10.0", "v1.12.0", "v1.14.9"])
    @pytest.mark.parametrize("provisioner", ["docker", "qemu"])
    def test_the_default_cluster_can_be_made_by_every_release(self, name, provisioner):
        assert told({"provisioner": provisioner}, name) == {}

    def test_what_the_whole_lines_are_for_can_be_made(self):
        for cluster, name in (
            (FULL_DOCKER, A),
            (FULL_DOCKER, B),
            (FULL_QEMU_A, A),
            (FULL_QEMU_B, B),
        ):
            assert refusals(cluster, version(name)) == ()

    @pytest.mark.parametrize("name", ["v1.9.6", "v0.14.3", "v1.15.0", "v2.10.0"])
    def test_a_talosctl_whose_flags_are_not_known_is_refused(self, name):
        (problem,) = refusals(cluster_settings(wait=False), version(name))
        assert problem.path == "cluster.talosctlVersion"
        assert problem.found == f"talosctl {name}"
        assert "1.10 to 1.14" in problem.rule

    @pytest.mark.parametrize(
        ("required", "installed", "refused"),
        [
            ("1.13.0", "v1.13.0", False),
            ("1.12.0", "v1.13.0", True),
            ("1.13.1", "v1.13.0", True),
            ("v1.14.0-rc.1", "v1.14.0-rc.1", False),
            ("v1.14.0-rc.1", "v1.14.0-rc.2", True),
            ("v1.14.0-rc.1", "v1.14.0", True),
        ],
    )
    def test_any_other_talosctl_than_the_required_one_is_refused(
        self, required, installed, refused
    ):
        problems = told({"talosctlVersion": required}, installed)
        assert set(problems) == ({"talosctlVersion"} if refused else set())
        for problem in problems.values():
            assert installed in problem.found
            assert required.removeprefix("v") in problem.rule
            assert "talosctlVersion: auto" in problem.fix

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
        assert "v1.12.0" in problem.rule
        assert "talosctl 1.13" in problem.fix

    def test_nodes_of_a_later_patch_release_are_not(self):
        assert told({"talosVersion": "v1.13.9"}, "v1.13.0") == {}
        assert told({"talosVersion": "v1.11.5"}, "v1.13.0") == {}

    @pytest.mark.parametrize(
        ("keys", "key", "found"),
        [
            (
                {"provisioner": "qemu", "presets": ["iso", "maintenance"]},
                "presets",
                "iso, maintenance",
            ),
            (
                {"provisioner": "qemu", "disks": ["virtio:9GiB", "virtio:5GiB", "virtio:6GiB"]},
                "disks",
                "disks of several sizes",
            ),
            ({"provisioner": "qemu", "disks": ["virtio:9GiB", "nvme:5GiB"]}, "disks", "nvme"),
            (
                {"controlPlanes": 2, "exposedPorts": ["8080:80/tcp"]},
                "exposedPorts",
                "8080:80/tcp",
            ),
        ],
        ids=["presets", "sizes", "drivers", "ports"],
    )
    def test_what_needs_family_b_is_refused_before(self, keys, key, found):
        assert set(told(keys, A)) == {key}
        problem = told(keys, A)[key]
        assert problem.found == found
        assert A in problem.rule
        assert problem.fix.endswith("install talosctl 1.12 or newer")

    @pytest.mark.parametrize(
        "keys",
        [
            {"provisioner": "qemu", "disks": ["virtio:9GiB", "virtio:5GiB"]},
            {"controlPlanes": 1, "exposedPorts": ["8080:80/tcp"]},
            {"controlPlanes": 2},
        ],
        ids=str,
    )
    def test_what_family_a_can_do_is_not(self, keys):
        assert told(keys, A) == {}

    @pytest.mark.parametrize("tag", ["main", "1.10.9", "v1"])
    def test_family_a_needs_a_version_beside_a_tag_that_is_not_one(self, tag):
        image = f"registry.lan/talos:{tag}"
        problem = told({"image": image}, A)["image"]
        assert problem.found == image
        assert "talosVersion" in problem.fix
        assert told({"image": image, "talosVersion": "v1.10.9"}, A) == {}

    @pytest.mark.parametrize(
        ("keys", "key", "found"),
        [
            ({"wait": False}, "wait", "false"),
            ({"controlPlanes": 3}, "controlPlanes", "3"),
        ],
        ids=str,
    )
    def test_what_needs_family_a_is_refused_after(self, keys, key, found):
        assert told(keys, A) == {}
        assert set(told(keys, B)) == {key}
        problem = told(keys, B)[key]
        assert problem.found == found
        assert B in problem.rule
        assert problem.fix.endswith("use talosctl 1.11")

    def test_family_b_makes_several_control_planes_as_vms(self):
        assert told({"controlPlanes": 3, "provisioner": "qemu"}, B) == {}

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
    def test_family_b_reads_the_version_from_the_images_tag(self, keys):
        problem = told(keys, B)["image"]
        assert problem.found == keys["image"]
        assert "tag" in problem.rule
        assert "v1.13.0" in problem.fix
        right = "registry.lan/talos:v1.12.0-mine"
        assert told({"image": right}, B) == {}
        assert told({"image": right, "talosVersion": "v1.12.0"}, B) == {}

    def test_all_mistakes_are_reported_together(self):
        keys = {"wait": False, "controlPlanes": 3, "talosVersion": "v1.14.0"}
        assert set(told(keys, "v1.13.0")) == {"wait", "controlPlanes", "talosVersion"}

    def test_the_path_has_the_clusters_place_in_the_list(self):
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
    def test_other_texts_have_no_version(self, text):
        assert version_in(text) is None

    def test_versions_are_compared_by_their_numbers(self):
        assert Version(1, 9, 10) < Version(1, 10, 0) < Version(1, 10, 2)
        assert Version(1, 10, 0, "-rc.1") == Version(1, 10, 0)

    def test_family_b_begins_with_1_12_and_so_do_documents_on_nodes(self):
        names = ["v1.10.9", "v1.11.5", "v1.12.0", "v1.13.0", "v1.14.0"]
        versions = [version(name) for name in names]
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
    def test_nodes_have_the_configured_version_or_else_talosctls(self, keys, expected):
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
    def test_docker_nodes_have_the_configured_image_or_talos_own(self, keys, expected):
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
        ("v1.12.0", "talosctl 1.12"),
        ("latest", "'latest'"),
    ],
)
def test_what_no_talosctl_here_can_list_is_refused(talos, why):
    refusal = image_list_argv("talosctl", version("v1.13.0"), talos)
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


def test_images_on_nodes_are_listed_with_the_clusters_own_talosconfig():
    line = nodes_images_argv("talosctl", "/private/config", ("10.5.0.2", "10.5.0.3"), "cri")
    assert shlex.join(line) == (
        "talosctl --talosconfig /private/config --nodes 10.5.0.2,10.5.0.3 "
        "image list --namespace cri"
    )


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


NO_CNI = {"cluster": {"network": {"cni": {"name": "none"}}}}


class TestClustersWithoutCni:
    @pytest.mark.parametrize(
        ("name", "most", "way"),
        [
            ("v1.11.5", "createTimeout (30m)", "wait: false"),
            ("v1.12.0", "20 minutes", "talosctl 1.13 or newer"),
        ],
    )
    @pytest.mark.parametrize("key", ["patches", "controlPlanePatches"])
    def test_a_warning_about_a_create_that_waits_has_its_time_and_the_ways_out(
        self, name, most, way, key
    ):
        cluster = cluster_settings(name="lab", createTimeout="30m", **{key: [NO_CNI]})
        told = waits_for_a_cni(cluster, version(name))
        assert "lab has no CNI (cluster.network.cni.name: none)" in told
        assert most in told
        assert way in told
        assert "docs/clusters.md" in told

    def test_newer_ones_do_not_wait(self):
        assert waits_for_a_cni(cluster_settings(patches=[NO_CNI]), version("v1.13.0")) is None

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
    def test_no_warning_if_nodes_become_ready_or_nothing_waits(self, keys):
        assert waits_for_a_cni(cluster_settings(**keys), version("v1.11.5")) is None

    def test_the_newer_family_always_waits_but_for_machines_without_a_config(self):
        def told(**keys):
            return waits_for_a_cni(cluster_settings(patches=[NO_CNI], **keys), version("v1.12.0"))

        assert told(wait=False)
        assert told(provisioner="qemu")
        assert not told(provisioner="qemu", presets=["iso", "maintenance"])
