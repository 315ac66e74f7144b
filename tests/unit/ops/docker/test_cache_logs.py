"""The logs of caches as Docker hands them over; tests/real/caches/test_traffic.py has real ones.

The `docker` package is real; Docker is a double, a web server with the two answers that are needed.
"""

import json
from contextlib import contextmanager
from urllib.parse import parse_qsl, urlsplit

import docker
import pytest

from ops.docker import cache_logs
from ops.docker.cache_logs import unframed
from ops.errors import OpsError
from plan.caches.cache import Cache
from tests.fakes.web_server import answering
from tests.unit.plan.traffic.lines import line

CACHE = Cache(host="docker.io", name="registry-docker.io", local_endpoint="", image="registry")
CREATED = "2026-11-28T09:00:00.123456789Z"
STARTING = '2026-11-28T09:00:01.5Z time="2026-11-28T09:00:01.4Z" level=info msg="listening on"'
VERSION = "1.41"
# What it is asked for.
INSPECT = f"/v{VERSION}/containers/registry-docker.io/json"
LOGS = f"/v{VERSION}/containers/abc/logs"
THERE = {"Id": "abc", "Created": CREATED, "State": {"Running": True}}


def frame(text):
    """As Docker sends a line of standard error."""
    return b"\2\0\0\0" + len(text).to_bytes(4, "big") + text


@contextmanager
def docker_with(*lines, logs=200, inspect=200):
    """A client, and the server that it asks, which has this log, or answers with an error."""

    def answer(request):
        path = urlsplit(request.path).path
        status, body = {
            INSPECT: (inspect, json.dumps(THERE).encode()),
            LOGS: (logs, b"".join(map(frame, lines))),
        }[path]
        if status != 200:
            body = json.dumps({"message": "it is being removed"}).encode()
        return status, [("Content-Type", "application/json")], body

    with answering(answer) as server:
        url = server.url.replace("http", "tcp")
        yield docker.DockerClient(base_url=url, version=VERSION), server


def test_a_cache_that_is_not_up_has_no_log():
    with docker_with(inspect=404) as (client, _):
        assert cache_logs.log_of(client, CACHE) is None


def test_what_docker_refuses_is_an_error_with_the_containers_name():
    said = r"the log of registry-docker\.io can't be read: it is being removed"
    with docker_with(inspect=409) as (client, _), pytest.raises(OpsError, match=said):
        cache_logs.log_of(client, CACHE)
    with docker_with(logs=501) as (client, _), pytest.raises(OpsError, match=said):
        list(cache_logs.log_of(client, CACHE).lines())


def test_lines_are_whole_whatever_the_pieces_are():
    read = []
    with docker_with(b"first li", b"ne\nsecond line\nthi", b"rd line\n") as (client, _):
        lines = list(cache_logs.log_of(client, CACHE).lines(tell=read.append))
    assert lines == ["first line", "second line", "third line"]
    assert sum(read) == 34


@pytest.mark.parametrize("size", [1, 7, 8, 9, 20, 1000])
def test_frames_come_in_chunks_of_any_size(size):
    lines = [b"a line\n", b"", b"x" * 300 + b"\n"]
    sent = b"".join(map(frame, lines))
    chunks = [sent[start : start + size] for start in range(0, len(sent), size)]
    assert list(unframed(chunks)) == lines
    assert list(unframed([*chunks, frame(b"cut off")[:-1]])) == lines


@pytest.mark.parametrize(
    ("more", "asked"),
    [
        ({}, {}),
        ({"since": 1795857969.9}, {"since": "1795857969"}),
        ({"until": 1795857969.9}, {"until": "1795857969"}),
        ({"last": 5}, {"tail": "5"}),
        ({"follow": True}, {"follow": "1"}),
    ],
)
def test_docker_is_asked_for_what_is_needed(more, asked):
    with docker_with() as (client, server):
        list(cache_logs.log_of(client, CACHE).lines(**more))
    always = dict.fromkeys(("stderr", "timestamps"), "1")
    usual = {"follow": "0", "since": "0", "until": "0", "tail": "all"}
    assert dict(parse_qsl(urlsplit(server.seen[-1][0]).query)) == always | usual | asked


@pytest.mark.parametrize(
    ("first", "missing"),
    [
        (STARTING, None),
        (f"2026-11-28T09:00:05Z {line('a/manifests/1')}", "2026-11-28T09:00:05"),
    ],
)
def test_a_log_that_does_not_begin_with_the_start_has_lost_its_beginning(first, missing):
    with docker_with(f"{first}\n".encode(), b"more\n") as (client, _):
        assert cache_logs.log_of(client, CACHE).missing_until() == missing
