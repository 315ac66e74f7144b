"""`make clean` removes what the set-up has made, and nothing that is still needed."""

import gzip
import subprocess
import sys
from pathlib import Path

import pytest
import zstandard

from host import errors
from toolchain import __main__ as toolchain
from toolchain import docker_engine


@pytest.fixture
def checkout_with(tmp_path, monkeypatch):
    """A checkout with this as the state of a stack; the working folder may be removed."""
    work = tmp_path / ".work"
    monkeypatch.setattr(toolchain, "STATE", work / "state")
    monkeypatch.setattr(toolchain, "DEMO_STATE", work / "demo" / "state")
    monkeypatch.setattr(toolchain, "WORK", work)
    monkeypatch.setattr(toolchain, "LOCK", work / "set-up.lock")
    monkeypatch.setattr(toolchain, "VENV", Path(sys.prefix))
    monkeypatch.setattr(docker_engine, "STARTED", work / "dockerd.json")

    def make(content, below="state", name="talos-cache/mine.json"):
        state = work / below / ".pulumi" / "stacks" / name
        state.parent.mkdir(parents=True)
        state.write_bytes(content)
        return state

    return make


UP = b'{"checkpoint": {"latest": {"resources": [{}]}}}'
DOWN = b'{"checkpoint": {"latest": {"resources": []}}}'
COMPRESSED = {
    ".json": bytes,
    ".json.gz": gzip.compress,
    ".json.zst": zstandard.ZstdCompressor().compress,
}


TORN = {
    "empty": (".json", b""),
    "truncated": (".json", UP[:-20]),
    "a list": (".json", b"[]"),
    "a number": (".json", b'{"checkpoint": 5}'),
    "empty gzip": (".json.gz", b""),
    "empty zstd": (".json.zst", b""),
    "truncated gzip": (".json.gz", COMPRESSED[".json.gz"](UP)[:-5]),
    "truncated zstd": (".json.zst", COMPRESSED[".json.zst"](UP)[:-5]),
    "damaged gzip": (".json.gz", COMPRESSED[".json.gz"](UP)[:10] + b"\xff" * 20),
}


@pytest.mark.parametrize(("ending", "content"), TORN.values(), ids=TORN)
def test_clean_keeps_a_state_that_can_not_be_read(checkout_with, ending, content):
    state = checkout_with(content, name=f"talos-cache/mine{ending}")
    with pytest.raises(errors.SetupError, match="can't be read") as caught:
        toolchain.clean()
    assert f"{state}.bak" in str(caught.value)
    assert state.exists()


@pytest.mark.parametrize(
    "content",
    [b"null", b"{}", b'{"version":3,"checkpoint":{}}', b'{"checkpoint":{"latest":null}}'],
)
def test_clean_removes_a_state_that_never_had_anything(checkout_with, content):
    state = checkout_with(content)
    toolchain.clean()
    assert not state.exists()


@pytest.mark.parametrize("ending", COMPRESSED)
@pytest.mark.parametrize("folder", ["talos-cache/", ""], ids=["by project", "old layout"])
def test_clean_reads_every_state_wherever_it_is_and_however_compressed(
    checkout_with, ending, folder
):
    state = checkout_with(COMPRESSED[ending](UP), name=f"{folder}mine{ending}")
    with pytest.raises(errors.SetupError, match="'mine' is up: make down STACK=mine"):
        toolchain.clean()
    assert state.exists()
    state.write_bytes(COMPRESSED[ending](DOWN))
    toolchain.clean()
    assert not toolchain.WORK.exists()


def test_clean_says_what_it_needs_for_a_state_that_only_the_projects_python_reads(
    checkout_with, monkeypatch, tmp_path
):
    state = checkout_with(UP, name="talos-cache/mine.json.zst")
    monkeypatch.setattr(toolchain, "VENV", tmp_path / "none")
    with pytest.raises(errors.SetupError, match=r"zstd.* make setup") as caught:
        toolchain.clean()
    assert ".bak" not in str(caught.value), "nothing is wrong with the state"
    assert state.exists()


def test_clean_keeps_what_a_demo_has_left_up(checkout_with):
    state = checkout_with(UP, "demo/state")
    with pytest.raises(errors.SetupError, match=r"the demo is up .*: make demo"):
        toolchain.clean()
    assert state.exists()
    state.write_bytes(DOWN)
    toolchain.clean()
    assert not toolchain.WORK.exists()


def test_clean_keeps_the_record_of_a_dockerd_that_it_leaves_running(checkout_with, monkeypatch):
    checkout_with(DOWN)
    monkeypatch.setattr(docker_engine, "_containers_running", lambda: 1)
    process = subprocess.Popen(["sleep", "600"])
    try:
        docker_engine._record(process.pid, "use")
        toolchain.clean()
        assert list(toolchain.WORK.iterdir()) == [docker_engine.STARTED]
        monkeypatch.setattr(docker_engine, "_containers_running", lambda: 0)
        toolchain.clean()
        assert process.wait(60) != 0
    finally:
        process.kill()
        process.wait()
    assert not toolchain.WORK.exists()


def test_clean_removes_its_lock_last(checkout_with, monkeypatch):
    checkout_with(DOWN)
    left = []

    def look(path, **options):
        if path == toolchain.LOCK:
            left.extend(toolchain.WORK.iterdir())
        plain(path, **options)

    plain = Path.unlink
    monkeypatch.setattr(Path, "unlink", look)
    toolchain.clean()
    assert left == [toolchain.LOCK]
    assert not toolchain.WORK.exists()
