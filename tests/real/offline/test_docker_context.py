"""A Docker that is chosen by an active `docker context`: every part goes there, or stops."""

import os
import subprocess

import pytest

from tests.real.caches.sweep import PREFIX
from tests.real.offline.second_docker import second_docker

STACK = "docker-context"
NAME = f"{PREFIX}-{STACK}"
BASE_PORT = 15850


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    if os.geteuid() != 0:
        pytest.skip("only root runs a Docker daemon")
    with second_docker(tmp_path_factory.mktemp("d"), network=89) as made:
        yield made


def use_context(env, name, host):
    """As a user does it, with the real `docker` command."""
    for line in (
        ["docker", "context", "create", name, "--docker", f"host={host}"],
        ["docker", "context", "use", name],
    ):
        subprocess.run(line, env=env, check=True, capture_output=True)


@pytest.fixture(scope="module")
def with_context(checkout, other, tmp_path_factory):
    env = {**checkout.env, "DOCKER_CONFIG": str(tmp_path_factory.mktemp("docker"))}
    for name in ("DOCKER_HOST", "DOCKER_CONTEXT"):
        env.pop(name, None)
    before, checkout.env = checkout.env, env
    use_context(env, "other", other.host)
    checkout.write_stack(
        STACK,
        prefix=NAME,
        basePort=BASE_PORT,
        upstreams={"docker.io": {"remoteUrl": "http://upstream.invalid"}},
        cache={"onDestroy": "delete"},
    )
    yield checkout
    checkout.make("down", STACK)
    checkout.env = before


def names(client):
    return {container.name for container in client.containers.list(all=True)}


def test_everything_goes_to_the_contexts_docker(with_context, other):
    said = with_context.make("up", STACK).stderr
    first = said.splitlines()[0]
    assert first.startswith(f"Docker: {other.host} (from the docker context 'other' in ")
    caches = {name for name in names(other.client()) if name.startswith(NAME)}
    assert f"{NAME}-docker.io" in caches
    assert not caches & names(with_context.client)
    by_cli = subprocess.run(
        ["docker", "ps", "--format", "{{.Names}}"],
        env=with_context.env,
        capture_output=True,
        text=True,
        check=True,
    )
    assert caches <= set(by_cli.stdout.split())
    looked = with_context.make("doctor", STACK, check=False)
    assert f"{NAME}-docker.io" not in looked.stdout.partition("problem")[2]
    with_context.pulumi("preview", "--expect-no-changes", stack=STACK)


def test_plain_pulumi_in_a_shell_that_was_not_set_up_says_what_is_wrong(with_context, other):
    ready = with_context.shell_env(STACK)
    assert ready["DOCKER_HOST"] == other.host
    argv = ["pulumi", "preview", "--stack", STACK, "--non-interactive"]
    without = {name: value for name, value in ready.items() if name != "DOCKER_HOST"}
    refused = with_context.run(*argv, env=without, check=False)
    assert refused.returncode != 0
    said = " ".join((refused.stdout + refused.stderr).split())
    assert f"Docker is at {other.host} (from the docker context 'other'" in said
    assert "would use unix:///var/run/docker.sock" in said
    assert "Traceback" not in said


def test_a_docker_that_only_the_provider_would_go_to_is_refused(with_context, other):
    with_context.pulumi("config", "set", "docker:host", other.host, stack=STACK)
    try:
        refused = with_context.make("preview", STACK, check=False)
    finally:
        with_context.pulumi("config", "rm", "docker:host", stack=STACK)
    assert refused.returncode != 0
    assert "docker:host: only Pulumi's Docker provider" in refused.stdout


def test_a_dead_context_is_told_before_anything_is_done(with_context, tmp_path):
    env = {**with_context.env, "DOCKER_CONFIG": str(tmp_path)}
    use_context(env, "dead", f"unix://{tmp_path}/none.sock")
    done = with_context.run("make", "up", f"STACK={STACK}", env=env, check=False)
    assert done.returncode != 0
    told = done.stderr.splitlines()
    assert told[0].startswith(
        f"Docker: unix://{tmp_path}/none.sock (from the docker context 'dead'"
    )
    assert told[1].startswith("set-up: Docker does not answer at")
    assert not (tmp_path / "none.sock").exists(), "no dockerd is started there"
