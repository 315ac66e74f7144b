"""Locks that a killed engine leaves; tests/real/caches kills a real one."""

import json
import os
import socket

import pytest

from ops.engine import cli
from ops.errors import OpsError
from ops.stack import recovery

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
