"""Privileged containers on a machine that lacks one capability: the decision, and the wrapper."""

import json
import subprocess

import pytest

from host import docker_endpoint
from host.docker_endpoint import Endpoint
from host.errors import SetupError
from toolchain import docker_engine, node_runtime

EVERYTHING = "CapInh:\t0000000000000000\nCapEff:\t{effective}\nCapBnd:\t{bounding}\n"
ALL = "000001ffffffffff"
USUAL = Endpoint(url="unix:///var/run/docker.sock")
SAID = "Docker 20.10.24 at unix:///var/run/docker.sock"
ALL_BUT_ONE = "000001fffeffffff"


@pytest.mark.parametrize(
    ("bounding", "effective", "missing"),
    [
        (ALL, ALL, False),
        (ALL_BUT_ONE, ALL_BUT_ONE, True),
        (ALL, ALL_BUT_ONE, True),
        (ALL, "0000000000000000", True),
    ],
)
def test_the_capability_counts_only_if_it_can_be_granted(
    tmp_path, monkeypatch, bounding, effective, missing
):
    status = tmp_path / "status"
    status.write_text(EVERYTHING.format(bounding=bounding, effective=effective))
    monkeypatch.setattr(node_runtime, "PROCESS_STATUS", status)
    assert node_runtime.capability_missing() is missing


def compact(value):
    """As Go writes JSON."""
    return json.dumps(value, separators=(",", ":"))


def process(*capabilities, score=None):
    sets = {name: list(capabilities) for name in ("bounding", "effective", "permitted")}
    value = {"args": ["init"], "capabilities": sets}
    return value if score is None else {**value, "oomScoreAdj": score}


@pytest.fixture
def run_wrapper(tmp_path):
    """Runs the wrapper around a program that only prints its arguments."""
    runc = tmp_path / "runc"
    runc.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    runc.chmod(0o755)
    wrapper = tmp_path / "wrapper"
    wrapper.write_text(node_runtime.wrapper_script(str(runc)))

    def run(*arguments):
        argv = ["sh", str(wrapper), *map(str, arguments)]
        return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.splitlines()

    return run


@pytest.mark.parametrize(
    "granted",
    [
        ("CAP_CHOWN", "CAP_SYS_RESOURCE", "CAP_SYS_TIME"),
        ("CAP_SYS_RESOURCE", "CAP_CHOWN", "CAP_SYS_TIME"),
        ("CAP_CHOWN", "CAP_SYS_TIME", "CAP_SYS_RESOURCE"),
        ("CAP_SYS_RESOURCE",),
        (),
    ],
    ids=["middle", "first", "last", "alone", "none"],
)
def test_a_container_starts_with_everything_but_the_capability(tmp_path, run_wrapper, granted):
    config = tmp_path / "config.json"
    config.write_text(compact({"process": process(*granted, score=-999), "root": {"path": "/r"}}))
    argv = ["--root", "/run/x", "create", "--bundle", str(tmp_path), "--pid-file", "p", "a name"]
    assert run_wrapper(*argv) == argv
    kept = [name for name in granted if name != "CAP_SYS_RESOURCE"]
    assert json.loads(config.read_text()) == {
        "process": process(*kept, score=0),
        "root": {"path": "/r"},
    }


def test_a_score_that_need_not_be_lowered_stays(tmp_path, run_wrapper):
    config = tmp_path / "config.json"
    config.write_text(compact({"process": process("CAP_CHOWN", score=500)}))
    run_wrapper("run", "--bundle", tmp_path, "name")
    assert json.loads(config.read_text())["process"]["oomScoreAdj"] == 500


def test_an_exec_gets_the_same(tmp_path, run_wrapper):
    spec = tmp_path / "runc-process1"
    spec.write_text(compact(process("CAP_SYS_RESOURCE", "CAP_CHOWN", score=-997)))
    run_wrapper("exec", "--process", spec, "--detach", "name")
    assert json.loads(spec.read_text()) == process("CAP_CHOWN", score=0)


def test_other_commands_pass_through_whatever_lies_there(tmp_path, run_wrapper):
    (tmp_path / "config.json").write_text("not to be touched: CAP_SYS_RESOURCE")
    assert run_wrapper("state", "name") == ["state", "name"]
    assert "CAP_SYS_RESOURCE" in (tmp_path / "config.json").read_text()


@pytest.fixture
def running_docker(monkeypatch):
    """A Docker that answers, and whose default runtime the test chooses."""
    answers = {"Version": "20.10.24", "DefaultRuntime": "runc"}
    monkeypatch.setattr(docker_endpoint, "ask", lambda endpoint, question, key: answers[key])
    monkeypatch.setattr(docker_engine, "_running_pid", lambda: None)
    monkeypatch.setattr(docker_engine, "ensure_client", lambda: None)
    monkeypatch.setattr(docker_engine, "_start", pytest.fail)
    return answers


def test_a_docker_that_can_not_run_nodes_is_refused_with_what_to_do(running_docker, monkeypatch):
    monkeypatch.setattr(node_runtime, "capability_missing", lambda: True)
    with pytest.raises(SetupError, match=r"CAP_SYS_RESOURCE.* this checkout did not start it"):
        docker_engine.ensure(USUAL, "talos")
    assert docker_engine.ensure(USUAL, "test") == SAID, "only nodes need it"
    with monkeypatch.context() as patch:
        patch.setattr(docker_engine, "_running_pid", lambda: 1)
        patch.setattr(docker_engine, "_recorded", lambda: {"purpose": "demo"})
        with pytest.raises(SetupError, match="-m toolchain stop-docker --for demo"):
            docker_engine.ensure(USUAL, "talos")
    running_docker["DefaultRuntime"] = node_runtime.RUNTIME
    assert docker_engine.ensure(USUAL, "talos") == SAID


def test_with_the_capability_any_docker_will_do(running_docker, monkeypatch):
    monkeypatch.setattr(node_runtime, "capability_missing", lambda: False)
    assert docker_engine.ensure(USUAL, "talos") == SAID


def test_dockerd_gets_a_wrapper_that_can_be_run(tmp_path, monkeypatch):
    monkeypatch.setattr(node_runtime, "WORK", tmp_path)
    options = node_runtime.dockerd_options()
    name, _, path = options[1].partition("=")
    assert options == ["--add-runtime", f"{name}={path}", "--default-runtime", name]
    assert subprocess.run([path, "--version"], capture_output=True, check=False).returncode != 126
