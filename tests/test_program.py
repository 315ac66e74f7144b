"""The whole program, __main__.py, on every stack file that comes with the project."""

import json
import runpy
from pathlib import Path

import pulumi
import pytest
import yaml

import ops.preflight
import ops.readiness
from ops.docker_api import DockerUnavailableError
from tests.components.engine import (
    CACHE,
    CONTAINER,
    GATEWAY,
    IMAGE,
    NETWORK,
    SET,
    VOLUME,
    ProviderError,
    run,
)

ROOT = Path(__file__).parents[1]
# Stack -> the number of its upstreams. `example` is no stack, but it has to be right too.
STACKS = {"docker": 6, "qemu": 6, "demo": 3, "example": 6}
OUTPUTS = {
    "caches",
    "endpoints",
    "localEndpoints",
    "machineConfigPatch",
    "legacyMachineConfigPatch",
    "talosctlCommand",
}


class Outside:
    """What the program asks of Docker itself; a test sets the answers."""

    def __init__(self):
        self.in_the_way = []
        self.report = ""
        self.labels = None
        self.probed = []

    def conflicts(self, plans, labels):
        self.labels = labels
        if isinstance(self.in_the_way, Exception):
            raise self.in_the_way
        return self.in_the_way

    def unready(self, plans):
        self.probed.append([plan.host for plan in plans])
        return self.report


@pytest.fixture
def outside(monkeypatch):
    there = Outside()
    monkeypatch.setattr(ops.preflight, "conflicts", there.conflicts)
    monkeypatch.setattr(ops.readiness, "unready", there.unready)
    return there


def program():
    runpy.run_path(str(ROOT / "__main__.py"), run_name="__main__")


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


@pytest.mark.parametrize("preview", [True, False], ids=["preview", "update"])
@pytest.mark.parametrize("stack", STACKS)
def test_a_committed_stack_comes_up(stack, preview, outside):
    record = run(program, stack=stack, preview=preview, config=config_of(stack))
    count = STACKS[stack]
    kinds = {SET: 1, IMAGE: 1, CACHE: count, VOLUME: count, CONTAINER: count}
    assert {typ: len(record.of(typ)) for typ in kinds} == kinds
    assert len(record.resources) == 2 + 3 * count, "and there is nothing else"
    assert record.warnings == [], "a stack that comes with the project warns of nothing"
    assert len(outside.probed) == (0 if preview else 1)


@pytest.mark.parametrize("preview", [True, False], ids=["preview", "update"])
@pytest.mark.parametrize("stack", STACKS)
def test_a_committed_stack_exports_what_others_rely_on(stack, preview, outside):
    record = run(program, stack=stack, preview=preview, config=config_of(stack))
    exports = record.exports
    assert set(exports) == OUTPUTS
    hosts = set(exports["caches"])
    assert len(hosts) == STACKS[stack]
    assert set(exports["endpoints"]) == set(exports["localEndpoints"]) == hosts
    assert all(url.startswith(f"http://{GATEWAY}:") for url in exports["endpoints"].values())
    names = {resource.inputs["name"] for resource in record.of(CONTAINER)}
    assert {cache["container"] for cache in exports["caches"].values()} == names
    documents = list(yaml.safe_load_all(exports["machineConfigPatch"]))
    assert {document["name"] for document in documents} == hosts
    provisioner = "qemu" if stack == "qemu" else "docker"
    assert f"talosctl cluster create {provisioner} " in exports["talosctlCommand"]


def test_the_table_of_stacks_here_is_complete():
    committed = {"docker", "qemu", "demo", "example"}
    assert committed == set(STACKS)
    assert all((ROOT / "stacks" / f"Pulumi.{stack}.yaml").exists() for stack in committed)


def test_the_demo_stands_beside_the_stack_that_a_user_may_have(outside):
    demo = run(program, stack="demo", config=config_of("demo"))
    user = run(program, stack="docker", config=config_of("docker"))

    def held(record):
        for container in record.of(CONTAINER):
            yield container.inputs["name"]
            yield from (port["external"] for port in container.inputs["ports"])

    assert not set(held(demo)) & set(held(user)), "the demo would be in the way, or fail"


def test_containers_carry_project_and_stack(outside):
    record = run_with(stack="alice")
    labels = {"talos-cache.project": "talos-cache", "talos-cache.stack": "alice"}
    assert outside.labels == labels, "by these its own containers are known before"
    for container in record.of(CONTAINER):
        told = {label["label"]: label["value"] for label in container.inputs["labels"]}
        assert told == labels, "and after"


def test_mistakes_are_told_as_they_are_and_nothing_is_registered(outside):
    with pytest.raises(pulumi.RunError) as caught:
        run_with({"basePort": 1, "colour": "red"})
    assert str(caught.value).startswith("2 mistakes in the stack's configuration; nothing was")
    assert caught.value.__suppress_context__, "a traceback says nothing to a user"
    assert outside.labels is None, "Docker is not even asked"


def test_credentials_on_an_exposed_cache_are_a_mistake_like_others(outside):
    credentials = {"docker.io": {"username": "alice", "password": "hunter2"}}
    with pytest.raises(pulumi.RunError, match="exposeToLan") as caught:
        run_with({"addressing": "qemu-bridge", "credentials": credentials})
    assert "hunter2" not in str(caught.value)


def test_credentials_that_are_not_stored_as_a_secret_are_refused(outside):
    credentials = {"docker.io": {"username": "alice", "password": "hunter2"}}
    with pytest.raises(pulumi.RunError, match="never stored as plain text") as caught:
        run_with({"credentials": credentials}, secret_keys=[])
    assert "hunter2" not in str(caught.value)


def test_a_stack_of_the_project_refuses_credentials(outside):
    credentials = {"docker.io": {"username": "alice", "password": "hunter2"}}
    with pytest.raises(pulumi.RunError, match="make stack NAME=mine FROM=docker"):
        run_with({"credentials": credentials}, stack="docker")


def test_what_is_in_the_way_is_told_before_anything_is_made(outside):
    outside.in_the_way = ["There is a container registry-docker.io already.", "Port 5001 is taken."]
    with pytest.raises(pulumi.RunError) as caught:
        run_with(preview=True)
    assert str(caught.value).splitlines() == ["Nothing was changed:", *outside.in_the_way]


def test_a_docker_that_does_not_answer_is_told_without_a_traceback(outside):
    outside.in_the_way = DockerUnavailableError("Docker does not answer: gone. Start it")
    with pytest.raises(pulumi.RunError, match="Docker does not answer: gone") as caught:
        run_with()
    assert caught.value.__suppress_context__


def test_a_provider_without_a_docker_says_what_to_do(outside):
    with pytest.raises(pulumi.RunError, match="Start Docker"):
        run_with(bridge=ProviderError("Cannot connect to the Docker daemon"))


def test_a_sick_cache_fails_the_update_and_not_the_preview(outside):
    outside.report = "1 cache does not answer:\n  registry-docker.io"
    with pytest.raises(pulumi.RunError) as caught:
        run_with()
    assert str(caught.value) == outside.report
    assert run_with(preview=True).exports


def test_an_exposed_stack_is_warned_of(outside):
    record = run_with({"addressing": "qemu-bridge"})
    assert len(record.warnings) == 1
    assert "every address of this machine" in record.warnings[0]
    assert NETWORK not in [token for token, _ in record.calls], "Docker's bridge is not needed"


def test_docker_bridge_asks_docker_for_its_bridge_once(outside):
    assert [token for token, _ in run_with().calls] == [NETWORK]


def test_the_language_host_may_hand_the_configuration_over_in_the_environment(outside, monkeypatch):
    config = {"talos-cache:basePort": "7000", "other:basePort": "1"}
    monkeypatch.setenv("PULUMI_CONFIG", json.dumps(config))
    ports = {cache["port"] for cache in run_with().exports["caches"].values()}
    assert 7000 in ports, "the official language host does it so"
    assert run_with({"basePort": 8000}).exports["caches"]["docker.io"]["port"] == 8000


def test_no_secret_is_exported(outside):
    credentials = {"docker.io": {"username": "alice", "password": "hunter2"}}
    record = run_with({"credentials": credentials})
    assert "hunter2" not in json.dumps(record.outputs, default=str)
