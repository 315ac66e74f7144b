"""What is in a state, read from where it is kept; and what is reported of others' containers."""

import argparse
import gzip
import json
import shutil
import socket

import pytest
import zstandard

from ops import whose
from ops.cluster import folder, preflight
from ops.cluster.docker_provisioner import DockerProvisioner
from ops.cluster.record import ClusterRecord
from ops.commands import adopt
from ops.docker import api
from ops.engine import cli
from ops.errors import OpsError
from ops.stack import preflight as ops_preflight
from ops.stack import stack_files
from plan.caches import addressing, cache_plan
from plan.ownership import COMMAND_TYPE, CONTAINER_TYPE, Owner, Recorded
from plan.settings.stack import parse
from plan.talos import cluster
from tests.fakes.containers import container
from tests.fakes.web_server import free_port

NAME = "registry-docker.io"
OLD = {"talos-cache.project": "talos-cache", "talos-cache.stack": "mine"}


def resource(number, name, labels):
    listed = [{"label": key, "value": value} for key, value in labels.items()]
    outputs = {"name": name, "labels": listed}
    return {"type": CONTAINER_TYPE, "urn": f"urn::{name}", "id": number, "outputs": outputs}


@pytest.fixture
def states(tmp_path, monkeypatch):
    """Where state is kept, in files of this test."""
    monkeypatch.setenv("PULUMI_BACKEND_URL", f"file://{tmp_path}")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "private"))
    kept = tmp_path / ".pulumi" / "stacks" / "talos-cache"
    kept.mkdir(parents=True)
    return kept


PACK = {".json": bytes, ".json.gz": gzip.compress, ".json.zst": zstandard.compress}
packed = pytest.mark.parametrize("suffix", PACK)


def write_state(states, stack, *resources, suffix=".json"):
    text = json.dumps({"version": 3, "checkpoint": {"latest": {"resources": list(resources)}}})
    (states / f"{stack}{suffix}").write_bytes(PACK[suffix](text.encode()))


@packed
def test_state_in_files_is_read_without_the_engine(states, monkeypatch, suffix):
    monkeypatch.setenv("PATH", "")
    assert whose.recorded("mine") == Recorded()
    write_state(states, "mine", resource("c0ffee", NAME, OLD), suffix=suffix)
    assert whose.recorded("mine").containers == {"c0ffee"}
    assert whose.recorded("mine").born == "mine"


def test_a_stack_that_was_never_up_has_made_nothing(states):
    (states / "mine.json").write_text('{"version": 3, "checkpoint": {"stack": "mine"}}')
    assert whose.recorded("mine") == Recorded()


@packed
def test_a_state_of_before_there_were_projects_is_read_where_it_is(states, suffix):
    old = states.parent
    write_state(old, "mine", resource("c0ffee", NAME, OLD), suffix=suffix)
    assert whose.recorded("mine").containers == {"c0ffee"}
    assert whose.known_by(old.parent)["mine"].containers == {"c0ffee"}
    (old.parent / "meta.yaml").write_text("version: 0\n")
    assert whose.recorded("mine").containers == {"c0ffee"}
    (old.parent / "meta.yaml").write_text("version: 1\n")
    assert whose.recorded("mine") == Recorded(), "the engine does not look there any more"
    (old.parent / "meta.yaml").unlink()
    write_state(states, "mine", resource("beef", NAME, OLD))
    assert whose.recorded("mine").containers == {"beef"}


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"checkpoint": 3}', b"\xff", b"[" * 99999])
@packed
def test_a_truncated_state_is_an_error_that_names_its_backup(states, content, suffix):
    file = states / f"mine{suffix}"
    file.write_bytes(content)
    with pytest.raises(OpsError) as caught:
        whose.recorded("mine")
    assert f"cp {file}.bak {file}" in str(caught.value)


@packed
def test_so_is_one_that_lacks_its_end(states, suffix):
    write_state(states, "mine", suffix=suffix)
    file = states / f"mine{suffix}"
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(OpsError, match=rf"cp .*/mine{suffix}\.bak"):
        whose.recorded("mine")


def test_a_state_that_can_not_be_opened_is_named(states):
    (states / "mine.json").symlink_to("mine.json")
    with pytest.raises(OpsError, match=r"/mine\.json .*: Too many levels"):
        whose.recorded("mine")


def test_state_elsewhere_is_read_with_the_engine(monkeypatch):
    monkeypatch.setenv("PULUMI_BACKEND_URL", "s3://bucket")
    made = {"resources": [resource("c0ffee", NAME, OLD)]}
    monkeypatch.setattr(cli, "deployment", lambda stack: made)
    assert whose.recorded("mine").containers == {"c0ffee"}


def test_a_stack_that_is_not_there_yet_is_no_error_and_all_else_is(monkeypatch):
    said = ["error: no stack named 'mine' found", "no credentials"]

    def refuse(stack):
        raise OpsError(said.pop(0))

    monkeypatch.setenv("PULUMI_BACKEND_URL", "s3://bucket")
    monkeypatch.setattr(cli, "deployment", refuse)
    assert whose.recorded("mine") == Recorded()
    with pytest.raises(OpsError, match="no credentials"):
        whose.recorded("mine")


def test_every_stack_of_a_place_is_read_and_damaged_ones_are_left_out(states):
    write_state(states, "one", resource("1", "a", OLD))
    write_state(states, "two.x", resource("2", "b", OLD), suffix=".json.gz")
    for name in ("bad.json", "one.json.bak", "one.json.attrs"):
        (states / name).write_text("{")
    found = whose.known_by(states.parent.parent)
    assert {stack: state.containers for stack, state in found.items()} == {
        "one": {"1"},
        "two.x": {"2"},
    }


def test_a_stacks_identity_is_that_of_its_state_or_else_of_its_name_and_place(states):
    usual = whose.we_are("mine", Recorded()).identity
    assert usual == folder.identity_of("mine")
    assert not folder.is_moved("mine")
    assert whose.we_are("renamed", Recorded(born="mine")).identity == usual
    assert folder.states_of("renamed") == folder.states_of("mine")
    assert folder.owner_of("renamed") == folder.owner_of("mine")
    assert folder.is_moved("renamed")
    assert folder.identity_of("renamed") == usual
    recorded = Recorded(identity="old-0123456789ab", born="mine")
    assert whose.we_are("renamed", recorded).identity == recorded.identity
    assert folder.states_of("renamed").name == "old-012345", "as it was always named"


@pytest.fixture
def docker(monkeypatch):
    """Docker's containers; what is removed goes from the list."""

    class Docker:
        def __init__(self):
            self.there = []
            self.api = self
            self.base_url = "https://elsewhere"

        def add(self, *described):
            self.there.append(container(*described))

        def remove_container(self, number, force):
            self.there = [one for one in self.there if one.id != number]

    made = Docker()
    monkeypatch.setattr(api, "connect", lambda: made)
    monkeypatch.setattr(api, "containers", lambda client: tuple(client.there))
    return made


def test_a_command_on_volumes_stops_before_those_of_others(states, docker):
    (states / "mine.json").write_text("{")
    docker.add("2", "another", OLD)
    whose.refuse_others("mine", [NAME])  # without such a container the state is not even read
    (states / "mine.json").unlink()
    docker.add("1", NAME, OLD)
    with pytest.raises(OpsError, match=r"nothing was done:\n.*not in its state"):
        whose.refuse_others("mine", [NAME])
    write_state(states, "mine", resource("1", NAME, OLD))
    whose.refuse_others("mine", [NAME])


def test_what_a_down_leaves_alone_is_reported_with_its_owner(states, docker):
    assert whose.left_alone("mine", "abcd") == []
    docker.add("1", "a", OLD)
    docker.add("2", "b", OLD)
    docker.add("3", "c", Owner(stack="mine", identity="m-1", checkout="other:/home").labels)
    docker.add("4", "d", {**OLD, "talos-cache.stack": "another"})
    one, other = whose.left_alone("mine", "abcd")
    assert one.startswith("left alone, because they are not in the stack's state: a, b, of a stack")
    assert other.startswith("left alone, because it is not in the stack's state: c, of the stack")
    assert one.endswith(": make adopt STACK=mine")


def test_another_checkouts_caches_of_other_names_are_not_reported_after_down(states, docker):
    docker.add("1", "two-docker.io", Owner(stack="mine", identity="m-1", checkout="b:/b").labels)
    docker.add("2", "old-docker.io", OLD)
    assert whose.left_alone("mine", [NAME]) == []


def test_a_cache_that_left_the_stack_file_is_reported_with_what_removes_it(states, docker):
    us = Owner(stack="mine", identity=folder.usual_identity("mine"), checkout=whose.checkout())
    docker.add("1", "before-docker.io", us.labels)
    [text] = whose.left_alone("mine", [NAME])
    assert text.endswith("docker rm -f before-docker.io")
    assert "adopt" not in text, "it looks only for the caches in the stack's file"


def test_adopt_is_not_advised_if_it_would_refuse(states, docker):
    docker.add("1", NAME, OLD)
    write_state(states, "renamed", resource("1", NAME, OLD))
    [text] = whose.left_alone("mine", [NAME])
    kept = states.parent.parent
    assert text.endswith(f"the stack 'renamed', whose state is in {kept}, has {NAME}")
    assert "make adopt" not in text


SETTINGS = parse({"upstreams": {"docker.io": {}, "quay.io": {}}})
PLANS = cache_plan.build(SETTINGS, addressing.resolve(SETTINGS, "172.17.0.1"))
US = Owner(stack="mine", identity="mine-0123456789ab", checkout="here:/checkout")


def in_the_way(*known):
    recorded = Recorded(containers=frozenset(known))
    return ops_preflight.conflicts(ops_preflight.look(), PLANS, recorded, US)


def test_all_that_another_state_has_is_one_text_with_its_ports(docker):
    docker.add("1", NAME, OLD, [("127.0.0.1", 5000), ("172.17.0.1", 5000)])
    docker.add("2", "registry-quay.io", OLD, [("127.0.0.1", 5002), ("172.17.0.1", 5002)])
    [text] = in_the_way()
    assert text.startswith("registry-docker.io, registry-quay.io have names")
    assert in_the_way("1", "2") == []


def test_a_port_of_another_stack_is_reported_once(docker):
    docker.add("1", "two-docker.io", OLD, [("0.0.0.0", 5000)])
    docker.add("2", "two-ghcr.io", OLD, [("127.0.0.1", 7000)])
    [text] = in_the_way()
    assert text.startswith("two-docker.io has ports that the stack 'mine' needs")


def test_what_no_stack_made_is_reported_with_what_removes_it(docker):
    docker.add("1", NAME, {}, [("127.0.0.1", 5000)])
    [text] = in_the_way()
    assert f"docker rm -f {NAME}" in text


@pytest.fixture
def adopting(states, docker, monkeypatch):
    """`adopt` on a stack with one upstream and one cluster; gives status and output."""
    settings = parse({"upstreams": {"docker.io": {}}, "cluster": {"name": "dev"}})
    made = {"resources": []}
    monkeypatch.setattr(stack_files, "check", lambda stack: settings)
    monkeypatch.setattr(cli, "select", lambda stack: None)
    monkeypatch.setattr(cli, "deployment", lambda stack: made)

    def run(*, yes=False, recorded=()):
        made["resources"] = list(recorded)
        return adopt.run(adopt.Arguments(stack="mine", yes=yes))

    return run


def test_caches_whose_state_is_found_nowhere_are_taken_over(adopting, docker, capsys):
    docker.add("1", NAME, OLD)
    docker.add("2", "another", OLD)
    assert adopting() == 0
    assert [one.id for one in docker.there] == ["2"]
    assert "1 taken over; to have them back: make up STACK=mine" in capsys.readouterr().out
    assert adopting() == 0
    assert "there is nothing to take over" in capsys.readouterr().out


def test_caches_of_another_state_are_taken_over_only_with_yes(adopting, docker, states):
    docker.add("1", NAME, OLD)
    write_state(states, "renamed", resource("1", NAME, OLD))
    with pytest.raises(OpsError, match=rf"the stack 'renamed', .* has {NAME}.*ARGS=--yes"):
        adopting()
    assert len(docker.there) == 1
    assert adopting(yes=True) == 0
    assert docker.there == []


def test_the_checkout_that_a_container_names_is_looked_into(adopting, docker, tmp_path):
    here = socket.gethostname()
    elsewhere = tmp_path / "clone"
    folder_of_state = elsewhere / ".work" / "state" / ".pulumi"
    kept = folder_of_state / "stacks" / "talos-cache"
    kept.mkdir(parents=True)
    write_state(kept, "mine", resource("1", NAME, OLD))
    docker.add("1", NAME, Owner(stack="mine", checkout=f"{here}:{elsewhere}").labels)
    with pytest.raises(OpsError, match=f"whose state is in {elsewhere}"):
        adopting()
    shutil.rmtree(folder_of_state)
    folder_of_state.symlink_to(".pulumi")  # can't be opened
    text = rf"the state in {elsewhere}/.*, which may have {NAME}, can't be read.*ARGS=--yes"
    with pytest.raises(OpsError, match=text):
        adopting()
    assert len(docker.there) == 1
    docker.there.clear()
    docker.add("1", NAME, Owner(stack="mine", checkout=f"another-host:{elsewhere}").labels)
    assert adopting() == 0, "that is not this machine's folder"


def test_a_state_that_can_be_read_counts_more_than_one_that_can_not(
    adopting, docker, states, tmp_path
):
    here = socket.gethostname()
    closed = tmp_path / "clone" / ".work" / "state" / ".pulumi"
    closed.parent.mkdir(parents=True)
    closed.symlink_to(".pulumi")
    docker.add("1", NAME, Owner(stack="mine", checkout=f"{here}:{tmp_path / 'clone'}").labels)
    write_state(states, "renamed", resource("1", NAME, OLD))
    with pytest.raises(OpsError, match=f"the stack 'renamed', .* has {NAME}"):
        adopting()
    (states / "renamed.json").unlink()
    with pytest.raises(OpsError, match="can't be read"):
        adopting()
    assert adopting(yes=True) == 0
    assert docker.there == []


def test_what_no_stack_made_is_not_taken_over(adopting, docker):
    docker.add("1", NAME, {"some": "label"})
    with pytest.raises(OpsError, match=f"{NAME}: not created by this project"):
        adopting(yes=True)
    assert len(docker.there) == 1


def test_a_cluster_that_is_not_in_the_state_is_recreated_only_with_yes(
    adopting, docker, monkeypatch
):
    settings = parse({"cluster": {"name": "dev"}})
    [plan] = cluster.build("mine", settings.clusters, [], [], {})
    own = folder.folder_of("mine", "dev")
    own.prepare(folder.owner_of("mine"))
    monkeypatch.setattr(DockerProvisioner, "conflicts", lambda *_, **__: [])
    monkeypatch.setattr(preflight.talosctl, "find", lambda: argparse.Namespace(version=VERSION))
    assert preflight.preflight_errors([plan], ()) == [], "what a killed run left is recreated"
    own.record(ClusterRecord(owner=folder.owner_of("mine"), node_version="v1.13.0", network="n"))
    assert preflight.preflight_errors([plan], {"dev"}) == []
    [text] = preflight.preflight_errors([plan], ())
    assert "make adopt STACK=mine ARGS=--yes" in text
    with pytest.raises(OpsError, match=r"^dev: .*ARGS=--yes"):
        adopting()
    variables = {"TALOS_CACHE_STACK": "mine", "TALOS_CACHE_CLUSTER": '{"name": "dev"}'}
    command = {"type": COMMAND_TYPE, "outputs": {"environment": variables}}
    assert adopting(recorded=[command]) == 0, "there is nothing to take over"
    assert adopting(yes=True) == 0
    assert preflight.preflight_errors([plan], ()) == []
    assert own.recorded(folder.owner_of("mine")).network == "n", "to be removed by it"
    folder.folder_of("mine", "never").give_up(folder.owner_of("mine"))
    assert not folder.folder_of("mine", "never").path.exists()


VERSION = preflight.Version(1, 13, 0)


def test_a_cache_that_keeps_restarting_is_not_in_its_own_way():
    """Docker lists no port of it, and a moment later it has one."""
    config = {"upstreams": {"docker.io": {"port": free_port()}}, "addressing": "127.0.0.1"}
    [plan] = cache_plan.build(parse(config), addressing.resolve(parse(config)))

    def conflicts(status):
        cache = container("1", NAME, status=status)
        host = ops_preflight.Host(containers=(cache,), is_local=True)
        known = Recorded(containers=frozenset({"1"}))
        return ops_preflight.conflicts(host, [plan], known, US)

    with socket.create_server(("127.0.0.1", plan.published[0].port)):
        assert conflicts("Restarting (1) 1 second ago") == []
        [text] = conflicts("Exited (1) 1 second ago")
        assert "a program outside Docker" in text
