"""Sick caches, killed runs, taken names and ports, wrong stack files: what a user is told."""

import io
import os
import shlex
import signal
import socket
import subprocess
import tarfile
import time

import pytest
import yaml

from demo.client import pull
from tests.checkout import REGISTRY_IMAGE, ops_line
from tests.real.caches.conftest import IMAGES, PREFIX, embedded

STACK = "trouble"
NAME = f"{PREFIX}-trouble"
BASE_PORT = 15130
HOSTS = ("docker.io", "registry.k8s.io", "ghcr.io")

KILL_SECONDS = 60


@pytest.fixture
def stack(checkout, embedded_upstream):
    """The stack's file with three upstreams; nothing of it is up afterwards."""
    configure(checkout, embedded(embedded_upstream, HOSTS))
    yield checkout
    configure(checkout, embedded(embedded_upstream, HOSTS))
    if checkout.containers(STACK):
        checkout.make("down", STACK)
    assert checkout.containers(STACK) == {}


def configure(checkout, upstreams, **more):
    config = {"prefix": NAME, "basePort": BASE_PORT, "upstreams": upstreams, **more}
    checkout.write_stack(STACK, **config)


def foreign_container(checkout, name, port, image):
    """A container that no stack made, as a user would start it."""
    return checkout.client.containers.run(
        image, name=name, detach=True, ports={"5000/tcp": [("127.0.0.1", port)]}
    )


def refusals(checkout):
    """What is said by `make up` and by plain `pulumi up`, which both fail and create nothing."""
    for run in (
        lambda: checkout.make("up", STACK, check=False),
        lambda: checkout.pulumi("up", "--yes", "--skip-preview", stack=STACK, check=False),
    ):
        done = run()
        assert done.returncode != 0
        assert checkout.containers(STACK) == {}, "nothing was created"
        yield done.stdout + done.stderr


BROKEN_IMAGE = f"{PREFIX}-broken:1"


def broken_registry_image(client, changes=None, program=None):
    """A registry image with changes as of a Dockerfile, or with another program as the server."""
    container = client.containers.create(REGISTRY_IMAGE)
    if program:
        container.put_archive("/bin", tar_of("registry", program))
    repository, tag = BROKEN_IMAGE.split(":")
    container.commit(repository=repository, tag=tag, changes=changes)
    container.remove(v=True)
    return BROKEN_IMAGE


def tar_of(name, script):
    """A tar archive with one program."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        member = tarfile.TarInfo(name)
        member.size, member.mode = len(script), 0o755
        archive.addfile(member, io.BytesIO(script.encode()))
    return packed.getvalue()


LAST_WORDS = "cannot open the storage: something is wrong"


@pytest.fixture(params=["exec busybox sleep 600", "exit 3"], ids=["it stays silent", "it exits"])
def broken_image(docker_client, request):
    """A registry image whose server writes a line and then never answers, or is gone at once."""
    program = f"#!/bin/sh\necho {LAST_WORDS}; {request.param}\n"
    yield broken_registry_image(docker_client, program=program)
    docker_client.images.remove(BROKEN_IMAGE, force=True)


@pytest.fixture
def image_without_user(docker_client):
    """A registry image that Docker makes a container of, but can't start."""
    yield broken_registry_image(docker_client, changes="USER nobody-there")
    docker_client.images.remove(BROKEN_IMAGE, force=True)


def test_a_cache_that_does_not_answer_fails_the_up_with_its_name_and_log_until_it_is_mended(
    stack, embedded_upstream, broken_image
):
    upstreams = embedded(embedded_upstream, ("docker.io",))
    configure(stack, upstreams, cache={"image": broken_image, "waitSeconds": 2})
    for attempt in ("first", "second"):
        done = stack.make("up", STACK, check=False)
        said = done.stdout + done.stderr
        assert done.returncode != 0, f"the {attempt} up has to fail"
        assert f"{NAME}-docker.io (docker.io)" in said
        assert LAST_WORDS in said, "the end of its log"
        assert "Traceback" not in said
        last = done.stderr.split("up failed:")[-1]
        assert "1 cache does not answer:" in last, "told again where the user looks"
    configure(stack, upstreams)
    stack.make("up", STACK)
    assert stack.changes(STACK) == set()


def test_a_failed_resource_ends_in_what_failed_and_what_to_do(stack, embedded_upstream):
    nowhere = f"127.0.0.1:1/{PREFIX}-none:1"
    configure(stack, embedded(embedded_upstream, HOSTS), cache={"image": nowhere})
    for run in (
        lambda: stack.make("up", STACK, check=False),
        lambda: stack.pulumi("up", "--yes", "--skip-preview", stack=STACK, check=False),
    ):
        done = run()
        said = done.stdout + done.stderr
        assert done.returncode != 0
        assert nowhere in said
        assert "Traceback" not in said, "the program is interrupted, which is no news"
        assert "KeyboardInterrupt" not in said
    # Without the words of make itself.
    failed = stack.ops("up", STACK, env=stack.shell_env(STACK))
    *_, heading, error, remedy = failed.stderr.splitlines()
    assert heading == "up failed:"
    assert error.startswith("  caches-image: ")
    assert nowhere in error
    assert remedy.endswith(f"make up STACK={STACK}")


def test_the_last_lines_are_the_same_on_a_terminal(stack, embedded_upstream):
    """Where the engine writes to one it marks colours, in its events too."""
    nowhere = f"127.0.0.1:1/{PREFIX}-none:1"
    configure(stack, embedded(embedded_upstream, HOSTS), cache={"image": nowhere})
    env = {**stack.shell_env(STACK), "TERM": "xterm"}
    line = shlex.join(ops_line("up", STACK))
    terminal = ("script", "--quiet", "--return", "--command", line, "/dev/null")
    *_, heading, error, remedy = stack.run(*terminal, env=env, check=False).stdout.splitlines()
    assert heading == "up failed:"
    assert error.startswith("  caches-image: ")
    assert nowhere in error
    assert "<{%" not in error
    assert remedy.endswith(f"make up STACK={STACK}")


def test_a_cache_that_can_not_start_fails_the_up_and_a_later_one_heals_it(
    stack, embedded_upstream, image_without_user
):
    """It stays in Docker and in the state, half made: never taken for somebody else's."""
    upstreams = embedded(embedded_upstream, ("docker.io",))
    configure(stack, upstreams, cache={"image": image_without_user})
    for attempt in ("first", "second"):
        done = stack.make("up", STACK, check=False)
        said = done.stdout + done.stderr
        assert done.returncode != 0, f"the {attempt} up has to fail"
        assert f"{NAME}-docker.io" in said
        assert "user nobody-there" in said
        assert "already exists" not in said
        assert "Traceback" not in said
        assert len(stack.containers(STACK)) == 1
    configure(stack, upstreams)
    stack.make("up", STACK)
    assert set(stack.containers(STACK)) == {f"{NAME}-docker.io"}
    assert stack.changes(STACK) == set()


@pytest.mark.parametrize("made", [0, 1, 2])
def test_after_a_kill_half_way_make_up_converges_and_nothing_is_orphaned(stack, made):
    env = stack.shell_env(STACK)
    stack.pulumi("stack", "select", "--create", stack=STACK)
    killed = subprocess.Popen(
        ["pulumi", "up", "--yes", "--skip-preview", "--non-interactive", "--stack", STACK],
        cwd=stack.path,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    # Not after so many seconds: a quick machine would be ready by then.
    deadline = time.monotonic() + KILL_SECONDS
    time.sleep(0.5)
    while len(stack.containers(STACK)) < made:
        assert time.monotonic() < deadline, "it makes no containers"
        time.sleep(0.01)
    assert killed.poll() is None, "the run has to be under way when it is killed"
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    stack.make("up", STACK)
    assert set(stack.containers(STACK)) == {f"{NAME}-{host}" for host in HOSTS}
    assert stack.changes(STACK) == set()
    state = yaml.safe_load(stack.pulumi("stack", "export", stack=STACK).stdout)["deployment"]
    assert not state.get("pending_operations"), "nothing is left for later runs to warn of"


def test_state_that_a_kill_left_with_empty_attributes_is_read_again(stack):
    stack.pulumi("stack", "select", "--create", stack=STACK)
    (attributes,) = (stack.path / ".work/state").rglob(f"{STACK}.json.attrs")
    os.truncate(attributes, 0)
    refused = stack.pulumi("stack", "export", stack=STACK, check=False)
    assert "failed to load checkpoint: EOF" in refused.stderr, "the engine by itself"
    stack.make("preview", STACK)


def test_the_guides_own_container_is_named_and_explained_before_anything_is_created(stack):
    guide = foreign_container(stack, f"{NAME}-docker.io", BASE_PORT, REGISTRY_IMAGE)
    try:
        for said in refusals(stack):
            assert f"The container {NAME}-docker.io already exists" in said
            assert f"docker rm -f {NAME}-docker.io" in said
            assert "Traceback" not in said
    finally:
        guide.remove(force=True, v=True)


def test_a_port_taken_by_another_container_is_named_with_its_owner(stack):
    other = foreign_container(stack, f"{PREFIX}-somebody", BASE_PORT + 1, REGISTRY_IMAGE)
    try:
        for said in refusals(stack):
            assert f"Port {BASE_PORT + 1} of 127.0.0.1, for the cache of registry.k8s.io" in said
            assert f"{PREFIX}-somebody" in said
    finally:
        other.remove(force=True, v=True)


def test_a_port_taken_by_a_program_outside_docker_is_reported(stack):
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", BASE_PORT))
        taken.listen()
        done = stack.make("up", STACK, check=False)
    said = done.stdout + done.stderr
    assert done.returncode != 0
    assert f"Port {BASE_PORT} of 127.0.0.1" in said
    assert "a program outside Docker" in said
    assert stack.containers(STACK) == {}


def test_mistakes_in_the_stack_file_are_all_told_and_nothing_is_created(stack):
    wrong = {"docker.io": {"port": 80}, "quay.io": {"remoteURL": "https://quay.io"}}
    configure(stack, wrong, cache={"ttl": "7 days"})
    for run in (
        lambda: stack.make("up", STACK, check=False),
        lambda: stack.make("preview", STACK, check=False),
        lambda: stack.pulumi("up", "--yes", "--skip-preview", stack=STACK, check=False),
    ):
        done = run()
        said = done.stdout + done.stderr
        assert done.returncode != 0
        for path in ("upstreams.docker.io.port", "upstreams.quay.io.remoteURL", "cache.ttl"):
            assert f"talos-cache:{path}" in said
        assert "did you mean remoteUrl?" in said
        assert "Traceback" not in said
        # The engine shows every message as it comes, and again under this heading.
        summary = said.split("Diagnostics:")[-1]
        assert summary.count("3 mistakes in the stack's configuration") == 1, "told once"
    assert stack.containers(STACK) == {}


def test_a_key_that_stands_twice_and_a_file_that_is_no_yaml_are_refused(stack):
    path = stack.path / "stacks" / "Pulumi.broken.yaml"
    for text, reason in (
        ("config:\n  talos-cache:prefix: a\n  talos-cache:prefix: b\n", "appears twice (line 3)"),
        ("config: [\n", "not readable as YAML"),
        ("config: 3\n", "must be a mapping"),
    ):
        path.write_text(text)
        done = stack.run("make", "up", "STACK=broken", check=False)
        assert done.returncode != 0
        assert reason in done.stderr
        assert "Traceback" not in done.stderr
    path.unlink()


def test_two_stacks_side_by_side_do_not_touch_each_other(stack, embedded_upstream):
    stack.make("up", STACK)
    first = stack.containers(STACK)
    stack.write_stack(
        "neighbour",
        prefix=f"{PREFIX}-neighbour",
        basePort=BASE_PORT + 10,
        upstreams=embedded(embedded_upstream, HOSTS),
        cache={"onDestroy": "delete"},
    )
    stack.make("up", "neighbour")
    assert len(stack.containers("neighbour")) == 3
    pull(f"http://127.0.0.1:{BASE_PORT + 10}", IMAGES[0], by_digest=False)
    stack.make("down", "neighbour")
    assert stack.containers("neighbour") == {}
    assert stack.containers(STACK) == first
    pull(f"http://127.0.0.1:{BASE_PORT}", IMAGES[0], by_digest=False)


def test_a_second_stack_with_the_same_names_is_told_whose_they_are(stack, embedded_upstream):
    stack.make("up", STACK)
    upstreams = embedded(embedded_upstream, HOSTS)
    stack.write_stack("twin", prefix=NAME, basePort=BASE_PORT, upstreams=upstreams)
    done = stack.make("up", "twin", check=False)
    assert done.returncode != 0
    told = done.stdout + done.stderr
    assert f"They belong to the stack '{STACK}' of this checkout" in told
    assert f"make down STACK={STACK}" in told
