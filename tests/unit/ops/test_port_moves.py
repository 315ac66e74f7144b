"""Which containers are removed for their ports before the engine runs, and when none is."""

import argparse

import pytest

from ops import passphrase, port_moves
from ops.cluster import preflight
from ops.cluster.docker_provisioner import DockerProvisioner
from ops.docker import api
from ops.errors import OpsError
from ops.stack import stack_files
from plan.ownership import Recorded
from plan.problems import SettingsError
from plan.talos.versions import Version
from tests.fakes.containers import container

ONE, OTHER = "registry-docker.io", "registry-quay.io"
SWAPPED = """
  talos-cache:addressing: 172.17.0.1
  talos-cache:upstreams: {docker.io: {port: 5002}, quay.io: {port: 5000}}
"""
AS_IT_IS = SWAPPED.replace("{port: 5002}", "{port: 5000}", 1).replace(
    "quay.io: {port: 5000}", "quay.io: {port: 5002}"
)


def publishing(port):
    return [("127.0.0.1", port), ("172.17.0.1", port)]


@pytest.fixture
def removed(monkeypatch):
    """Ids of the containers that were removed; the stack has two, and its state knows them."""
    there = (container("1", ONE, {}, publishing(5000)), container("2", OTHER, {}, publishing(5002)))
    client = argparse.Namespace(api=argparse.Namespace(base_url="https://elsewhere"))
    gone = []
    monkeypatch.setenv("DOCKER_HOST", "unix:///docker.sock")
    monkeypatch.setattr(api, "connect", lambda: client)
    monkeypatch.setattr(api, "containers", lambda client: there)
    monkeypatch.setattr(
        api, "remove_until_gone", lambda client, number, deadline: gone.append(number)
    )
    known = Recorded(containers=frozenset({"1", "2"}))
    monkeypatch.setattr(port_moves.whose, "recorded", lambda stack: known)
    monkeypatch.setattr(preflight.talosctl, "find", lambda: talosctl)
    monkeypatch.setattr(DockerProvisioner, "conflicts", lambda *_, **__: [])
    talosctl = argparse.Namespace(version=Version(1, 13, 0))
    return gone


@pytest.fixture
def make_room(monkeypatch, tmp_path):
    """Frees ports for a stack with this configuration."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("PULUMI_BACKEND_URL", f"file://{tmp_path}")
    monkeypatch.setattr(stack_files, "FOLDER", tmp_path)

    def run(config):
        (tmp_path / "Pulumi.mine.yaml").write_text(f"config:{config}")
        return port_moves.make_room("mine", stack_files.check("mine"))

    return run


CLUSTER = "  talos-cache:cluster: {name: dev}\n"


@pytest.mark.parametrize("cluster", ["", CLUSTER])
def test_what_swaps_its_ports_is_removed_first(removed, make_room, cluster):
    first, second = make_room(SWAPPED + cluster)
    assert sorted(removed) == ["1", "2"]
    assert first.startswith(f"removed the container {OTHER}: its port 5002 goes to the cache of")
    assert second.startswith(f"removed the container {ONE}: its port 5000 goes to the cache of")


def test_if_no_port_moves_nothing_else_is_checked(removed, make_room, monkeypatch):
    monkeypatch.setattr(port_moves, "_is_refused", pytest.fail)
    assert make_room(AS_IT_IS + CLUSTER) == []
    assert removed == []


@pytest.mark.parametrize(
    ("more", "error", "said"),
    [
        (
            "  talos-cache:cluster: {name: dev, patches: ['[{op: add, path: /a, value: 1}]']}\n",
            SettingsError,
            "a JSON patch",
        ),
        ("  docker:host: unix:///other.sock\n", OpsError, "docker:host: only Pulumi's Docker"),
        ("  docker:config:host: unix:///other.sock\n", OpsError, "docker:host: only Pulumi's"),
    ],
)
def test_nothing_is_removed_if_the_program_would_refuse(removed, make_room, more, error, said):
    with pytest.raises(error, match=said):
        make_room(SWAPPED + more)
    assert removed == []


def test_nothing_is_removed_without_a_login_that_the_stack_needs(
    removed, make_room, monkeypatch, tmp_path
):
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    wants = SWAPPED.replace("{port: 5002}", "{port: 5002, credentialsFrom: docker-config}")
    with pytest.raises(OpsError, match="has no login for"):
        make_room(wants)
    assert removed == []


def test_nothing_is_removed_while_something_is_in_a_clusters_way(removed, make_room, monkeypatch):
    overlaps = "The network 10.5.0.0/24 of the cluster dev overlaps with"
    monkeypatch.setattr(DockerProvisioner, "conflicts", lambda *_, **__: [overlaps])
    assert make_room(SWAPPED + CLUSTER) == [], "the program reports it"
    assert removed == []


def test_nothing_is_removed_if_the_passphrase_is_wrong(removed, make_room, monkeypatch):
    monkeypatch.setattr(passphrase, "advice", lambda stack: "that is not the passphrase")
    assert make_room(SWAPPED) == [], "the engine reports it"
    assert removed == []
