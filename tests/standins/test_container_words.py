"""Container inputs as Docker's API sees them, and Docker's report as inputs; without Docker."""

import io
import tarfile

import pytest

from toolchain.standins.docker_container import (
    container_config,
    drift,
    nanoseconds,
    problems,
    upload_archive,
)
from toolchain.standins.values import UNKNOWN

INPUTS = {"name": "n", "image": "i"}


def info(**changed):
    """What Docker reports about a running container with one port."""
    report = {
        "Name": "/n",
        "State": {"Running": True, "ExitCode": 0},
        "HostConfig": {"RestartPolicy": {"Name": "always", "MaximumRetryCount": 0}, "Memory": 0},
        "NetworkSettings": {
            "Ports": {"5000/tcp": [{"HostIp": "127.0.0.1", "HostPort": "15400"}], "53/udp": None},
            "Networks": {"bridge": {"NetworkID": "abc"}},
        },
    }
    for key, value in changed.items():
        report[key] = {**report[key], **value} if isinstance(value, dict) else value
    return report


RUNNING = {
    **INPUTS,
    "restart": "always",
    "ports": [{"internal": 5000, "external": 15400, "ip": "127.0.0.1"}],
}


def test_a_container_as_it_should_be_has_no_drift():
    assert drift(RUNNING, info()) == {}


def test_a_stopped_container_loses_its_ports_and_need_not_run():
    report = info(State={"Running": False}, NetworkSettings={"Ports": {}})
    assert drift(RUNNING, report) == {"mustRun": False, "ports": []}


def test_a_stopped_container_that_need_not_run_has_no_drift():
    report = info(State={"Running": False}, NetworkSettings={"Ports": {}})
    assert drift({**RUNNING, "mustRun": False}, report) == {}


def test_what_was_changed_by_hand_is_read_back():
    host = {"RestartPolicy": {"Name": "no"}, "Memory": 64 * 1024 * 1024}
    assert drift(RUNNING, info(HostConfig=host)) == {"restart": "no", "memory": 64}


def test_a_renamed_container_is_read_back():
    assert drift(RUNNING, info(Name="/other")) == {"name": "other"}


def test_other_published_ports_are_read_back():
    bindings = {"5000/tcp": [{"HostIp": "0.0.0.0", "HostPort": "9"}]}
    real = [{"internal": 5000, "external": 9, "ip": "0.0.0.0", "protocol": "tcp"}]
    assert drift(RUNNING, info(NetworkSettings={"Ports": bindings})) == {"ports": real}


def test_a_port_left_to_docker_may_be_any():
    wanted = {**RUNNING, "ports": [{"internal": 5000, "ip": "127.0.0.1"}]}
    assert drift(wanted, info()) == {}


def test_a_network_that_was_disconnected_is_missing():
    wanted = {**RUNNING, "networksAdvanced": [{"name": "abc"}, {"name": "gone"}]}
    assert drift(wanted, info()) == {"networksAdvanced": [{"name": "abc"}]}


def test_several_addresses_of_one_internal_port_are_all_bound():
    ports = [
        {"internal": 5000, "external": 5000, "ip": "127.0.0.1"},
        {"internal": 5000, "external": 5000, "ip": "172.17.0.1"},
    ]
    config = container_config({**INPUTS, "ports": ports})
    assert config["HostConfig"]["PortBindings"] == {
        "5000/tcp": [
            {"HostIp": "127.0.0.1", "HostPort": "5000"},
            {"HostIp": "172.17.0.1", "HostPort": "5000"},
        ]
    }
    assert config["ExposedPorts"] == {"5000/tcp": {}}


def test_memory_is_in_mebibytes():
    assert container_config({**INPUTS, "memory": 64})["HostConfig"]["Memory"] == 64 * 1024 * 1024


def test_uploads_have_the_official_modes_unless_told_otherwise():
    uploads = [
        {"file": "/a", "content": "x"},
        {"file": "/b/c", "contentBase64": "eHk=", "executable": True},
        {"file": "/d", "content": "x", "executable": True, "permissions": "0600"},
    ]
    with tarfile.open(fileobj=io.BytesIO(upload_archive(uploads))) as archive:
        entries = {entry.name: (entry.mode, entry.size) for entry in archive}
    assert entries == {"a": (0o644, 1), "b/c": (0o744, 2), "d": (0o600, 1)}


@pytest.mark.parametrize(
    ("duration", "expected"),
    [("5s", 5e9), ("1m30s", 9e10), ("500ms", 5e8), ("1.5h", 5.4e12), ("0", 0), ("0s", 0)],
)
def test_go_durations_are_read(duration, expected):
    assert nanoseconds(duration) == expected


@pytest.mark.parametrize("duration", ["5", "s", "5 s", "five", "5d"])
def test_other_durations_are_not(duration):
    assert nanoseconds(duration) is None


@pytest.mark.parametrize(
    ("inputs", "path"),
    [
        ({"rm": True}, "rm"),
        ({"envs": ["A"]}, "envs[0]"),
        ({"ports": [{"internal": 70000}]}, "ports[0].internal"),
        ({"volumes": [{"volumeName": "v", "containerPath": "data"}]}, "volumes[0].containerPath"),
        ({"uploads": [{"file": "/a"}]}, "uploads[0]"),
        ({"uploads": [{"file": "/a", "content": "x", "contentBase64": "eA=="}]}, "uploads[0]"),
        (
            {"uploads": [{"file": "/a", "content": "x", "permissions": "rw"}]},
            "uploads[0].permissions",
        ),
        ({"healthcheck": {"interval": "5"}}, "healthcheck.interval"),
        ({"networkMode": "host", "networksAdvanced": [{"name": "a"}]}, "networkMode"),
    ],
)
def test_what_docker_would_not_take_is_refused_with_its_path(inputs, path):
    assert [problem.path for problem in problems({**INPUTS, **inputs})] == [path]


def test_unknown_inputs_are_not_looked_into():
    assert list(problems({**INPUTS, "envs": [UNKNOWN], "ports": UNKNOWN})) == []
