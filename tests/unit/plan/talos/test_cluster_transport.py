"""How a cluster's plan is passed on: what its identity is, and without showing secrets."""

import json
from dataclasses import fields, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plan.settings.cluster import ClusterSettings
from plan.settings.nodes import Disk, Machine
from plan.settings.patches import Patch
from plan.talos import cluster_transport
from plan.talos.cluster import ClusterPlan
from plan.talos.cluster_transport import environment, identity, read, secret_input
from plan.talos.mirrors import Mirror
from tests.unit.plan.shapes import (
    ANY_LIST,
    MADE,
    SECRETS_OF_MIRRORS,
    VALID,
    cluster_plan,
    config_of,
    planned,
)

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
    """The variables that a preview would show as changed."""
    old, new = environment(before), environment(after)
    return {name for name in old | new if old.get(name) != new.get(name)}


def arrived(plan):
    """The plan as the command that creates the cluster has it."""
    assert "\n" not in secret_input(plan), "it reads one line and leaves the input open"
    return read(environment(plan), secret_input(plan))


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
    assert arrived(after) == (before if kind == WARM else after)


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
    upstreams = {"docker.io": {"overridePath": True}, "quay.io": None}
    plan = cluster_plan({}, upstreams=upstreams)
    variables = environment(plan)
    assert json.loads(variables.pop("TALOS_CACHE_CLUSTER")) == identity(plan)
    assert json.loads(variables.pop("TALOS_CACHE_MIRRORS")) == {
        "docker.io": {
            "url": "http://172.17.0.1:5000/v2",
            "overridePath": True,
            "cache": "http://127.0.0.1:5000",
        },
        "quay.io": {"url": "http://172.17.0.1:5002", "cache": "http://127.0.0.1:5002"},
    }
    assert json.loads(variables.pop("TALOS_CACHE_OPTIONS")) == {
        "talosctlVersion": "auto",
        "wait": True,
        "mergeKubeconfig": False,
        "allowReboot": False,
    }
    assert variables == {
        "TALOS_CACHE_STACK": "dev",
        "TALOS_CACHE_SLUG": "cluster",
        "TALOS_CACHE_CREATE_TIMEOUT": "25m",
    }


def test_one_more_upstream_changes_the_mirrors_alone():
    upstreams = {"docker.io": {}, "quay.io": {}}
    before = cluster_plan({}, upstreams=upstreams)
    after = cluster_plan({}, upstreams={**upstreams, "ghcr.io": {}})
    assert changed(before, after) == {cluster_transport.MIRRORS_VARIABLE}
    assert identity(after) == identity(before)
    assert secret_input(after) == secret_input(before)


@pytest.mark.parametrize("path", VALID, ids=lambda path: path.stem)
def test_a_plan_of_a_stack_arrives_unchanged(path):
    for plan in planned(config_of(path)).clusters:
        unwarmed = replace(plan.settings, warm=False, warm_file="")
        assert arrived(plan) == replace(plan, settings=unwarmed, warm_list="")


any_patches = st.lists(st.builds(Patch, file=..., text=...), max_size=3).map(tuple)
any_settings = st.builds(
    ClusterSettings, patches=any_patches, warm=st.just(False), warm_file=st.just("")
)
any_mirror = st.builds(Mirror, skip_fallback=..., override_path=..., ca=..., login=...)
any_mirrors = st.lists(any_mirror, max_size=3, unique_by=lambda mirror: mirror.host)


@settings(max_examples=60, deadline=None)
@given(any_settings, any_mirrors, st.text())
def test_any_plan_arrives_unchanged(chosen, mirrored, state):
    plan = ClusterPlan(
        stack="dev",
        settings=chosen,
        mirrors=tuple(mirrored),
        sources=tuple((mirror.host, f"http://{mirror.host}") for mirror in mirrored),
        identity=state,
    )
    assert arrived(plan) == plan
    assert all(isinstance(value, str) for value in environment(plan).values())


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


def test_ca_and_login_are_only_in_the_secret_input():
    plan = cluster_plan({}, **SECRETS_OF_MIRRORS)
    there = arrived(plan)
    assert there == plan
    assert {mirror.login.password for mirror in there.mirrors} == {"hunter2"}
    assert {mirror.ca for mirror in there.mirrors} == {MADE.ca.strip()}
    shown = str(environment(plan))
    assert "hunter2" not in shown, "a preview shows the variables"
    assert "alice" not in shown, "the user name is as secret in the stack"
    assert "BEGIN" not in shown, "a digest tells as well that it changes"


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


def test_the_list_that_a_cluster_is_warmed_with_is_read_and_its_changes_are_seen():
    plan = cluster_plan({"warm": "@images.txt"})
    assert plan.warm_list == ANY_LIST
    one = cluster_transport.warm_environment(plan)
    assert cluster_transport.warm_environment(replace(plan, warm_list="ghcr.io/a:2")) != one
    fewer = cluster_plan({"warm": "@images.txt"}, upstreams={"ghcr.io": None})
    assert cluster_transport.warm_environment(fewer) != one, "another set of caches"
    assert json.loads(one[cluster_transport.CLUSTER_VARIABLE]) == {"name": "talos-default"}
