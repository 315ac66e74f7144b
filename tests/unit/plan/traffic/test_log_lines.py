"""Requests as lines, and which of them are shown."""

import json
from datetime import datetime, timedelta, timezone

import pytest

from plan.settings.stack import parse
from plan.traffic.hits import HIT, MISS, Served
from plan.traffic.log_lines import Filter, Line, rotated_away, since
from plan.traffic.nodes import nodes_of
from plan.traffic.request_log import request_in
from tests.unit.plan.traffic.lines import line

DIGEST = f"sha256:{'ab' * 32}"
CEST = timezone(timedelta(hours=2))


def shown(path, *, result=HIT, node="", **more):
    request = request_in(line(path, **more))
    by_tag = ":" not in request.reference
    served = Served(request=request, digest=DIGEST if by_tag else request.reference, result=result)
    return Line(host="docker.io", repository="library/hello", node=node, served=served)


@pytest.mark.parametrize(
    ("one", "text"),
    [
        (
            shown("library/hello/manifests/1", result=MISS, node="dev-worker-1"),
            "2026-11-28 11:26:09.015  miss        415 B       18 ms  dev-worker-1     "
            "docker.io/library/hello:1 sha256:abababababab",
        ),
        (
            shown(f"library/hello/blobs/{DIGEST}"),
            "2026-11-28 11:26:09.015  hit         415 B       18 ms  10.5.0.2         "
            "docker.io/library/hello@sha256:abababababab blob",
        ),
        (
            shown(f"library/hello/manifests/{DIGEST}", status=404),
            "2026-11-28 11:26:09.015  hit      HTTP 404       18 ms  10.5.0.2         "
            "docker.io/library/hello@sha256:abababababab",
        ),
    ],
)
def test_a_line_for_people(one, text):
    assert one.as_text(CEST) == text


def test_a_line_of_json():
    read = json.loads(shown("library/hello/manifests/1", node="dev-worker-1").as_json())
    assert read == {
        "time": "2026-11-28T09:26:09.015Z",
        "upstream": "docker.io",
        "repository": "library/hello",
        "kind": "manifest",
        "tag": "1",
        "digest": DIGEST,
        "method": "GET",
        "result": "hit",
        "status": 200,
        "bytes": 415,
        "fetchedBytes": None,
        "ms": 18.5,
        "client": "10.5.0.2",
        "node": "dev-worker-1",
    }


@pytest.mark.parametrize(
    ("wanted", "result", "expected"),
    [
        (Filter(), HIT, True),
        (Filter(only_misses=True), HIT, False),
        (Filter(only_misses=True), MISS, True),
        (Filter(client="10.5.0.2"), HIT, True),
        (Filter(client="10.5.0.3"), HIT, False),
    ],
)
def test_what_is_shown(wanted, result, expected):
    assert wanted.shows(shown("library/hello/manifests/1", result=result).served) is expected


NOW = datetime(2026, 11, 28, 12, tzinfo=timezone.utc).timestamp()


@pytest.mark.parametrize(
    ("text", "ago"),
    [
        ("90s", 90),
        ("10m", 600),
        ("2h", 7200),
        ("1d", 86400),
        ("2026-11-28T11:59:00Z", 60),
        ("2026-11-28T13:59:00+02:00", 60),
    ],
)
def test_a_time_may_be_how_long_ago_or_exact(text, ago):
    assert since(text, NOW) == NOW - ago


def test_without_a_zone_it_is_this_machines():
    here = datetime(2026, 11, 28, 9, 30).astimezone()
    assert since("2026-11-28T09:30", NOW) == here.timestamp()


@pytest.mark.parametrize("text", ["yesterday", "10", "-5m", "5 m", "2026-13-01", "1e3s"])
def test_any_other_time_is_refused_with_what_to_write(text):
    with pytest.raises(ValueError, match="write 10m, 2h, 1d, or a time such as"):
        since(text, NOW)


STARTING = '2026-11-28T09:00:01.5Z time="2026-11-28T09:00:01.4Z" level=info msg="listening on"'
CREATED = datetime(2026, 11, 28, 9, tzinfo=timezone.utc).timestamp()
APACHE = (
    "2026-11-28T09:00:01Z 127.0.0.1 - - [28/Nov/2026:09:00:01 +0000] "
    '"GET /v2/ HTTP/1.1" 200 2 "" "x"'
)


@pytest.mark.parametrize(
    ("first", "missing"),
    [
        (STARTING, None),
        ("2026-11-28T09:00:01Z talos-cache: upstream x is back", None),
        ("", None),
        (f"2026-11-28T09:00:01Z {line('a/manifests/1')}", "2026-11-28T09:00:01"),
        (APACHE, "2026-11-28T09:00:01"),
        (STARTING.replace("T09:00:01.5Z", "T09:30:00Z"), "2026-11-28T09:30:00"),
    ],
)
def test_a_log_whose_beginning_docker_has_removed(first, missing):
    """A registry first says that it starts, as soon as its container was created."""
    assert rotated_away(first, CREATED) == missing


def test_nodes_are_known_by_address_and_by_name():
    nodes = nodes_of(
        parse(
            {
                "cluster": [
                    {"name": "dev", "workers": 1, "cidr": "10.6.0.0/24", "provisioner": "qemu"},
                    {"name": "box", "workers": 1, "cidr": "10.7.0.0/24"},
                ]
            }
        )
    )
    assert nodes.address_of("dev-worker-1") == nodes.address_of("10.6.0.3") == "10.6.0.3"
    assert nodes.address_of("dev-worker-2") is None
    assert nodes.address_of("172.17.0.1") == "172.17.0.1", "as a cache may see a node on Docker"
    assert nodes.name_of("10.6.0.2") == "dev-controlplane-1"
    assert nodes.name_of("172.17.0.1") == "a node on Docker (172.17.0.1)"
    assert nodes.hidden == {"box-controlplane-1", "box-worker-1"}
    assert nodes_of(parse({})).name_of("172.17.0.1") == "172.17.0.1"
