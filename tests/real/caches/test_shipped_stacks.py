"""The committed stacks, used as they are on a machine that reaches none of the six upstreams."""

import hashlib

import pytest

from ops.docker import api
from tests.checkout import remove_volume
from tests.real.caches.conftest import wait_until_healthy
from toolchain.versions import REGISTRY

HOSTS = ("docker.io", "registry.k8s.io", "quay.io", "gcr.io", "ghcr.io", "factory.talos.dev")


@pytest.fixture(scope="module")
def docker_stack(docker_stack_lock, checkout):
    made = checkout.volumes("registry-")
    checkout.make("up", "docker")
    yield checkout
    checkout.make("down", "docker")
    for name in checkout.volumes("registry-") - made:
        remove_volume(checkout.client, name)


def test_all_six_caches_are_healthy_without_any_upstream_also_after_a_restart(docker_stack):
    names = sorted(docker_stack.containers("docker"))
    assert names == sorted(f"registry-{host}" for host in HOSTS)
    wait_until_healthy(docker_stack, names)
    for name in names:
        docker_stack.client.containers.get(name).restart(timeout=1)
    wait_until_healthy(docker_stack, names)
    restarts = [docker_stack.client.containers.get(name).attrs["RestartCount"] for name in names]
    assert restarts == [0] * 6, "none of them crashed and was started again by Docker"


def test_the_registry_that_runs_is_of_the_version_that_is_pinned(docker_stack):
    for name in docker_stack.containers("docker"):
        printed = docker_stack.client.containers.get(name).exec_run(["registry", "--version"])
        words = printed.output.decode().split()
        assert words[-1].removeprefix("v") == REGISTRY, (name, words)


def test_the_caches_listen_on_loopback_and_on_dockers_bridge_only(docker_stack):
    bridge = api.bridge_gateway(docker_stack.client)
    for name in docker_stack.containers("docker"):
        ports = docker_stack.client.containers.get(name).attrs["NetworkSettings"]["Ports"]
        assert {binding["HostIp"] for binding in ports["5000/tcp"]} == {"127.0.0.1", bridge}


def test_make_outputs_shows_what_to_paste(docker_stack):
    shown = docker_stack.make("outputs", "docker").stdout
    assert "kind: RegistryMirrorConfig\nname: docker.io\n" in shown
    assert "--registry-mirror docker.io=http://" in shown
    assert "machine:\n  registries:\n    mirrors:\n" in shown


def test_working_with_the_committed_stacks_leaves_their_files_as_they_are(docker_stack):
    def digests():
        folder = docker_stack.path / "stacks"
        return {path.name: hashlib.sha256(path.read_bytes()).digest() for path in folder.iterdir()}

    before = digests()
    docker_stack.make("up", "docker")
    docker_stack.make("preview", "qemu", check=False)
    docker_stack.make("outputs", "docker")
    assert digests() == before


def test_every_run_says_which_engine_plugins_and_image_it_uses(docker_stack):
    said = docker_stack.make("preview", "docker").stderr
    line = next(line for line in said.splitlines() if line.startswith("using: "))
    for part in (
        "pulumi 3.",
        "plugins python:",
        "docker:",
        "command:",
        "Docker ",
        f"registry:{REGISTRY} (",
    ):
        assert part in line
