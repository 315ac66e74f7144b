"""A cluster's plan: what its identity is, and how it is passed on without showing secrets."""

import json
from dataclasses import fields, replace

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from plan.caches import addressing, cache_plan
from plan.problems import MASK, SettingsError
from plan.settings.cluster import ClusterSettings
from plan.settings.nodes import (
    BOOT_PRESETS,
    DISK_DRIVERS,
    Disk,
    Machine,
)
from plan.settings.patches import Patch
from plan.settings.stack import parse
from plan.talos import cluster, cluster_transport, mirrors
from plan.talos.cluster_transport import (
    environment,
    identity,
    read,
    secret_input,
)
from tests.unit.plan.shapes import MADE, VALID, cluster_plan, config_of, planned, planned_file

IDENTITY, OPTION, TIMEOUT, PATCHES, SLUG = "identity", "option", "timeout", "patches", "slug"
# Read by a command of its own, not by the one that creates the cluster.
WARM = "warm"
# Every field -> what it is to a cluster, and another value.
FIELDS = {
    "slug": (SLUG, "cluster-lab"),
    "provisioner": (IDENTITY, "qemu"),
    "name": (IDENTITY, "lab"),
    "control_planes": (IDENTITY, 3),
    "workers": (IDENTITY, 0),
    "cidr": (IDENTITY, "10.6.0.0/24"),
    "talos_version": (IDENTITY, "v1.12.0"),
    "image": (IDENTITY, "ghcr.io/siderolabs/talos:v1.12.0"),
    "schematic": (IDENTITY, "0" * 64),
    "presets": (IDENTITY, ("pxe",)),
    "kubernetes_version": (IDENTITY, "v1.36.0"),
    "control_plane_machine": (IDENTITY, Machine(cpus="4", memory=2048)),
    "worker_machine": (IDENTITY, Machine(cpus="2", memory=4096)),
    "disks": (IDENTITY, (Disk(driver="virtio", size=10240),)),
    "exposed_ports": (IDENTITY, ("8080:80/tcp",)),
    "patches": (PATCHES, (Patch(scope="all", text="machine: {type: worker}"),)),
    "talosctl_version": (OPTION, "v1.13.0"),
    "create_timeout": (TIMEOUT, "1h"),
    "wait": (OPTION, False),
    "warm": (WARM, True),
    "warm_file": (WARM, "images.txt"),
    "merge_kubeconfig": (OPTION, True),
    "allow_reboot": (OPTION, True),
}
# Kind of field -> the variable that contains it.
VARIABLES = {
    IDENTITY: {cluster_transport.CLUSTER_VARIABLE},
    OPTION: {cluster_transport.OPTIONS_VARIABLE},
    TIMEOUT: {cluster_transport.TIMEOUT_VARIABLE},
    SLUG: {cluster_transport.SLUG_VARIABLE},
    PATCHES: set(),
    WARM: set(),
}


def changed(before, after):
    old, new = environment(before), environment(after)
    return {name for name in old | new if old.get(name) != new.get(name)}


def test_every_field_has_a_known_kind():
    names = {field.name for field in fields(ClusterSettings)}
    assert set(FIELDS) == names, "say here what the new field is: a wrong guess replaces clusters"


@pytest.mark.parametrize("name", FIELDS)
def test_a_changed_field_replaces_the_cluster_if_and_only_if_it_is_identity(name):
    kind, value = FIELDS[name]
    before = cluster_plan({})
    after = replace(before, settings=replace(before.settings, **{name: value}))
    assert after != before, "the table holds another value than the default"
    assert (identity(after) != identity(before)) == (kind == IDENTITY)
    assert changed(before, after) == VARIABLES[kind]
    assert (secret_input(after) != secret_input(before)) == (kind == PATCHES)
    assert read(environment(after), secret_input(after)) == (before if kind == WARM else after)


def test_the_identity_of_the_default_cluster_is_a_promise():
    # The engine compares it: another form of it replaces every existing cluster.
    assert identity(cluster_plan({})) == {
        "provisioner": "docker",
        "name": "talos-default",
        "controlPlanes": 1,
        "workers": 1,
        "cidr": "10.5.0.0/24",
        "controlPlaneMachine": {"cpus": "2", "memory": 2048},
        "workerMachine": {"cpus": "2", "memory": 2048},
    }


def test_the_variables_of_a_cluster_are_a_promise():
    variables = environment(
        cluster_plan({}, upstreams={"docker.io": {"overridePath": True}, "quay.io": None})
    )
    assert set(variables) == {
        "TALOS_CACHE_STACK",
        "TALOS_CACHE_SLUG",
        "TALOS_CACHE_CLUSTER",
        "TALOS_CACHE_OPTIONS",
        "TALOS_CACHE_MIRRORS",
        "TALOS_CACHE_CREATE_TIMEOUT",
    }
    assert json.loads(variables["TALOS_CACHE_MIRRORS"]) == {
        "docker.io": {
            "url": "http://172.17.0.1:5000/v2",
            "overridePath": True,
            "cache": "http://127.0.0.1:5000",
        },
        "quay.io": {"url": "http://172.17.0.1:5002", "cache": "http://127.0.0.1:5002"},
    }
    assert json.loads(variables["TALOS_CACHE_OPTIONS"]) == {
        "talosctlVersion": "auto",
        "wait": True,
        "mergeKubeconfig": False,
        "allowReboot": False,
    }
    assert variables["TALOS_CACHE_STACK"] == "dev"
    assert variables["TALOS_CACHE_CREATE_TIMEOUT"] == "25m"


def test_one_more_upstream_changes_the_mirrors_alone():
    upstreams = {"docker.io": {}, "quay.io": {}}
    before = cluster_plan({}, upstreams=upstreams)
    after = cluster_plan({}, upstreams={**upstreams, "ghcr.io": {}})
    assert changed(before, after) == {cluster_transport.MIRRORS_VARIABLE}
    assert identity(after) == identity(before)
    assert secret_input(after) == secret_input(before)


@pytest.mark.parametrize("path", VALID, ids=lambda path: path.stem)
def test_a_plan_that_is_passed_on_can_be_rebuilt(path):
    for plan in planned(config_of(path)).clusters:
        unwarmed = replace(plan.settings, warm=False, warm_file="")
        expected = replace(plan, settings=unwarmed, warm_list="")
        assert read(environment(plan), secret_input(plan)) == expected


def test_a_plan_is_passed_on_as_text_in_variables_and_one_line_of_input():
    plan = planned_file("cluster-with-all-keys-on-docker").clusters[0]
    assert all(isinstance(value, str) for value in environment(plan).values())
    assert "\n" not in secret_input(plan), "the program reads one line and leaves the input open"


flags = st.fixed_dictionaries(
    {}, optional={"skipFallback": st.booleans(), "overridePath": st.booleans()}
)
patches = st.lists(
    st.one_of(
        st.just("@patches/hostname.yaml"),
        st.just("machine: {type: worker}\n---\napiVersion: v1alpha1\nkind: Other\n"),
        st.dictionaries(
            st.text(max_size=4).filter(lambda key: key != "<<"), st.text(max_size=4), max_size=2
        ).map(lambda values: {"machine": {"env": values}}),
    ),
    max_size=2,
)
sizes = st.integers(512, 99999).map("{}MiB".format)
of_any = {
    "name": st.from_regex(r"[a-z][a-z0-9-]{0,20}[a-z0-9]", fullmatch=True),
    "controlPlanes": st.integers(1, 9),
    "workers": st.integers(0, 99),
    "cidr": st.integers(0, 255).map("10.{}.0.0/16".format),
    "talosVersion": st.sampled_from(["v1.11.5", "1.13.0", "v1.14.0-rc.1"]),
    "kubernetesVersion": st.sampled_from(["v1.36.0", "1.34.1"]),
    "controlPlaneCpus": st.one_of(st.integers(1, 256), st.floats(0.1, 256)),
    "controlPlaneMemory": sizes,
    "workerCpus": st.integers(1, 256),
    "workerMemory": sizes,
    "patches": patches,
    "controlPlanePatches": patches,
    "workerPatches": patches,
    "talosctlVersion": st.sampled_from(["auto", "v1.13.0"]),
    "createTimeout": st.sampled_from(["30m", "1h30m"]),
    "wait": st.booleans(),
    "mergeKubeconfig": st.booleans(),
    "allowReboot": st.booleans(),
}
of_docker = {
    "image": st.just("ghcr.io/siderolabs/talos:v1.13.0"),
    "exposedPorts": st.lists(
        st.sampled_from(["80:80/tcp", "127.0.0.1:53:53/udp"]), max_size=2, unique=True
    ),
}
of_qemu = {
    "schematic": st.just("ab" * 32),
    "presets": st.sampled_from(BOOT_PRESETS).map(lambda name: [name]),
    "disks": st.lists(
        st.tuples(st.sampled_from(DISK_DRIVERS), st.integers(1, 99999)).map(
            lambda pair: f"{pair[0]}:{pair[1]}MiB"
        ),
        max_size=3,
    ),
}
clusters = st.one_of(
    st.fixed_dictionaries({}, optional=of_any | of_docker),
    st.fixed_dictionaries({"provisioner": st.just("qemu")}, optional=of_any | of_qemu),
).filter(lambda config: config.get("wait", True) or not config.get("mergeKubeconfig"))
upstreams = st.dictionaries(
    st.sampled_from(["docker.io", "quay.io", "ghcr.io"]), flags, min_size=1, max_size=3
)


@settings(max_examples=60, deadline=None)
@given(clusters, upstreams)
def test_any_plan_that_is_passed_on_can_be_rebuilt(config, hosts):
    plan = cluster_plan(config, upstreams=hosts)
    assert read(environment(plan), secret_input(plan)) == plan


def test_the_text_of_a_patch_is_only_in_the_secret_input():
    secret = {"machine": {"env": {"PASSWORD": "hunter2"}}}
    plan = cluster_plan(
        {
            "patches": [secret, "@patches/credentials.yaml"],
            "controlPlanePatches": [json.dumps(secret)],
            "workerPatches": ["@patches/credentials.yaml"],
        }
    )
    assert secret_input(plan).count("hunter2") == 4, "it is passed on"
    assert "hunter2" not in str(environment(plan)), "a preview shows the variables"
    assert "hunter2" not in str(identity(plan)), "the engine shows what has replaced a cluster"
    assert "hunter2" not in repr(plan), "tracebacks show reprs"
    assert "hunter2" not in f"{plan.settings.patches}"


def test_a_patch_is_read_from_its_file():
    first, second = cluster_plan(
        {"patches": ["@patches/hostname.yaml"], "workerPatches": ["machine: {type: worker}"]}
    ).settings.patches
    assert (first.file, first.text) == (
        "patches/hostname.yaml",
        "machine:\n  network:\n    hostname: one\n",
    )
    assert (second.file, second.text) == ("", "machine: {type: worker}")


def test_another_content_of_a_patch_file_is_another_input():
    def made(content):
        chosen = planned({"cluster": {"patches": ["@p"]}})
        files = {"p": content}
        return cluster.build("dev", chosen.settings.clusters, chosen.caches, (), files)[0]

    before, after = made("machine: {type: worker}"), made("machine: {type: controlplane}")
    assert secret_input(before) != secret_input(after)
    assert changed(before, after) == set()


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


@pytest.mark.parametrize(
    "text",
    [
        "machine: !!timestamp soon",
        "machine: !!bool perhaps",
        "machine: !!int many",
        "machine: 2024-99-99",
        "machine: !own {}",
        "machine: {? {}: 1}",
        "machine: [hunter2]",
        "cluster: hunter2",
        "machine: {",
        "machine: \x00",
        "[" * 600,
        "{a: " * 600,
        "just words",
        "machine: {}\n---\n[]",
        "---\n---\n",
    ],
    ids=lambda text: text[:24],
)
def test_what_is_not_a_patch_is_refused_and_not_shown(text):
    with pytest.raises(SettingsError) as caught:
        cluster_plan({"patches": [text]})
    (problem,) = caught.value.problems
    assert (problem.path, problem.found) == ("cluster.patches[0]", MASK)


@pytest.mark.parametrize(
    "patch",
    [
        # A mirror of a registry without a cache.
        {"machine": {"registries": {"mirrors": {"gcr.io": {"endpoints": ["http://h"]}}}}},
        {"apiVersion": "v1alpha1", "kind": "RegistryMirrorConfig", "name": "gcr.io"},
        # Logins of a registry that has a cache: they are for the registry itself.
        {"apiVersion": "v1alpha1", "kind": "RegistryAuthConfig", "name": "docker.io"},
        {"machine": {"registries": {"config": {"docker.io": {"auth": {"username": "u"}}}}}},
        {"machine": {"registries": {"mirrors": None}}},
        # TLS and logins of other endpoints.
        {"apiVersion": "v1alpha1", "kind": "RegistryTLSConfig", "name": "registry.lan", "ca": "x"},
        {"machine": {"registries": {"config": {"registry.lan": {"auth": {}}}}}},
        {"apiVersion": "v1alpha1", "kind": "Other", "name": "172.17.0.1:5000"},
    ],
    ids=str,
)
def test_a_patch_may_set_what_this_stack_does_not(patch):
    (own,) = cluster_plan({"patches": [patch]}, upstreams={"docker.io": {}}).settings.patches
    assert yaml.safe_load(own.text) == patch


def test_the_timeout_of_creating_is_the_stacks():
    assert cluster_plan({"createTimeout": "1h30m"}).create_seconds == 5400


def test_the_list_that_a_cluster_is_warmed_with_is_read_and_its_changes_are_seen():
    config = {"cluster": {"warm": "@images.txt"}}

    def warmed(text, **more):
        chosen = parse({**config, **more})
        plans = cache_plan.build(chosen, addressing.resolve(chosen, "172.17.0.1"))
        files = {"images.txt": text}
        (plan,) = cluster.build("mine", chosen.clusters, plans, mirrors.build(plans), files)
        return cluster_transport.warm_environment(plan)

    one, other = warmed("ghcr.io/a:1"), warmed("ghcr.io/a:2")
    assert one != other
    assert warmed("ghcr.io/a:1", upstreams={"ghcr.io": None}) != one, "another set of caches"
    assert json.loads(one[cluster_transport.CLUSTER_VARIABLE]) == {"name": "talos-default"}


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


SECRETS_OF_MIRRORS = {
    "cache": {"tls": True},
    "cacheLogin": {"username": "alice", "password": "hunter2"},
}


def test_ca_and_login_are_only_in_the_secret_input():
    plan = cluster_plan({}, **SECRETS_OF_MIRRORS)
    there = read(environment(plan), secret_input(plan))
    assert there == plan
    assert {mirror.login.password for mirror in there.mirrors} == {"hunter2"}
    assert {mirror.ca for mirror in there.mirrors} == {MADE.ca.strip()}
    shown = str(environment(plan))
    assert "hunter2" not in shown, "a preview shows the variables"
    assert "alice" not in shown, "the user name is as secret in the stack"
    assert "BEGIN" not in shown, "a digest tells as well that it changes"
    assert "\n" not in secret_input(plan)


def test_a_preview_shows_that_a_ca_changes_or_a_login_is_added():
    plain, tls = cluster_plan({}), cluster_plan({}, cache={"tls": True})
    both = cluster_plan({}, **SECRETS_OF_MIRRORS)
    assert changed(plain, tls) == changed(tls, both) == {cluster_transport.MIRRORS_VARIABLE}
    mirror = replace(tls.mirrors[0], ca="another")
    renewed = replace(tls, mirrors=(mirror, *tls.mirrors[1:]))
    assert changed(tls, renewed) == {cluster_transport.MIRRORS_VARIABLE}


def test_a_changed_password_changes_the_secret_input_alone():
    plan = cluster_plan({}, **SECRETS_OF_MIRRORS)
    login = {"username": "alice", "password": "hunter3"}
    other = cluster_plan({}, **{**SECRETS_OF_MIRRORS, "cacheLogin": login})
    assert changed(plan, other) == set()
    assert secret_input(plan) != secret_input(other)
    assert identity(plan) == identity(other), "a cluster lives on with another password"


def test_a_cluster_of_a_state_without_logins_can_still_be_read():
    # The engine deletes with the inputs from when the cluster was created.
    plan = cluster_plan({"patches": ["machine: {type: worker}"]})
    patches = json.dumps([{"scope": "all", "text": "machine: {type: worker}", "file": ""}])
    assert read(environment(plan), patches) == plan
    assert json.loads(secret_input(plan)) == json.loads(patches), "nor does an upgrade change it"


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
