"""A cluster's plan: its patches, where its images come from, and its warnings."""

import pytest

from plan.problems import SettingsError
from plan.talos import cluster
from tests.unit.plan.shapes import SECRETS_OF_MIRRORS, cluster_plan, planned, planned_file


def test_a_patch_is_read_from_its_file():
    first, second = cluster_plan(
        {"patches": ["@patches/hostname.yaml"], "workerPatches": ["machine: {type: worker}"]}
    ).settings.patches
    assert (first.file, first.text) == (
        "patches/hostname.yaml",
        "machine:\n  network:\n    hostname: one\n",
    )
    assert (second.file, second.text) == ("", "machine: {type: worker}")


def test_every_cluster_of_a_stack_has_its_own_patches_and_all_mirrors():
    plan = planned_file("clusters-side-by-side")
    assert [each.name for each in plan.clusters] == ["one", "two", "three"]
    assert [len(each.settings.patches) for each in plan.clusters] == [0, 1, 0]
    assert all(each.mirrors == plan.mirrors for each in plan.clusters)
    assert dict(plan.clusters[1].sources)["quay.io"] == "http://127.0.0.1:5002"


def test_every_patch_with_a_mistake_is_refused_with_its_path():
    with pytest.raises(SettingsError) as caught:
        planned(
            {
                "cluster": [
                    {"name": "one", "patches": ["no mapping"]},
                    {
                        "name": "two",
                        "cidr": "10.6.0.0/24",
                        "controlPlanePatches": ["@patches/hostname.yaml", "@patches/list.yaml"],
                        "workerPatches": ["@patches/mirror-of-quay.yaml"],
                    },
                ]
            }
        )
    assert [problem.path for problem in caught.value.problems] == [
        "cluster[0].patches[0]",
        "cluster[1].controlPlanePatches[1] (patches/list.yaml)",
        "cluster[1].workerPatches[0] (patches/mirror-of-quay.yaml)",
    ]


def test_the_timeout_of_creating_is_the_stacks():
    assert cluster_plan({"createTimeout": "1h30m"}).create_seconds == 5400


AUTH = "{apiVersion: v1alpha1, kind: RegistryAuthConfig, name: registry.lan, password: hunter2}"


@pytest.mark.parametrize(
    ("keys", "end"),
    [
        ({}, "refused."),
        ({"allowReboot": True}, "refused."),
        ({"provisioner": "qemu"}, "refused without cluster.allowReboot: true."),
        ({"provisioner": "qemu", "allowReboot": True}, "cluster.allowReboot lets them."),
        ({"talosVersion": "v1.13.9"}, "refused."),
    ],
    ids=str,
)
def test_a_warning_about_a_patch_that_needs_a_reboot_of_live_nodes(keys, end):
    plan = cluster_plan({"name": "lab", **keys, "workerPatches": [AUTH]})
    [warning] = cluster.warnings([plan])
    assert "cluster lab" in warning
    assert "logins" in warning
    assert warning.endswith(end)
    assert "hunter2" not in warning


def test_no_warning_about_nodes_that_take_everything_live():
    of_one = cluster_plan({"talosVersion": "v1.14.0", "patches": [AUTH]})
    another = cluster_plan({"patches": ["machine: {env: {A: b}}"]})
    assert cluster.warnings([of_one, another]) == ()


def test_docker_pulls_below_the_path_that_a_cache_has_for_its_upstream():
    plan = planned_file("upstream-with-ca-prefix-and-proxy").clusters[0]
    sources = dict(plan.sources)
    assert sources["docker.io"] == "http://127.0.0.1:5000/proxy-docker.io"
    assert sources["quay.io"] == "http://127.0.0.1:5002"


def test_docker_pulls_from_harbor_what_has_no_cache_here():
    plan = planned_file("harbor-for-some-upstreams")
    assert cluster.sources(plan.caches, plan.mirrors) == (
        ("docker.io", "https://harbor.example.com/proxy-docker.io"),
        ("quay.io", "http://127.0.0.1:5002"),
        ("registry.example.com", "https://harbor.example.com/proxy-registry.example.com"),
    )


def test_the_same_warning_about_a_login_of_the_caches():
    [warning] = cluster.warnings([cluster_plan({"name": "lab"}, **SECRETS_OF_MIRRORS)])
    assert "lab" in warning
    assert "hunter2" not in warning
    tls = cluster_plan({}, cache={"tls": True})
    young = cluster_plan({"talosVersion": "v1.14.0"}, **SECRETS_OF_MIRRORS)
    assert cluster.warnings([tls, young]) == (), "nodes take a CA live, and from 1.14 on a login"


def test_the_lines_that_recreate_a_cluster_concern_no_other():
    assert cluster_plan({"name": "lab"}).made_anew == (
        "make cluster-down STACK=dev CLUSTER=lab, then make cluster-up STACK=dev"
    )
