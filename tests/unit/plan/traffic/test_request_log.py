"""Lines of a registry's log; tests/unit/ops/test_traffic.py has those of a real one."""

import pytest

from plan.traffic.request_log import BLOBS, MANIFESTS, Request, duration, requests
from tests.unit.plan.traffic.lines import line

DIGEST = f"sha256:{'a' * 64}"
LINE = line("library/hello/manifests/1?ns=docker.io")
REQUEST = Request(
    ended=1795857969.015701,
    seconds=0.0185,
    client="10.5.0.2",
    agent="containerd/v2.2.2",
    is_head=False,
    repository="library/hello",
    kind=MANIFESTS,
    reference="1",
    status=200,
    written=415,
)


def one(text):
    (request,) = requests([text])
    return request


@pytest.mark.parametrize("text", [LINE, f"2026-11-28T09:26:09.015799Z {LINE}"])
def test_a_line_of_a_request_is_read_with_and_without_dockers_timestamp(text):
    assert vars_of(one(text)) == vars_of(REQUEST)


def vars_of(request):
    return {name: getattr(request, name) for name in Request.__slots__} | {
        "ended": pytest.approx(request.ended, abs=1e-6)
    }


@pytest.mark.parametrize(
    ("old", "new", "field", "value"),
    [
        ("?ns=docker.io", "", "reference", "1"),
        ("manifests/1", f"blobs/{DIGEST}", "kind", BLOBS),
        ("manifests/1", f"manifests/{DIGEST.replace(':', '%3A')}", "reference", DIGEST),
        ("10.5.0.2:46314", "[fd00::1]:46314", "client", "fd00::1"),
        # What a proxy in front says of its client has no port.
        ("10.5.0.2:46314", "10.5.0.9", "client", "10.5.0.9"),
        ("10.5.0.2:46314", "fd00::17", "client", "fd00::17"),
        # As Go's client sends it after a redirect.
        ("remoteaddr=", 'referer="http://a/v2/" http.request.remoteaddr=', "client", "10.5.0.2"),
        ("/v2/library", "http://docker.io/v2/library", "repository", "library/hello"),
        ("?ns=docker.io", r"?x=\"&y=1", "reference", "1"),
        ("method=GET", "method=HEAD", "is_head", True),
        ("status=200", "status=404", "is_well", False),
        ("status=200", "status=304", "is_well", True),
        (".015701002Z", "Z", "ended", 1795857969.0),
        ("=18.5ms", '="210.8µs"', "seconds", pytest.approx(0.0002108)),
        (
            'completed"',
            'completed with error" err.code="manifest unknown"',
            "repository",
            REQUEST.repository,
        ),
    ],
)
def test_each_field_is_read(old, new, field, value):
    assert old in LINE
    assert getattr(one(LINE.replace(old, new)), field) == value


@pytest.mark.parametrize(
    "other",
    [
        "",
        "talos-cache: upstream registry-1.docker.io is back",
        LINE.replace("/v2/library/hello/manifests/1", "/v2/"),
        LINE.replace("manifests/1", "tags/list"),
        LINE.replace("method=GET", "method=PUT"),
        LINE.replace('msg="response completed"', 'msg="authorized request"'),
        LINE[: LINE.index("http.response.status")],
        '10.5.0.2 - - [28/Nov/2026:09:26:09 +0000] "GET /v2/a/manifests/1 HTTP/1.1" 200 415 "" "x"',
    ],
)
def test_any_other_line_is_none(other):
    assert list(requests([other])) == []


def test_a_client_can_not_write_fields_of_its_own():
    """Its user agent is logged in quotation marks, with a backslash before each in it."""
    faked = r'"x\" http.response.duration=9h http.response.status=200 http.response.written=999 y"'
    text = LINE.replace("useragent=containerd/v2.2.2", f"useragent={faked}")
    assert (one(text).written, one(text).seconds) == (415, 0.0185)
    host = r'"h\" http.request.method=GET http.request.remoteaddr=\"1.1.1.1:1\""'
    assert one(LINE.replace('"127.0.0.1:5000"', host)).client == "10.5.0.2"


def test_nodes_are_told_from_other_clients_by_what_they_call_themselves():
    assert one(LINE).is_from_node
    assert not one(LINE.replace("containerd/v2.2.2", "skopeo/1.9")).is_from_node
    assert not one(LINE.replace(" http.request.useragent=containerd/v2.2.2", "")).is_from_node
    quoted = LINE.replace("=containerd/v2.2.2", '="containerd/2.2.2 (linux; amd64)"')
    assert one(quoted).agent == "containerd/2.2.2 (linux; amd64)"


def test_what_a_client_got():
    assert one(LINE).size == 415
    assert one(LINE.replace("GET", "HEAD")).size == 0
    assert one(LINE.replace("status=200", "status=404")).size == 0, "an error is no content"
    assert one(LINE).started == pytest.approx(REQUEST.ended - 0.0185)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0s", 0), ("1m2.5s", 62.5), ("2h0m1s", 7201), ("700.623µs", 0.000700623), ("5ns", 5e-9)],
)
def test_a_duration_as_go_writes_it(text, seconds):
    assert duration(text) == pytest.approx(seconds)
