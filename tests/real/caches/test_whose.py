"""Whose it is: second checkouts, lost state, renamed stacks, and taking over on purpose."""

import shutil
from contextlib import contextmanager

import pytest

from tests.checkout import REGISTRY_IMAGE, checked_out
from tests.real.caches.conftest import PREFIX, embedded

STACK = "whose"
NAME = f"{PREFIX}-whose"
BASE_PORT = 15880
HOSTS = ("docker.io", "ghcr.io")
CONTAINERS = {f"{NAME}-{host}" for host in HOSTS}


def configure(checkout, upstream, stack=STACK, **more):
    upstreams = embedded(upstream, HOSTS)
    config = {"prefix": NAME, "basePort": BASE_PORT, "upstreams": upstreams, **more}
    checkout.write_stack(stack, **config)


@pytest.fixture(scope="module")
def other(tmp_path_factory, docker_client):
    """A second clone, with state of its own."""
    with checked_out(tmp_path_factory.mktemp("other"), docker_client) as made:
        yield made


@pytest.fixture
def up(checkout, embedded_upstream):
    """The stack is up; whatever a test leaves is removed."""
    configure(checkout, embedded_upstream)
    checkout.make("up", STACK)
    yield checkout
    configure(checkout, embedded_upstream)
    checkout.make("down", STACK)
    for name in checkout.containers(STACK):
        checkout.client.api.remove_container(name, force=True)


def said(done):
    return done.stdout + done.stderr


@contextmanager
def nothing_touched(checkout):
    """Containers, volumes: everything is as it was before."""
    before = checkout.containers(STACK), checkout.volumes(NAME)
    yield
    assert (checkout.containers(STACK), checkout.volumes(NAME)) == before


def test_another_clone_is_told_whose_they_are_before_anything_is_made(up, other, embedded_upstream):
    configure(other, embedded_upstream)
    with nothing_touched(up):
        for done in (
            other.make("up", STACK, check=False),
            other.make("preview", STACK, check=False),
            other.pulumi("up", "--yes", "--skip-preview", stack=STACK, check=False),
        ):
            assert done.returncode != 0
            told = done.stdout.split("Diagnostics:")[-1]  # what `make` adds is on standard error
            assert told.count(f"the stack '{STACK}' of the checkout {up.path}") == 1, "one message"
            assert f"make adopt STACK={STACK}" in told
            assert "docker rm" not in told
            assert "Traceback" not in told


def test_no_command_of_another_clone_takes_them_for_its_own(up, other, embedded_upstream):
    configure(other, embedded_upstream)
    with nothing_touched(up):
        for command, *arguments in (
            ("verify",),
            ("repair",),
            ("prune", "--to", "1GB", "--yes"),
            ("ledger",),
            ("status",),
            ("logs",),
            ("list",),
            ("purge", "docker.io/library/hello:1", "--yes"),
            ("export", "never.tar.zst"),
        ):
            done = other.ops(command, STACK, *arguments)
            assert done.returncode == 1
            assert f"the checkout {up.path}" in done.stderr
        doctor = other.ops("doctor", STACK)
        assert doctor.returncode == 1
        assert doctor.stdout.count(f"belongs to the stack '{STACK}' of the checkout") == len(HOSTS)
        assert "2 problems" in doctor.stdout
        assert other.make("outputs", STACK, check=False).returncode != 0
        down = other.make("down", STACK)
        assert f"not in the stack's state: {NAME}-docker.io" in down.stderr
        assert str(up.path) in down.stderr
    assert up.ops("doctor", STACK).returncode == 0, "and for its own state all is well"


def test_they_are_taken_over_only_on_purpose(up, other, embedded_upstream):
    configure(other, embedded_upstream)
    with nothing_touched(up):
        refused = other.make("adopt", STACK, check=False)
    assert refused.returncode != 0
    assert f"the stack '{STACK}', whose state is in {up.path}/.work/state/.pulumi" in refused.stderr
    volumes = up.volumes(NAME)
    taken = other.make("adopt", STACK, "ARGS=--yes")
    assert "2 taken over" in taken.stdout
    assert up.containers(STACK) == {}
    other.make("up", STACK)
    assert set(other.containers(STACK)) == CONTAINERS
    assert up.volumes(NAME) == volumes, "the data is where it was"
    told = up.make("up", STACK, check=False)
    assert told.returncode != 0
    assert f"the checkout {other.path}" in said(told), "now it is the first one's turn"
    other.make("down", STACK)


def test_a_container_that_no_stack_made_is_not_taken_over(up):
    up.make("down", STACK)
    name = f"{NAME}-docker.io"
    made = up.client.containers.run(REGISTRY_IMAGE, name=name, detach=True)
    try:
        done = up.make("adopt", STACK, check=False)
        assert done.returncode != 0
        assert f"{name}: not created by this project" in done.stderr
        assert up.client.containers.get(name).id == made.id
    finally:
        made.remove(force=True, v=True)


def test_a_stack_whose_state_was_lost_is_told_so_and_can_be_had_back(up):
    (up.path / ".work" / "state").rename(up.path / ".work" / "lost")
    try:
        with nothing_touched(up):
            done = up.make("up", STACK, check=False)
        assert done.returncode != 0
        told = said(done).split("Diagnostics:")[-1]
        assert "a killed run left it, or its state was lost" in told
        assert "2 taken over" in up.make("adopt", STACK).stdout
        up.make("up", STACK)
        assert up.changes(STACK) == set()
    finally:
        shutil.rmtree(up.path / ".work" / "lost")
    assert "there is nothing to take over" in up.make("adopt", STACK).stdout


def test_a_renamed_stack_goes_on_with_what_it_has_made(up):
    before = up.containers(STACK)
    up.pulumi("stack", "rename", "renamed", stack=STACK)
    try:
        preview = up.pulumi("preview", "--expect-no-changes", "--diff", stack="renamed")
        assert "unchanged" in preview.stdout
        up.make("up", "renamed")
        assert up.containers(STACK) == before, "the very same ones"
        assert up.ops("doctor", "renamed").returncode == 0
    finally:
        up.pulumi("stack", "rename", STACK, stack="renamed")
        up.stacks.discard("renamed")


@contextmanager
def as_it_was(checkout):
    """An older version of this project: two labels, and a fallback plugin without state ids."""
    lines = {
        "plan/ownership.py": "            IDENTITY_LABEL: self.identity,\n"
        "            CHECKOUT_LABEL: self.checkout,\n",
        "toolchain/fallback_plugins/docker/container.py": '"id": info["Id"], ',
    }
    texts = {checkout.path / name: (checkout.path / name).read_text() for name in lines}
    for (file, text), line in zip(texts.items(), lines.values(), strict=True):
        assert line in text
        file.write_text(text.replace(line, ""))
    yield
    for file, text in texts.items():
        file.write_text(text)


def test_a_container_made_before_there_were_identities_is_not_made_anew(up):
    up.make("down", STACK)
    with as_it_was(up):
        up.make("up", STACK)
    before = up.containers(STACK)
    name = f"{NAME}-docker.io"
    assert "talos-cache.state" not in up.client.containers.get(name).labels
    up.pulumi("preview", "--expect-no-changes", stack=STACK)
    up.make("up", STACK)
    assert up.containers(STACK) == before
    up.client.api.remove_container(name, force=True)
    up.make("up", STACK)
    labels = up.client.containers.get(name).labels
    assert labels["talos-cache.state"].startswith(f"{STACK}-"), "what is made from now on says it"
    up.pulumi("preview", "--expect-no-changes", stack=STACK)


def test_a_team_opens_one_stack_file_with_its_own_passphrase(checkout, other, embedded_upstream):
    configure(checkout, embedded_upstream, stack="team")
    team = {"PULUMI_CONFIG_PASSPHRASE": "what the team knows"}
    checkout.run("make", "preview", "STACK=team", env=checkout.env | team)
    shared = checkout.path / "stacks" / "Pulumi.team.yaml"
    assert "encryptionsalt" in shared.read_text()
    shutil.copy(shared, other.path / "stacks")
    other.run("make", "preview", "STACK=team", env=other.env | team)
    alone = other.run("make", "preview", "STACK=team", check=False)
    assert alone.returncode != 0
    assert "incorrect passphrase" in said(alone), "the engine's own words"
    [last] = [line for line in alone.stderr.splitlines() if "make: ***" not in line][-1:]
    assert last.startswith("preview: ")
    assert f"{other.path}/.work/private/passphrase" in last
    assert "stacks/Pulumi.team.yaml" in last
    for each in (checkout, other):  # nothing of it is up, and without the passphrase no `down` is
        (each.path / "stacks" / "Pulumi.team.yaml").unlink()
