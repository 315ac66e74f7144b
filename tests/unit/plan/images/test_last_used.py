"""Days of last use, from log lines of distribution v3.1.2 as Docker returns them."""

import pytest

from plan.images import last_used
from plan.images.last_used import Ledger, name_of, noted
from tests.unit.plan.traffic import lines

DIGEST = "sha256:" + "a" * 64
# Apache's line about the same request, which says less.
APACHE = (
    "2026-11-24T10:32:25.473427786Z 172.17.0.1 - - [24/Nov/2026:10:32:25 +0000] "
    '"GET /v2/library/busybox/manifests/1.36 HTTP/1.1" 200 0 "" "containerd/2.2.2+unknown"'
)


def line(path, *, time="2026-11-24T10:32:25.473427786Z", **more):
    """With Docker's timestamp in front."""
    return f"{time} {lines.line(path, time=time, **more)}"


def uses(*log):
    return noted(Ledger(), "c1", log).days


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
        APACHE,
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
    log = [line("a/manifests/1"), line("b/manifests/1"), APACHE]
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
