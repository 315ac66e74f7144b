"""The whole program, __main__.py, on every stack file that comes with the project."""

import json
import re
import runpy
import socket
import subprocess

import pulumi
import pytest
import yaml

import stack_state
from host import entry_point, passphrases
from host.passphrases import PUBLIC_SALTS, PUBLIC_STACKS
from host.paths import ROOT
from ops import ending
from ops.docker.api import Container, DockerUnavailableError
from ops.harbor import access, drift
from ops.registry import readiness
from ops.stack import preflight
from ops.stack.preflight import Host
from plan.harbor.transport import REPAIRS_VARIABLE
from plan.settings.credentials import SECRET_KEYS as SECRETS
from plan.upstreams import KNOWN
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
    Secret,
    run,
)

# Stack -> the number of its upstreams. `example` is not a stack, but must be right too.
STACKS = {"docker": 6, "qemu": 6, "docker-cluster": 6, "qemu-cluster": 6, "demo": 3, "example": 6}
OUTPUTS = {
    "caches",
    "endpoints",
    "localEndpoints",
    "machineConfigPatch",
    "legacyMachineConfigPatch",
    "talosctlCommand",
}
OF_CLUSTERS = {"clusters", "talosconfig", "kubeconfig"}


class Outside:
    """Fakes of what the program looks up itself; a test sets the results."""

    def __init__(self):
        self.in_the_way = []
        self.containers = ()
        self.report = None
        self.us = None
        self.recorded = None
        self.probed = []
        self.seen = drift.Look()
        self.looked = []
        self.access_report = None
        self.mirrors = []

    def look(self):
        return Host(containers=self.containers, is_local=True)

    def preflight_errors(self, host, plans, clusters, recorded, us):
        self.recorded, self.us = recorded, us
        self.clusters = clusters
        if isinstance(self.in_the_way, Exception):
            raise self.in_the_way
        return self.in_the_way

    def not_ready(self, plans, warn):
        self.probed.append([plan.host for plan in plans])
        return self.report

    def look_at_harbor(self, plan, recorded):
        self.looked.append((plan, recorded))
        return self.seen

    def may_pull(self, harbor, mirrors, warn):
        self.mirrors.append(mirrors)
        return self.access_report


@pytest.fixture
def outside(monkeypatch):
    there = Outside()
    monkeypatch.setattr(preflight, "look", there.look)
    monkeypatch.setattr(preflight, "preflight_errors", there.preflight_errors)
    monkeypatch.setattr(readiness, "not_ready", there.not_ready)
    monkeypatch.setattr(drift, "look", there.look_at_harbor)
    monkeypatch.setattr(access, "report", there.may_pull)
    return there


def program():
    """Run it. If it exits with a message for the user, that is raised as a `RunError`."""
    told = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ending.signal, "signal", lambda number, handler: None)  # pytest's own stay
        patch.setattr(pulumi.log, "error", told.append)
        try:
            runpy.run_path(str(ROOT / "__main__.py"), run_name="__main__")
        except SystemExit as end:
            (text,) = told
            raise {ending.TOLD: pulumi.RunError}[end.code](text) from None


def config_of(stack):
    """A stack file's configuration as the engine hands it over: everything as text."""
    content = yaml.safe_load((ROOT / "stacks" / f"Pulumi.{stack}.yaml").read_text())
    return engine_config(content["config"] or {})


def engine_config(config):
    return {
        key if ":" in key else f"talos-cache:{key}": value
        if isinstance(value, str)
        else json.dumps(value)
        for key, value in config.items()
    }


def run_with(config=None, **options):
    secret = {"secret_keys": ["talos-cache:credentials"]}
    return run(program, config=engine_config(config or {}), **{**secret, **options})


def test_the_table_of_stacks_has_every_committed_stack_file():
    listed = ["git", "-c", "safe.directory=*", "ls-files"]
    if not (ROOT / ".git").exists():  # an archive has what is committed, and nothing else
        listed = ["ls"]
    stacks = ROOT / "stacks"
    found = subprocess.run(listed, cwd=stacks, capture_output=True, text=True, check=True)
    files = {name for name in found.stdout.splitlines() if name.startswith("Pulumi.")}
    assert files == {f"Pulumi.{stack}.yaml" for stack in STACKS}
    assert set(STACKS) == {*PUBLIC_STACKS, "example"}


@pytest.mark.parametrize("preview", [True, False], ids=["preview", "update"])
@pytest.mark.parametrize("stack", STACKS)
def test_a_committed_stack_comes_up(stack, preview, outside):
    record = run(program, stack=stack, preview=preview, config=config_of(stack))
    count = STACKS[stack]
    kinds = {SET: 1, IMAGE: 1, CACHE: count, VOLUME: count, CONTAINER: count}
    assert {typ: len(record.of(typ)) for typ in kinds} == kinds
    clusters = 1 if stack.endswith("-cluster") else 0
    assert len(record.of(COMMAND)) == len(record.of(CLUSTER)) == clusters
    assert len(record.resources) == 2 + 3 * count + 2 * clusters, "and there is nothing else"
    assert record.warnings == [], "a stack that comes with the project warns of nothing"
    assert len(outside.probed) == (0 if preview else 1)


@pytest.mark.parametrize("preview", [True, False], ids=["preview", "update"])
@pytest.mark.parametrize("stack", STACKS)
def test_a_committed_stack_exports_what_others_rely_on(stack, preview, outside):
    record = run(program, stack=stack, preview=preview, config=config_of(stack))
    exports = record.exports
    assert set(exports) == OUTPUTS | (OF_CLUSTERS if stack.endswith("-cluster") else set())
    hosts = set(exports["caches"])
    assert len(hosts) == STACKS[stack]
    assert set(exports["endpoints"]) == set(exports["localEndpoints"]) == hosts
    assert all(url.startswith(f"http://{GATEWAY}:") for url in exports["endpoints"].values())
    names = {resource.inputs["name"] for resource in record.of(CONTAINER)}
    assert {cache["container"] for cache in exports["caches"].values()} == names
    documents = list(yaml.safe_load_all(exports["machineConfigPatch"]))
    assert {document["name"] for document in documents} == hosts
    provisioner = "qemu" if stack == "qemu-cluster" else "docker"
    assert f"talosctl cluster create {provisioner} " in exports["talosctlCommand"]


def test_the_demo_does_not_clash_with_a_users_own_stack(outside):
    demo = run(program, stack="demo", config=config_of("demo"))
    user = run(program, stack="docker", config=config_of("docker"))

    def held(record):
        for container in record.of(CONTAINER):
            yield container.inputs["name"]
            yield from (port["external"] for port in container.inputs["ports"])

    assert not set(held(demo)) & set(held(user)), "the demo would break the stack, or fail"


def test_labels_name_the_owner_and_a_change_of_them_replaces_nothing(outside):
    record = run_with(stack="alice")
    assert re.fullmatch("alice-[0-9a-f]{12}", outside.us.identity)
    assert outside.us.checkout == f"{socket.gethostname()}:{ROOT}"
    assert outside.us.stack == "alice"
    for container in record.of(CONTAINER):
        labels = {label["label"]: label["value"] for label in container.inputs["labels"]}
        assert labels == outside.us.labels
        assert container.ignore_changes == ["labels"]


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
    with pytest.raises(pulumi.RunError, match=rf"this stack's own state: .*{error}"):
        run_with(state=error)
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
        [container] = run_with({"upstreams": {"docker.io": {}}}).of(CONTAINER)
        return [port["ip"] for port in container.inputs["ports"]]

    assert addresses() == ["127.0.0.1", GATEWAY], "before there is a container"
    reported = ((GATEWAY, 5000), ("127.0.0.1", 5000))
    outside.containers = (running("registry-docker.io", reported),)
    assert addresses() == [GATEWAY, "127.0.0.1"]


def running(name, published):
    return Container(id="1", name=name, image="", status="Up", labels=(), published=published)


def test_a_port_that_moves_is_a_warning_in_a_preview_and_stops_an_update(outside):
    name = "registry-old.io"
    outside.containers = (running(name, ((GATEWAY, 5000),)),)
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


def test_mistakes_are_printed_as_they_are_and_nothing_is_registered(outside):
    with pytest.raises(pulumi.RunError) as caught:
        run_with({"basePort": 1, "colour": "red"})
    assert str(caught.value).startswith("2 mistakes")
    assert caught.value.__suppress_context__, "a traceback does not help users"
    assert outside.us is None, "Docker is not even asked"


def test_credentials_on_an_exposed_cache_are_a_mistake_like_others(outside):
    credentials = {"docker.io": {"username": "alice", "password": "hunter2"}}
    with pytest.raises(pulumi.RunError, match="exposeToLan") as caught:
        run_with({"addressing": "qemu-bridge", "credentials": credentials})
    assert "hunter2" not in str(caught.value)


def test_a_stack_of_the_project_refuses_credentials(outside):
    credentials = {"docker.io": {"username": "alice", "password": "hunter2"}}
    with pytest.raises(pulumi.RunError, match="make stack NAME=mine FROM=docker"):
        run_with({"credentials": credentials}, stack="docker")


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


def test_a_provider_without_docker_is_reported_with_what_to_do(outside):
    with pytest.raises(pulumi.RunError, match="Start Docker"):
        run_with(bridge=ProviderError("Cannot connect to the Docker daemon"))


def test_a_failing_cache_fails_the_update_and_not_the_preview(outside):
    outside.report = "1 cache does not answer:\n  registry-docker.io"
    with pytest.raises(pulumi.RunError) as caught:
        run_with()
    assert str(caught.value) == outside.report
    assert run_with(preview=True).exports


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


def test_a_renamed_stack_with_a_public_passphrase_refuses_secrets(outside, monkeypatch, tmp_path):
    """As after `pulumi stack rename docker mine`: the salt in its file is the one of docker."""
    credentials = {"docker.io": {"username": "user", "password": "hunter2"}}
    config = {"upstreams": {"docker.io": {}}, "credentials": credentials}
    monkeypatch.setattr(passphrases, "STACKS", tmp_path)
    assert run_with(config, stack="mine").resources
    (tmp_path / "Pulumi.mine.yaml").write_text(f"encryptionsalt: {min(PUBLIC_SALTS)}\n")
    with pytest.raises(pulumi.RunError, match="passphrase"):
        run_with(config, stack="mine")


def test_no_secret_is_exported(outside):
    credentials = {"docker.io": {"username": "alice", "password": "hunter2"}}
    record = run_with({"credentials": credentials})
    assert "hunter2" not in json.dumps(record.outputs, default=str)


CLUSTER_CONFIG = {"cluster": {"name": "dev", "workers": 2, "cidr": "10.9.0.0/24"}}


def test_no_cluster_is_made_behind_a_failing_cache(outside):
    outside.report = "1 cache does not answer:\n  registry-docker.io"
    with pytest.raises(pulumi.RunError) as caught:
        run_with(CLUSTER_CONFIG)
    assert caught.value.record.of(CONTAINER)
    assert not caught.value.record.of(COMMAND)


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


def test_patch_files_are_read_and_never_shown(outside, tmp_path):
    file = tmp_path / "patch.yaml"
    file.write_text("machine: {env: {TOKEN: hunter2}}\n")
    record = run_with({"cluster": {"patches": [f"@{file}"]}})
    inputs = record.one(COMMAND).inputs
    assert isinstance(inputs["stdin"], Secret)
    assert "hunter2" in inputs["stdin"].value
    assert "hunter2" not in json.dumps(inputs["environment"])
    assert "hunter2" not in json.dumps(record.outputs, default=str)


def test_a_mistake_in_a_clusters_warm_list_stops_a_preview(outside, tmp_path):
    file = tmp_path / "images.txt"
    file.write_text("docker.io/busybox\n")
    with pytest.raises(pulumi.RunError, match="line 1"):
        run_with({"cluster": {"warm": f"@{file}"}}, preview=True)
    assert outside.us is None, "Docker is not even asked"


def test_a_patch_file_that_is_not_there_is_a_mistake(outside):
    with pytest.raises(pulumi.RunError, match=r"@patches/none\.yaml") as caught:
        run_with({"cluster": {"patches": ["@patches/none.yaml"]}})
    assert "No such file" in str(caught.value)
    assert outside.us is None, "Docker is not even asked"


LOGIN = {"username": "nodes", "password": "hunter2"}
PATCHES = ("machineConfigPatch", "legacyMachineConfigPatch")
SECRET_KEYS = {"secret_keys": [f"talos-cache:{key}" for key in ("cacheLogin", "harborLogin")]}


@pytest.fixture
def state(tmp_path, monkeypatch):
    """The folder for private files of stacks."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    ("config", "has_login"),
    [
        ({}, False),
        ({"cacheLogin": LOGIN}, True),
        ({"cache": {"tls": True}}, False),
        ({"cache": {"tls": True}, "cacheLogin": LOGIN}, True),
        ({"backend": "harbor", "harbor": {"url": "https://harbor.example.com"}}, False),
        (
            {
                "backend": "harbor",
                "harbor": {"url": "https://harbor.example.com"},
                "harborLogin": LOGIN,
            },
            True,
        ),
    ],
    ids=["none", "login", "tls", "both", "harbor", "harbor with a login"],
)
def test_the_patches_are_secret_if_and_only_if_there_is_a_login(config, has_login, outside, state):
    exports = run_with(config, **SECRET_KEYS).exports
    hidden = {name for name, value in exports.items() if isinstance(value, Secret)}
    assert hidden == (set(PATCHES) if has_login else set()), (
        "people read their outputs, which must not show a password"
    )
    for name in hidden:
        assert "hunter2" in exports[name].value, "nodes need it"
    assert "hunter2" not in json.dumps({k: v for k, v in exports.items() if k not in hidden})


def test_a_warning_about_a_login_without_tls(outside, state):
    (warning,) = run_with({"cacheLogin": LOGIN}, **SECRET_KEYS).warnings
    assert "cache.tls: true" in warning
    assert run_with({"cacheLogin": LOGIN, "cache": {"tls": True}}, **SECRET_KEYS).warnings == []


def test_a_certificate_is_made_once_and_its_key_is_secret_and_never_exported(outside, state):
    first, second = (run_with({"cache": {"tls": True}}) for _ in range(2))
    inputs = [record.one(CONTAINER, "quay-io-container").inputs for record in (first, second)]
    assert inputs[0] == inputs[1], "another certificate at every run would replace every container"
    (key,) = (upload["content"] for upload in inputs[0]["uploads"] if "key" in upload["file"])
    assert isinstance(key, Secret)
    assert "PRIVATE KEY" in key.value
    assert "PRIVATE KEY" not in json.dumps(first.outputs, default=str)
    exports = first.exports
    for urls in (exports["endpoints"], exports["localEndpoints"]):
        assert all(url.startswith("https://") for url in urls.values())
    documents = list(yaml.safe_load_all(exports["machineConfigPatch"]))
    cas = {doc["ca"] for doc in documents if doc["kind"] == "RegistryTLSConfig"}
    assert len(cas) == 1
    assert "BEGIN CERTIFICATE" in cas.pop()


def test_two_stacks_have_two_cas(outside, state):
    mine, yours = (run_with({"cache": {"tls": True}}, stack=s).exports for s in ("mine", "yours"))
    assert mine["machineConfigPatch"] != yours["machineConfigPatch"], (
        "anyone with the key of one could impersonate the other"
    )


def test_a_file_without_a_certificate_is_a_mistake(outside, tmp_path):
    file = tmp_path / "ca.der"
    file.write_text("0\x82\x03")
    upstreams = {"docker.io": {"ca": f"@{file}"}}
    with pytest.raises(pulumi.RunError, match="openssl x509"):
        run_with({"upstreams": upstreams}, preview=True)
    assert outside.us is None, "Docker is not even asked"


def test_upstreams_behind_harbor_are_exported_with_their_projects(outside, state):
    harbor = {"url": "https://harbor.example.com"}
    config = {"harbor": harbor, "upstreams": {"docker.io": {"backend": "harbor"}, "quay.io": {}}}
    record = run_with(config)
    assert record.exports["harbor"] == {"docker.io": f"{harbor['url']}/v2/proxy-docker.io"}
    assert list(record.exports["caches"]) == ["quay.io"]
    documents = list(yaml.safe_load_all(record.exports["machineConfigPatch"]))
    assert [document["name"] for document in documents] == ["docker.io", "quay.io"]


WITH_ADMIN = {"backend": "harbor", "harbor": {"url": "https://harbor.lan"}, "harborAdmin": LOGIN}
OF_ADMIN = {"secret_keys": ["talos-cache:harborAdmin"]}


def projects_of(record):
    return record.one(COMMAND, "harbor-command").inputs["environment"]


@pytest.mark.parametrize("preview", [True, False], ids=["preview", "update"])
def test_harbor_is_looked_at_before_the_command_is_declared(preview, outside, state):
    first = projects_of(run_with(WITH_ADMIN, preview=preview, **OF_ADMIN))
    made = {"environment": first, "stdout": "{}"}
    kept = {"urn:harbor-command": {"type": COMMAND, "outputs": made}}
    outside.seen = drift.Look(repairs=1, warning="the project proxy-quay.io is not there")
    record = run_with(WITH_ADMIN, preview=preview, state=kept, **OF_ADMIN)
    assert record.warnings == ["the project proxy-quay.io is not there"]
    drifted = projects_of(record)
    assert {key for key in drifted if drifted[key] != first.get(key)} == {REPAIRS_VARIABLE}
    (_, unmade), (plan, recorded) = outside.looked
    assert unmade is None
    assert recorded.is_of(plan)


@pytest.mark.parametrize("config", [WITH_ADMIN, {**WITH_ADMIN, "harborAdmin": {}}])
def test_an_update_fails_if_nodes_may_not_pull_from_harbor(config, outside, state):
    outside.access_report = "Harbor does not know harborLogin: pulumi config set ..."
    run_with(config, preview=True, **OF_ADMIN)
    assert outside.mirrors == [], "a preview does not pull"
    with pytest.raises(pulumi.RunError, match="does not know harborLogin"):
        run_with(config, **OF_ADMIN)
    with pytest.raises(pulumi.RunError, match="does not know harborLogin"):
        run_with({**config, **CLUSTER_CONFIG}, **OF_ADMIN)
    outside.access_report = None
    record = run_with({**config, **CLUSTER_CONFIG}, **OF_ADMIN)
    assert len(record.of(CLUSTER)) == 1
    assert [mirror.host for mirror in outside.mirrors[-1]] == sorted(KNOWN)


def test_without_harbor_there_is_no_request_to_it(outside):
    run_with()
    assert (outside.looked, outside.mirrors) == ([], [])


@pytest.mark.parametrize(
    "secret",
    [*({key: LOGIN} for key in SECRETS), {"credentials": {"docker.io": LOGIN}}],
    ids=lambda secret: next(iter(secret)),
)
def test_what_is_not_stored_as_a_secret_is_refused(secret, outside):
    config = {"backend": "harbor", "harbor": {"url": "https://harbor.lan"}, **secret}
    with pytest.raises(pulumi.RunError, match="plain text") as caught:
        run_with(config, secret_keys=[])
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "left",
    [*({key: {}} for key in SECRETS), {"credentials": {"docker.io": {}}}],
    ids=str,
)
def test_what_is_left_of_removed_secrets_is_not_plain_text(left, outside, state):
    assert run_with(left, secret_keys=[], preview=True).of(CONTAINER)


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


@pytest.mark.parametrize("key", ["talos_cache:prefix", "Talos-Cache:prefix"])
def test_a_namespace_that_looks_like_ours_is_refused_under_plain_pulumi_too(outside, key):
    with pytest.raises(pulumi.RunError, match="write talos-cache:prefix"):
        run_with({key: "mine", "aws:region": "eu-central-1"})


def test_a_key_without_a_value_is_refused_under_plain_pulumi_too(outside):
    with pytest.raises(pulumi.RunError, match="a key needs a value"):
        run_with({"cluster": ""})
