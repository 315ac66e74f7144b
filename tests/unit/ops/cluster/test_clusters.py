"""Which of a stack's resources `make cluster-down` takes away."""

import json

import pytest

from ops.commands import lifecycle
from ops.errors import OpsError
from plan.harbor import transport
from plan.ownership import COMMAND_TYPE
from plan.settings.stack import parse


def resource(urn, typ, parent="", cluster="", **variables):
    named = {"TALOS_CACHE_CLUSTER": json.dumps({"name": cluster})} if cluster else {}
    environment = {**named, **variables}
    inputs = {"environment": environment} if environment else {}
    return {"urn": urn, "type": typ, "parent": parent, "inputs": inputs}


OF_HARBOR = {transport.STACK_VARIABLE: "mine", transport.OWNER_VARIABLE: "0123456789ab"}
STATE = {
    "resources": [
        resource("stack", "pulumi:pulumi:Stack"),
        resource("set", "talos-cache:index:CacheSet", "stack"),
        resource("container", "docker:index/container:Container", "set"),
        resource("a", lifecycle.CLUSTER_TYPE, "stack"),
        resource("a-command", COMMAND_TYPE, "a", "one"),
        resource("b", lifecycle.CLUSTER_TYPE, "stack"),
        resource("b-warm", COMMAND_TYPE, "b", "two"),
        resource("b-command", COMMAND_TYPE, "b", "two"),
        resource("harbor", "talos-cache:index:HarborProjects", "stack"),
        resource("harbor-command", COMMAND_TYPE, "harbor", **OF_HARBOR),
        resource("command", COMMAND_TYPE, "stack"),
    ]
}


def test_all_clusters_and_nothing_else():
    assert set(lifecycle.cluster_urns(STATE)) == {"a", "a-command", "b", "b-warm", "b-command"}


def test_one_of_several():
    assert lifecycle.cluster_urns(STATE, "two") == ["b-warm", "b-command", "b"]


def test_one_that_there_is_not():
    assert lifecycle.cluster_urns(STATE, "three") == []
    assert lifecycle.cluster_urns({}) == []


def test_a_stack_with_caches_only_says_how_to_get_a_cluster(monkeypatch):
    monkeypatch.setattr(lifecycle, "up", lambda arguments: 0)
    arguments = lifecycle.Arguments(command="cluster-up", stack="mine")
    monkeypatch.setattr(lifecycle.stack_files, "check", lambda stack: parse({}))
    with pytest.raises(OpsError, match="add 'cluster' to its file"):
        lifecycle.cluster_up(arguments)
    monkeypatch.setattr(lifecycle.stack_files, "check", lambda stack: parse({"cluster": {}}))
    assert lifecycle.cluster_up(arguments) == 0
