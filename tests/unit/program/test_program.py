"""The whole program, __main__.py, on every stack file that comes with the project."""

import json
import re
import socket
import subprocess

import pulumi
import pytest
import yaml

import stack_state
from host import entry_point
from host.passphrases import PUBLIC_STACKS
from host.paths import ROOT
from ops.docker.api import DockerUnavailableError
from tests.fakes.containers import container
from tests.unit.components.engine import (
    CACHE,
    CLUSTER,
    COMMAND,
    CONTAINER,
    GATEWAY,
    IMAGE,
    NETWORK,
    SET,
    VOLUME,
    ProviderError,
)
from tests.unit.plan.shapes import OF_CLUSTERS, OUTPUTS
from tests.unit.program.outside import CLUSTER_CONFIG, CREDENTIALS, run_with

# Stack -> the number of its upstreams. `example` is not a stack, but must be right too.
STACKS = {"docker": 6, "qemu": 6, "docker-cluster": 6, "qemu-cluster": 6, "demo": 3, "example": 6}


def test_the_table_of_stacks_has_every_committed_stack_file():
    listed = ["git", "-c", "safe.directory=*", "ls-files"]
    if not (ROOT / ".git").exists():  # an archive has what is committed, and nothing else
        listed = ["ls"]
    stacks = ROOT / "stacks"
    found = subprocess.run(listed, cwd=stacks, capture_output=True, text=True, check=True)
    files = {name for name in found.stdout.splitlines() if name.startswith("Pulumi.")}
    assert files == {f"Pulumi.{stack}.yaml" for stack in STACKS}
    assert set(STACKS) == {*PUBLIC_STACKS, "example"}


def committed(stack, **options):
    """The program on a stack file, whose configuration the engine hands over as text."""
    content = yaml.safe_load((ROOT / "stacks" / f"Pulumi.{stack}.yaml").read_text())
    return run_with(content["config"], stack=stack, **options)


@pytest.mark.parametrize("preview", [True, False], ids=["preview", "update"])
@pytest.mark.parametrize("stack", STACKS)
def test_a_committed_stack_comes_up_and_exports_what_others_rely_on(stack, preview, outside):
    record = committed(stack, preview=preview)
    count, has_cluster = STACKS[stack], stack.endswith("-cluster")
    kinds = {SET: 1, IMAGE: 1, CACHE: count, VOLUME: count, CONTAINER: count}
    kinds |= {COMMAND: has_cluster, CLUSTER: has_cluster}
    assert {typ: len(record.of(typ)) for typ in kinds} == kinds
    assert len(record.resources) == sum(kinds.values()), "and there is nothing else"
    assert record.warnings == [], "a stack that comes with the project warns of nothing"
    assert len(outside.probed) == (0 if preview else 1)
    exports = record.exports
    assert set(exports) == OUTPUTS | (OF_CLUSTERS if has_cluster else set())
    hosts = set(exports["caches"])
    assert len(hosts) == count
    assert set(exports["endpoints"]) == set(exports["localEndpoints"]) == hosts
    assert all(url.startswith(f"http://{GATEWAY}:") for url in exports["endpoints"].values())
    names = {resource.inputs["name"] for resource in record.of(CONTAINER)}
    assert {cache["container"] for cache in exports["caches"].values()} == names
    documents = list(yaml.safe_load_all(exports["machineConfigPatch"]))
    assert {document["name"] for document in documents} == hosts
    provisioner = "qemu" if stack == "qemu-cluster" else "docker"
    assert f"talosctl cluster create {provisioner} " in exports["talosctlCommand"]


def test_the_demo_does_not_clash_with_a_users_own_stack(outside):
    def held(record):
        for made in record.of(CONTAINER):
            yield made.inputs["name"]
            yield from (port["external"] for port in made.inputs["ports"])

    demo, user = (set(held(committed(stack))) for stack in ("demo", "docker"))
    assert not demo & user, "the demo would break the stack, or fail"


def test_labels_name_the_owner_and_a_change_of_them_replaces_nothing(outside):
    record = run_with(stack="alice")
    assert re.fullmatch("alice-[0-9a-f]{12}", outside.us.identity)
    assert outside.us.checkout == f"{socket.gethostname()}:{ROOT}"
    assert outside.us.stack == "alice"
    for made in record.of(CONTAINER):
        labels = {label["label"]: label["value"] for label in made.inputs["labels"]}
        assert labels == outside.us.labels
        assert made.ignore_changes == ["labels"]


def state_of(*, labels, number="c0ffee", name="registry-docker.io"):
    """The engine's description of a state with one container."""
    listed = [{"label": key, "value": value} for key, value in labels.items()]
    outputs = {"id": number, "name": name, "labels": listed}
    return {"urn": {"type": CONTAINER, "outputs": outputs}, "set": {"type": SET}}


BORN = {"talos-cache.project": "talos-cache", "talos-cache.stack": "born"}


def test_what_the_state_knows_is_the_stacks_own(outside):
    run_with(state=state_of(labels=BORN))
    assert outside.recorded.knows("c0ffee", "any", {})
    assert not outside.recorded.knows("another", "registry-docker.io", {})


@pytest.mark.parametrize(
    ("organization", "asked"),
    [(None, "mine"), ("organization", "mine"), ("acme", "acme/talos-cache/mine")],
)
def test_the_state_of_this_stack_is_read(outside, organization, asked):
    record = run_with(organization=organization)
    assert record.asked_for_state == [{"stackName": asked}]


TORN = ProviderError("failed to load checkpoint: EOF")


@pytest.mark.parametrize(
    ("error", "seconds"), [(ProviderError("no such bucket"), 10.0), (TORN, 0.0)]
)
def test_a_state_that_cant_be_read_is_an_error_and_nothing_is_registered(
    outside, monkeypatch, error, seconds
):
    monkeypatch.setattr(stack_state, "RETRY_FOR_SECONDS", seconds)
    with pytest.raises(pulumi.RunError, match=rf"this stack's own state: .*{error}") as caught:
        run_with(state=error)
    assert len(caught.value.record.asked_for_state) == 1
    assert outside.us is None


def test_a_state_that_is_being_written_is_read_again(outside):
    record = run_with(state=[TORN, TORN, state_of(labels=BORN)])
    assert outside.recorded.containers == {"c0ffee"}
    assert len(record.asked_for_state) == 3


def test_a_renamed_stack_keeps_its_identity(outside):
    """The old name is in the state, even if no identity was recorded."""
    run_with(stack="before")
    identity = outside.us.identity
    renamed = {**BORN, "talos-cache.stack": "before"}
    run_with(stack="after", state=state_of(labels=renamed))
    assert outside.us.identity == identity
    assert outside.us.stack == "after"
    recorded = {**BORN, "talos-cache.state": "elsewhere-0123456789ab"}
    run_with(stack="after", state=state_of(labels=recorded))
    assert outside.us.identity == "elsewhere-0123456789ab"


def test_ports_are_declared_in_the_order_in_which_docker_reports_them(outside):
    def addresses():
        [made] = run_with({"upstreams": {"docker.io": {}}}).of(CONTAINER)
        return [port["ip"] for port in made.inputs["ports"]]

    assert addresses() == ["127.0.0.1", GATEWAY], "before there is a container"
    reported = ((GATEWAY, 5000), ("127.0.0.1", 5000))
    outside.containers = (container("1", "registry-docker.io", {}, reported),)
    assert addresses() == [GATEWAY, "127.0.0.1"]


def test_a_port_that_moves_is_a_warning_in_a_preview_and_stops_an_update(outside):
    name = "registry-old.io"
    outside.containers = (container("1", name, {}, [(GATEWAY, 5000)]),)
    config = {"upstreams": {"docker.io": {}}}
    assert run_with(config, preview=True).warnings == [], "not this stack's: see preflight_errors"
    known = {"state": state_of(labels=BORN, number="1", name=name)}
    [warning] = run_with(config, preview=True, **known).warnings
    outside.probed.clear()
    assert "container registry-old.io" in warning
    with pytest.raises(pulumi.RunError) as caught:
        run_with(config, preview=False, **known)
    assert str(caught.value).splitlines() == ["Nothing was changed:", warning]
    assert outside.probed == []


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"basePort": 1, "colour": "red"}, "^2 mistakes"),
        ({"addressing": "qemu-bridge", "credentials": CREDENTIALS}, "exposeToLan"),
        ({"cluster": {"patches": ["@patches/none.yaml"]}}, r"@patches/none\.yaml.*No such file"),
        ({"talos_cache:prefix": "mine", "aws:region": "eu"}, "write talos-cache:prefix"),
        ({"Talos-Cache:prefix": "mine", "aws:region": "eu"}, "write talos-cache:prefix"),
        ({"cluster": ""}, "a key needs a value"),
    ],
    ids=["two", "exposed credentials", "no file", "namespace", "its case", "no value"],
)
def test_mistakes_are_printed_as_they_are_and_nothing_is_registered(outside, config, said):
    with pytest.raises(pulumi.RunError) as caught:
        run_with(config)
    text = str(caught.value)
    assert re.search(said, text, re.DOTALL)
    assert "hunter2" not in text
    assert caught.value.__suppress_context__, "a traceback does not help users"
    assert outside.us is None, "Docker is not even asked"


@pytest.mark.parametrize(
    ("content", "config_of", "said"),
    [
        ("docker.io/busybox\n", lambda file: {"cluster": {"warm": file}}, "line 1"),
        ("0\x82\x03", lambda file: {"upstreams": {"docker.io": {"ca": file}}}, "openssl x509"),
    ],
    ids=["an image without a tag", "no certificate"],
)
def test_so_are_mistakes_in_files_in_a_preview_too(outside, tmp_path, content, config_of, said):
    file = tmp_path / "named"
    file.write_text(content)
    with pytest.raises(pulumi.RunError, match=said):
        run_with(config_of(f"@{file}"), preview=True)
    assert outside.us is None, "Docker is not even asked"


def test_a_stack_of_the_project_refuses_credentials(outside):
    with pytest.raises(pulumi.RunError, match="make stack NAME=mine FROM=docker"):
        run_with({"credentials": CREDENTIALS}, stack="docker")


def test_what_is_in_the_way_stops_the_program_before_it_makes_anything(outside):
    outside.in_the_way = ["The container registry-docker.io already exists.", "Port 5001 is taken."]
    with pytest.raises(pulumi.RunError) as caught:
        run_with(preview=True)
    assert str(caught.value).splitlines() == ["Nothing was changed:", *outside.in_the_way]


def test_a_docker_that_does_not_respond_is_reported_without_a_traceback(outside):
    outside.in_the_way = DockerUnavailableError("Docker does not answer: gone. Start it")
    with pytest.raises(pulumi.RunError, match="Docker does not answer: gone") as caught:
        run_with()
    assert caught.value.__suppress_context__


def test_another_docker_for_the_provider_alone_is_refused(outside):
    with pytest.raises(pulumi.RunError, match="docker:host: only Pulumi's Docker provider"):
        run_with({"docker:host": "unix:///other.sock"}, preview=True)
    assert outside.us is None, "Docker is not even asked"


def test_a_provider_without_docker_is_reported_with_what_to_do(outside):
    with pytest.raises(pulumi.RunError, match="Start Docker"):
        run_with(bridge=ProviderError("Cannot connect to the Docker daemon"))


def test_a_failing_cache_fails_the_update_before_a_cluster_and_not_the_preview(outside):
    outside.report = "1 cache does not answer:\n  registry-docker.io"
    with pytest.raises(pulumi.RunError) as caught:
        run_with(CLUSTER_CONFIG)
    assert str(caught.value) == outside.report
    assert caught.value.record.of(CONTAINER)
    assert not caught.value.record.of(COMMAND)
    assert run_with(CLUSTER_CONFIG, preview=True).exports


def test_a_warning_about_an_exposed_stack(outside):
    record = run_with({"addressing": "qemu-bridge"})
    assert len(record.warnings) == 1
    assert "every address of this machine" in record.warnings[0]
    assert NETWORK not in [token for token, _ in record.calls], "Docker's bridge is not needed"


def test_a_preview_warns_of_a_patch_that_needs_a_reboot_of_live_nodes(outside):
    kind = "apiVersion: v1alpha1, kind: RegistryAuthConfig"
    auth = f"{{{kind}, name: registry.lan, password: hunter2}}"
    [warning] = run_with({"cluster": {"patches": [auth]}}, preview=True).warnings
    assert "reboot" in warning
    assert "hunter2" not in warning


def test_docker_bridge_reads_the_bridges_address_once(outside):
    assert [token for token, _ in run_with().calls] == [NETWORK]


def test_the_language_host_may_hand_the_configuration_over_in_the_environment(outside, monkeypatch):
    config = {"talos-cache:basePort": "7000", "other:basePort": "1"}
    monkeypatch.setenv("PULUMI_CONFIG", json.dumps(config))
    ports = {cache["port"] for cache in run_with().exports["caches"].values()}
    assert 7000 in ports, "the official language host does it so"
    assert run_with({"basePort": 8000}).exports["caches"]["docker.io"]["port"] == 8000


def test_the_files_of_a_cluster_are_private_to_its_stack(outside):
    mine, yours = (run_with(CLUSTER_CONFIG, stack=stack).exports for stack in ("mine", "yours"))
    assert mine["talosconfig"] != yours["talosconfig"]
    assert mine["talosconfig"] == mine["clusters"]["dev"]["talosconfig"]
    assert mine["clusters"]["dev"]["use"] == (
        f"export TALOSCONFIG={mine['talosconfig']} KUBECONFIG={mine['kubeconfig']}"
    )


def test_several_clusters_share_one_set_of_caches(outside):
    second = {"name": "two", "cidr": "10.10.0.0/24"}
    record = run_with({"cluster": [CLUSTER_CONFIG["cluster"], second]})
    assert {resource.name for resource in record.of(CLUSTER)} == {"cluster-dev", "cluster-two"}
    assert len(record.of(SET)) == 1
    assert set(record.exports["clusters"]) == {"dev", "two"}


def test_every_cluster_is_checked_for_what_is_in_its_way(outside):
    run_with(CLUSTER_CONFIG, stack="alice", preview=True)
    assert [(plan.stack, plan.name) for plan in outside.clusters] == [("alice", "dev")]


def test_a_bug_is_reported_in_a_line_with_the_path_of_its_traceback(outside, tmp_path, monkeypatch):
    monkeypatch.setattr(entry_point, "ERRORS", tmp_path / "errors")
    outside.in_the_way = KeyError("hunter2")
    with pytest.raises(pulumi.RunError, match="a bug in talos-cache") as caught:
        run_with()
    (kept,) = (tmp_path / "errors").iterdir()
    assert str(kept) in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert "KeyError: 'hunter2'" in kept.read_text()
    assert caught.value.__suppress_context__
