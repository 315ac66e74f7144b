"""Days of last use, from log lines of distribution v3.1.2 as Docker returns them."""

import pytest

from plan.images import last_used
from plan.images.last_used import Ledger, name_of, noted

DIGEST = "sha256:" + "a" * 64
LINE = (
    '{time} 172.17.0.1 - - [24/Nov/2026:10:32:25 +0000] "{method} /v2/{path} HTTP/1.1" {status} 0 '
    '"" "containerd/2.2.2+unknown"'
)
# The registry's own line about the same request.
OWN = (
    '2026-11-24T10:37:21.747581830Z time="2026-11-24T10:37:21.74743704Z" level=info '
    'msg="response completed" go.version=go1.26.8 http.request.host="172.17.0.1:5000" '
    'http.request.method=HEAD http.request.uri="/v2/siderolabs/kubelet/manifests/v1.36.0" '
    "http.response.status=200 vars.name=siderolabs/kubelet vars.reference=v1.36.0 version=3.1.2"
)


def line(path, *, time="2026-11-24T10:32:25.473427786Z", method="GET", status=200):
    return LINE.format(time=time, method=method, path=path, status=status)


def uses(*lines):
    return noted(Ledger(), "c1", lines).days


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("status", [200, 304])
@pytest.mark.parametrize("query", ["", "?ns=docker.io"])
def test_a_request_for_a_manifest_is_a_use(method, status, query):
    asked = line(f"library/busybox/manifests/1.36{query}", method=method, status=status)
    assert uses(asked) == {"library/busybox:1.36": "2026-11-24"}
    asked = line(f"a/b/manifests/{DIGEST}{query}", method=method, status=status)
    assert uses(asked) == {f"a/b@{DIGEST}": "2026-11-24"}


def test_a_digest_may_be_written_with_an_escaped_colon():
    asked = line(f"a/b/manifests/{DIGEST}".replace(":", "%3A"))
    assert uses(asked) == {f"a/b@{DIGEST}": "2026-11-24"}


@pytest.mark.parametrize(
    "other",
    [
        line(f"library/busybox/blobs/{DIGEST}"),
        line("library/busybox/manifests/1.36", status=404),
        line("library/busybox/manifests/1.36", status=500),
        line("library/busybox/manifests/1.36", method="DELETE"),
        line("library/busybox/tags/list"),
        line(""),
        OWN,
        line("library/busybox/manifests/1.36").partition(" ")[2],
        # A user agent that looks like a request.
        line("") + r" \"GET /v2/a/manifests/b HTTP/1.1\" 200 0",
        "",
    ],
)
def test_nothing_else_is(other):
    assert uses(other) == {}


def test_the_last_day_counts_whatever_the_order():
    times = [f"{day}T10:00:00Z" for day in ("2026-11-24", "2027-01-01", "2026-12-31")]
    assert uses(*(line("a/manifests/1", time=time) for time in times)) == {"a:1": "2027-01-01"}


def test_old_days_stay_and_lines_read_twice_change_nothing():
    before = Ledger(container="c0", seen="", days={"a:1": "2026-11-20", "b:1": "2026-12-01"})
    log = [line("a/manifests/1"), line("b/manifests/1"), OWN]
    once = noted(before, "c1", log)
    assert once.days == {"a:1": "2026-11-24", "b:1": "2026-12-01"}
    assert noted(once, "c1", log) == once
    assert before.days["a:1"] == "2026-11-20"


def test_the_last_line_read_is_kept_per_container():
    first = noted(Ledger(), "c1", ["2026-11-24T10:00:01.5Z x", "2026-11-24T10:00:00Z x", "no time"])
    assert (first.container, first.seen) == ("c1", "2026-11-24T10:00:01.5Z")
    assert noted(first, "c1", []).seen == first.seen
    assert noted(first, "c2", []).seen == ""


def test_an_image_has_one_name_by_tag_and_one_by_digest():
    assert name_of("a/b", "v1") == "a/b:v1"
    assert name_of("a/b", DIGEST) == f"a/b@{DIGEST}"


def test_a_written_ledger_can_be_read():
    one = Ledger(container="c1", seen="2026-11-24T10:00:01.5Z", days={"a:1": "2026-11-24"})
    ledgers = {"docker.io": one, "quay.io": Ledger()}
    assert last_used.parse(last_used.dump(ledgers)) == ledgers


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"docker.io": []}',
        '{"docker.io": {}}',
        '{"docker.io": {"container": 1, "seen": "", "days": {}}}',
        '{"docker.io": {"container": "", "seen": 1, "days": {}}}',
        '{"docker.io": {"container": "", "seen": "yesterday", "days": {}}}',
        '{"docker.io": {"container": "", "seen": "", "days": []}}',
        '{"docker.io": {"container": "", "seen": "", "days": {"a:1": 7}}}',
        '{"docker.io": {"container": "", "seen": "", "days": {"a:1": "Monday"}}}',
    ],
)
def test_what_is_not_a_ledger_is_refused(text):
    with pytest.raises(ValueError, match=r"ledger|Expecting"):
        last_used.parse(text)
