"""Which dockerd the set-up uses, and which it stops; dockerd is a double."""

import json
import os
import subprocess

import pytest

from host import docker_endpoint, errors
from host.docker_endpoint import Endpoint
from tests.fakes.dockerd import Answer, unix_server
from toolchain import docker_engine


def test_without_root_a_docker_that_does_not_answer_is_explained(monkeypatch, tmp_path):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(errors.SetupError, match=r"at .*/none\.sock\. Start it") as caught:
        docker_engine.ensure(Endpoint(url=f"unix://{tmp_path}/none.sock"))
    assert "group" not in str(caught.value), "it is not about permissions"


@pytest.fixture
def started(monkeypatch, tmp_path):
    """A process in the place of dockerd, and a socket at which nothing answers yet."""
    monkeypatch.setattr(docker_endpoint, "DEFAULT_SOCKET", str(tmp_path / "docker.sock"))
    process = subprocess.Popen(["sleep", "600"])
    yield process
    process.kill()
    process.wait()


@pytest.mark.parametrize(
    ("purpose", "running", "is_stopped"),
    [("demo", 2, False), ("demo", 0, True), ("test", 2, True)],
    ids=["in use", "not in use", "what tests leave behind is not in use"],
)
def test_a_dockerd_in_which_containers_run_is_not_stopped(
    started, monkeypatch, tmp_path, capsys, purpose, running, is_stopped
):
    """They may be another checkout's, which found this dockerd running and recorded nothing."""
    docker_engine._record(started.pid, purpose)
    body = b'{"Containers": 3, "ContainersRunning": %d}' % running
    with unix_server(tmp_path / "docker.sock"):
        monkeypatch.setattr(Answer, "body", body)
        docker_engine.stop_if_ours(purpose)
    if is_stopped:
        assert started.wait(timeout=60) != 0
        return
    assert started.poll() is None
    printed = capsys.readouterr().err
    assert f"process {started.pid}" in printed
    assert "(2)" in printed


def test_only_the_dockerd_that_was_started_for_this_is_stopped(started):
    docker_engine._record(started.pid, "demo")
    docker_engine.stop_if_ours("test")
    assert started.poll() is None, "it was started for something else"
    record = json.loads(docker_engine.STARTED.read_text())
    docker_engine.STARTED.write_text(json.dumps({**record, "started": "1"}))
    docker_engine.stop_if_ours("demo")
    assert started.poll() is None, "the number belongs to another process now"
    docker_engine._record(started.pid, "demo")
    docker_engine.stop_if_ours("demo")
    assert started.wait(timeout=60) != 0


@pytest.mark.parametrize("content", ["", "{", "[]", "5", "{}", '{"pid": 1}'])
def test_a_truncated_record_of_a_dockerd_means_that_none_is_ours(monkeypatch, content):
    docker_engine.STARTED.write_text(content)
    monkeypatch.setattr(docker_engine.os, "kill", pytest.fail)
    docker_engine.stop_if_ours("use")
