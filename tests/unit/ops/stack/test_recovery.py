"""What a killed engine leaves; tests/real/caches kills a real one."""

import json
import os
import socket

import pytest

from ops.engine import cli
from ops.errors import OpsError
from ops.stack import recovery
from plan.ownership import COMMAND_TYPE, CONTAINER_TYPE
from tests.fakes.containers import container

MINE = socket.gethostname()


@pytest.fixture
def lock(tmp_path):
    """Writes a lock file of a stack; gives the folder."""
    folder = tmp_path / "locks" / "mine"
    folder.mkdir(parents=True)

    def write(content):
        text = content if isinstance(content, str) else json.dumps(content)
        (folder / "a.json").write_text(text)
        return folder

    return write


def test_a_lock_is_dead_when_its_process_is_gone_or_another_program(lock):
    for pid in (2**22 + 1, os.getpid()):  # no process can have the first
        folder = lock({"pid": pid, "hostname": MINE})
        assert recovery.dead_locks(folder) == [folder / "a.json"]


@pytest.mark.parametrize("where", ["organization/talos-cache/mine", "mine"])
def test_the_locks_of_a_stack_are_found_where_the_engine_keeps_them(monkeypatch, tmp_path, where):
    monkeypatch.setenv("PULUMI_BACKEND_URL", f"file://{tmp_path}")
    monkeypatch.setattr(cli, "deployment", lambda stack: {})
    file = tmp_path / ".pulumi" / "locks" / where / "a.json"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps({"pid": 2**22 + 1, "hostname": MINE}))
    assert recovery.clear("other") == []
    assert recovery.clear("mine") == ["removed the lock of a pulumi process that is gone (a)"]
    assert not file.exists()


def test_the_lock_of_another_machine_is_left_alone(lock):
    assert recovery.dead_locks(lock({"pid": 2**22 + 1, "hostname": f"not-{MINE}"})) == []


@pytest.mark.parametrize(
    "content",
    ["", "{", '{"pid": 1', "[]", "null", "5", "{}", '{"hostname": "x", "pid": "one"}', "[" * 99999],
)
def test_a_damaged_lock_is_an_error_with_the_line_that_removes_it(lock, content):
    folder = lock(content)
    with pytest.raises(OpsError, match=f" rm {folder}/a.json$"):
        recovery.dead_locks(folder)


def pending(*resources):
    return {"pending_operations": [{"resource": one, "type": "creating"} for one in resources]}


def test_a_stray_carries_the_labels_that_the_interrupted_run_was_about_to_give():
    def creating(labels):
        listed = [{"label": key, "value": value} for key, value in labels.items()]
        inputs = {"name": "mine", "labels": listed}
        other = {"type": "other", "inputs": {**inputs, "name": "another"}}
        return pending({"type": CONTAINER_TYPE, "inputs": inputs}, other)

    ours, others = ({"talos-cache.state": state} for state in ("mine-1", "mine-2"))
    stray = container("1", "mine", ours)
    there = [stray, container("2", "mine", others), container("3", "another", ours)]
    assert recovery.strays(creating(ours), there) == [stray]
    recorded = {**creating(ours), "resources": [{"id": "1"}]}
    assert recovery.strays(recorded, there) == []
    assert recovery.strays(creating({}), [container("4", "mine")]) == [], "without labels"


def test_a_cluster_that_was_made_but_not_recorded_is_known_as_such():
    variables = {"TALOS_CACHE_STACK": "mine", "TALOS_CACHE_CLUSTER": '{"name": "dev"}'}
    environment = {"environment": variables}
    dev = {"type": COMMAND_TYPE, "id": "c", "inputs": environment, "outputs": environment}
    assert recovery.unrecorded_clusters(pending(dev)) == ["dev"]
    known = {**pending(dev), "resources": [dev]}
    assert recovery.unrecorded_clusters(known) == [], "it was being updated"
    assert recovery.unrecorded_clusters({}) == []
