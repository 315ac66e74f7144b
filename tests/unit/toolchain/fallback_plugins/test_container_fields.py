"""Container inputs as Docker's API sees them, and Docker's report as inputs; without Docker."""

import io
import tarfile

import pytest

from toolchain.fallback_plugins.docker.container import (
    container_config,
    go_duration,
    nanoseconds,
    planned,
    planned_in_preview,
    planned_update,
    ports_differ,
    problems,
    read_back,
    real_ports,
    upload_archive,
)
from toolchain.fallback_plugins.docker.provider import Container
from toolchain.fallback_plugins.protocol.values import UNKNOWN

INPUTS = {"name": "n", "image": "i"}
PORT = {"internal": 5000, "external": 15400, "ip": "127.0.0.1", "protocol": "tcp"}
OTHER = {**PORT, "ip": "172.17.0.1"}


def report(ports=None, *, running=True, **host):
    """Docker's report on a container, as far as it is read back."""
    return {
        "Id": "abc",
        "Name": "/n",
        "Image": "sha256:1",
        "Config": {"Image": "i", "Hostname": "abc"},
        "State": {"Running": running, "ExitCode": 0 if running else 2},
        "HostConfig": {
            "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0},
            "LogConfig": {"Type": "json-file", "Config": {}},
            "NetworkMode": "bridge",
            **host,
        },
        "NetworkSettings": {"Ports": ports or {}, "Networks": {"bridge": {"IPAddress": "1.2.3.4"}}},
    }


def bindings(*ports):
    return {"5000/tcp": [{"HostIp": p["ip"], "HostPort": str(p["external"])} for p in ports]}


def test_ports_are_read_back_in_the_order_of_docker():
    found = real_ports(report({"6000/tcp": None, "53/udp": None, **bindings(OTHER, PORT)}))
    assert found == [OTHER, PORT]
    many = {f"{n}/tcp": [{"HostIp": "127.0.0.1", "HostPort": str(n)}] for n in (9000, 80, 443)}
    assert [port["internal"] for port in real_ports(report(many))] == [80, 443, 9000]


def test_a_second_address_in_another_order_replaces_but_a_second_port_does_not():
    assert ports_differ([OTHER, PORT], [PORT, OTHER])
    second = {**PORT, "internal": 5001, "external": 15401}
    assert not ports_differ([second, PORT], [PORT, second])
    assert ports_differ([PORT], [PORT, second])
    assert ports_differ([PORT], [second])
    assert ports_differ([PORT], [{**PORT, "protocol": "udp"}])
    udp = {**PORT, "protocol": "udp"}
    assert not ports_differ([PORT, udp], [udp, PORT])


def test_the_order_of_addresses_shows_as_a_replacement():
    container = Container(None)
    state = read_back(
        planned({**INPUTS, "ports": [PORT, OTHER]}), report(bindings(OTHER, PORT)), created=True
    )
    assert state["ports"] == [OTHER, PORT]
    changed = container.changes(state, {}, {**INPUTS, "ports": [PORT, OTHER]})
    assert {path: change.replaces for path, change in changed.items()} == {"ports": True}
    assert not container.changes(state, {}, {**INPUTS, "ports": [OTHER, PORT]})


def test_memory_brings_a_swap_that_is_read_back_and_differs_for_ever():
    inputs = {**INPUTS, "memory": 64}
    megabytes = {"Memory": 64 << 20, "MemorySwap": 128 << 20}
    state = read_back(planned(inputs), report(**megabytes), created=True)
    (change,) = Container(None).changes(state, {}, inputs).items()
    assert change == ("memorySwap", ("DELETE", False))


def test_a_stopped_container_loses_its_ports_and_need_not_run():
    state = planned({**INPUTS, "mustRun": True, "ports": [PORT]})
    found = read_back(state, report(running=False), created=False)
    assert (found["mustRun"], found["ports"], found["exitCode"]) == (False, [], 2)
    at_rest = read_back({**state, "mustRun": False}, report(running=False), created=False)
    assert at_rest["ports"] == [PORT]


def test_a_refresh_reads_back_empty_sets_that_creating_left_out():
    state = planned({**INPUTS, "volumes": [{"containerPath": "/data"}]})
    created = read_back(state, report(), created=True)
    refreshed = read_back(created, report(), created=False)
    noise = {"dns", "dnsOpts", "dnsSearches", "groupAdds", "logOpts", "storageOpts", "sysctls"}
    changed = {key for key in refreshed if refreshed[key] != created.get(key)}
    assert changed == noise | {"tmpfs", "volumes"}
    assert refreshed["volumes"][0]["readOnly"] is False
    assert not Container(None).changes(
        refreshed, {}, {**INPUTS, "volumes": [{"containerPath": "/data"}]}
    )


def test_an_image_id_is_read_back_as_the_id_of_the_image():
    state = planned({"name": "n", "image": "sha256:2"})
    assert read_back(state, report(), created=False)["image"] == "sha256:1"


def test_a_preview_does_not_know_what_docker_will_say():
    state = planned_in_preview({**INPUTS, "command": ["a"], "uploads": UNKNOWN})
    assert state["command"] == ["a"]
    assert state["uploads"] is UNKNOWN
    assert state["hostname"] is UNKNOWN


def test_a_number_that_is_left_out_becomes_zero():
    state = {"memory": 64, "restart": "always", "tmpfs": {"/a": ""}, "labels": []}
    fields = Container.fields
    assert planned_update(fields, state, {"restart": "no"}) == {
        **state,
        "memory": 0,
        "restart": "no",
    }


def test_lists_missing_from_a_partly_created_containers_state_replace_it():
    changed = Container(None).changes(planned(INPUTS), {}, INPUTS)
    assert {path: change.replaces for path, change in changed.items()} == {
        "command": True,
        "entrypoints": True,
        "networkDatas": False,
    }


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


@pytest.mark.parametrize(
    ("duration", "expected"),
    [(0, "0s"), (5e9, "5s"), (60e9, "1m0s"), (5.4e12, "1h30m0s"), (1.5e9, "1.5s"), (5e7, "50ms")],
)
def test_durations_are_read_back_as_go_prints_them(duration, expected):
    assert go_duration(int(duration)) == expected


def test_uploads_have_the_official_modes_unless_permissions_are_given():
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
        ({"volumes": [{"hostPath": "data", "containerPath": "/a"}]}, "volumes[0].hostPath"),
        ({"uploads": [{"file": "/a", "contentBase64": "not!"}]}, "uploads[0].contentBase64"),
        ({"healthcheck": {"interval": "5"}}, "healthcheck.interval"),
    ],
)
def test_an_input_that_docker_would_refuse_is_refused_with_its_path(inputs, path):
    assert [problem.path for problem in problems({**INPUTS, **inputs})] == [path]


def test_unknown_inputs_are_not_checked():
    assert list(problems({**INPUTS, "envs": [UNKNOWN], "ports": UNKNOWN})) == []
