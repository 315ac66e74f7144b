"""Who owns a cache: what a state knows, and the messages that users read."""

import pytest

from plan import ownership
from plan.ownership import (
    COMMAND_TYPE,
    CONTAINER_TYPE,
    VOLUME_TYPE,
    Owner,
    Taken,
    recorded,
    refusals,
)

US = Owner(stack="docker", identity="docker-0123456789ab", checkout="host:/home/me/cache")


def container(number, name, labels):
    listed = [{"label": key, "value": value} for key, value in labels.items()]
    outputs = {"name": name, "labels": listed}
    return (CONTAINER_TYPE, outputs | {"id": number} if number else outputs)


def command(**variables):
    return (COMMAND_TYPE, {"environment": variables})


OLD = {"talos-cache.project": "talos-cache", "talos-cache.stack": "docker"}


def test_a_state_knows_its_containers_by_their_ids():
    state = recorded([container("c0ffee", "registry-docker.io", OLD), ("other:index:Type", {})])
    assert state.knows("c0ffee", "another name", {})
    assert not state.knows("beef", "registry-docker.io", {})
    assert (state.identity, state.born) == ("", "docker")


def test_a_state_has_the_logical_names_of_its_containers():
    kind, outputs = container("c0ffee", "registry-docker.io", OLD)
    urn = (
        "urn:pulumi:docker::talos-cache::a$b$docker:index/container:Container::docker-io-container"
    )
    assert recorded([(kind, {**outputs, "urn": urn})]).logical == {"c0ffee": "docker-io-container"}


def test_a_container_whose_id_the_state_does_not_have_is_known_by_its_name():
    state = recorded([container("", "registry-docker.io", OLD)])
    assert state.knows("any", "registry-docker.io", OLD)
    assert not state.knows("any", "registry-quay.io", OLD)
    assert not state.knows("any", "registry-docker.io", US.labels), (
        "created later, by another stack"
    )


@pytest.mark.parametrize(
    ("resources", "identity", "born"),
    [
        ([], "", ""),
        ([container("1", "a", {})], "", ""),
        ([container("1", "a", OLD), container("2", "b", US.labels)], US.identity, "docker"),
        ([command(TALOS_CACHE_STACK="old")], "", "old"),
        ([command(TALOS_CACHE_STACK="old", TALOS_CACHE_IDENTITY="x-0")], "x-0", "old"),
        ([command(TALOS_CACHE_STACK="old", TALOS_CACHE_OWNER="ab12")], "old-ab12", "old"),
        ([command(TALOS_CACHE_WARM="{}"), (COMMAND_TYPE, {})], "", ""),
    ],
)
def test_a_states_identity_is_in_what_it_has_created(resources, identity, born):
    state = recorded(resources)
    assert (state.identity, state.born) == (identity, born)


def test_a_state_knows_the_clusters_that_it_has_created():
    made = command(TALOS_CACHE_STACK="mine", TALOS_CACHE_CLUSTER='{"name": "dev"}')
    warm = command(TALOS_CACHE_CLUSTER='{"name": "warmed"}')
    assert recorded([made, warm]).clusters == {"dev"}


def test_a_state_knows_the_volumes_that_it_has_created():
    resources = [(VOLUME_TYPE, {"name": "registry-quay.io"}), container("1", "registry-gcr.io", {})]
    assert recorded(resources).volumes == {"registry-quay.io"}


def test_labels_are_read_back_as_they_were_written():
    assert ownership.owner(US.labels) == US
    assert ownership.owner(OLD) == Owner(stack="docker")
    assert ownership.owner({"talos-cache.stack": "docker"}) is None
    assert ownership.owner({"talos-cache.project": "talos-cache"}) is None, "a tool's own"


def test_an_identity_is_a_name_and_digits():
    assert ownership.parts("my-stack-0123456789ab") == ("my-stack", "0123456789ab")


def told(other, *names, by_name=True):
    taken = [Taken(name=name, owner=other, by_name=by_name) for name in names or ("registry-a",)]
    [text] = refusals(taken, US)
    return text


def test_one_owner_has_one_message_with_all_options():
    elsewhere = Owner(stack="docker", identity="docker-ff", checkout="host:/home/you/cache")
    text = told(elsewhere, *(f"registry-{letter}" for letter in "hgfedcba"))
    names, owner, there, adopt, elsewhere = text.splitlines()
    assert names.startswith("registry-a, registry-b, ")
    assert "registry-f and 2 more have names" in names
    assert owner.startswith("They belong to the stack 'docker' of the checkout /home/you/cache")
    assert "the state" in there
    assert "make adopt STACK=docker" in adopt
    assert "talos-cache:prefix" in elsewhere


def test_ports_alone_cant_be_taken_over():
    text = told(Owner(stack="alice", checkout=US.checkout), "alice-a", by_name=False)
    ports, owner, down, elsewhere = text.splitlines()
    assert ports.startswith("alice-a has ports")
    assert owner.startswith("It belongs to the stack 'alice' of this checkout")
    assert "make down STACK=alice" in down
    assert "talos-cache:basePort" in elsewhere


@pytest.mark.parametrize(
    ("other", "whose", "way"),
    [
        (US, "this stack itself (docker-0123456789ab)", "make up STACK=docker"),
        (
            Owner(stack="docker", identity="docker-ff", checkout=US.checkout),
            "the stack 'docker' of this checkout, with its state in another place",
            "continue there",
        ),
        (
            Owner(stack="docker", identity="docker-ff", checkout="other:/home/me/cache"),
            "the stack 'docker' of the checkout /home/me/cache on other",
            "continue there",
        ),
        (Owner(stack="docker"), "a stack 'docker' with another state", "continue there"),
        (Owner(stack="bob"), "the stack 'bob' of this project", "make down STACK=bob"),
    ],
)
def test_the_owner_is_described_as_far_as_it_is_known(other, whose, way):
    text = told(other)
    assert f"It belongs to {whose}" in text
    assert way in text.splitlines()[2]


def test_every_owner_has_one_message():
    taken = [
        Taken(name=name, owner=Owner(stack=name), by_name=True) for name in ("alice", "bob", "bob")
    ]
    assert len(refusals(taken, US)) == 2
    assert refusals([], US) == []
