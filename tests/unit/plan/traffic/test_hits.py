"""Which requests were hits; tests/unit/ops/test_traffic.py asks a real cache."""

import pytest

from plan.traffic import hits
from plan.traffic.hits import FAILED, HIT, MISS, UNKNOWN, Judge, Served, Stored
from plan.traffic.request_log import BLOBS, MANIFESTS, Request
from plan.traffic.stored import stored
from tests.unit.plan.images.shapes import digest_of, image
from tests.unit.plan.images.volumes import Disk

A, B = f"sha256:{'a' * 64}", f"sha256:{'b' * 64}"
# When the link of A was written; files have whole seconds.
WRITTEN = 100


def request(started, ended, reference=A, kind=BLOBS, *, is_head=False, status=200):
    return Request(
        ended=ended,
        seconds=ended - started,
        client="10.5.0.2",
        agent="containerd/v2.2.2",
        is_head=is_head,
        repository="app",
        kind=kind,
        reference=reference,
        status=status,
        written=1,
    )


def results(*requests, blobs=None, manifests=None, tags=None):
    volume = Stored(
        blobs={("app", A): WRITTEN} if blobs is None else blobs,
        manifests=manifests or {},
        tags=tags or {},
    )
    served = hits.served(sorted(requests, key=lambda one: one.ended), Judge(volume))
    by_request = {id(one.request): one.result for one in served}
    return [by_request[id(one)] for one in requests]


def test_what_fetches_it_is_a_miss_and_later_ones_are_hits():
    assert results(request(99.5, 100.2), request(100.3, 100.4), request(150, 151)) == [
        MISS,
        HIT,
        HIT,
    ]


def test_whoever_asks_while_it_is_being_fetched_misses_too():
    assert results(request(99.5, 100.2), request(99.9, 100.5), request(100.3, 100.6)) == [
        MISS,
        MISS,
        HIT,
    ]


def test_the_first_to_begin_stores_it_even_if_others_end_before():
    """As seen on a real registry: what came meanwhile went to the upstream, and was not stored."""
    slow, fast = request(96, 100.3), [request(97, 97.5), request(98, 99.9), request(100, 100.2)]
    assert results(slow, *fast, request(100.4, 100.5)) == [MISS, MISS, MISS, MISS, HIT]
    assert results(request(90, 95), slow) == [UNKNOWN, MISS], "it was there before, and removed"


def test_all_that_comes_after_an_unsettled_request_waits_but_not_for_ever(monkeypatch):
    judge, fed = Judge(Stored(blobs={("app", A): WRITTEN})), []
    asked = [request(98, 99), *(request(start, start + 1, B) for start in range(99, 110))]
    asked.append(request(1000, 1001))

    def feed():
        for one in asked:
            fed.append(one)
            yield one

    told = hits.served(feed(), judge)
    assert next(told).request is asked[0]
    assert fed[-1].ended == WRITTEN + hits.TICK_SECONDS + hits.LAG_SECONDS
    assert [one.request for one in told] == asked[1:]
    fed.clear()
    monkeypatch.setattr(hits, "WAITING", 1)
    next(hits.served(feed(), Judge(Stored(blobs={("app", A): WRITTEN}))))
    assert len(fed) == 2
    fed.clear()
    later = Stored(blobs={("app", A): WRITTEN + hits.LONGEST_SECONDS})
    next(hits.served(feed(), Judge(later)))
    assert len(fed) == 1, "what is fetched so much later was fetched again"


def test_right_after_a_request_a_missing_link_means_a_miss():
    judge = Judge(Stored(blobs={("app", B): WRITTEN}))
    asked = request(99.5, 99.6), request(99.5, 99.6, B), request(99.5, 100.1, B)
    for one in asked:
        judge.note(one)
    fresh = [judge.served(one, is_fresh=True).result for one in asked]
    assert fresh == [MISS, MISS, MISS]
    assert judge.served(request(102, 103, B), is_fresh=True).result == HIT


def test_without_the_miss_in_the_log_all_later_ones_are_hits():
    assert results(request(101, 101.1)) == [HIT]


def test_what_was_answered_before_the_link_was_written_is_not_known():
    """It was removed, and fetched again later."""
    assert results(request(50, 51), request(99.8, 100.1)) == [UNKNOWN, MISS]


def test_what_is_not_there_any_more_is_not_known():
    assert results(request(150, 151), blobs={}) == [UNKNOWN]


def test_a_refusal_is_none_of_them():
    assert results(request(150, 151, status=404)) == [FAILED]


@pytest.mark.parametrize("kind", [BLOBS, MANIFESTS])
def test_a_request_for_a_header_fetches_all_of_it(kind):
    asked = request(99.9, 100.1, kind=kind, is_head=True), request(100.2, 100.4, kind=kind)
    assert results(*asked, manifests={("app", A): WRITTEN}) == [MISS, HIT]


def test_what_a_miss_has_fetched():
    blob, manifest = request(99.9, 100.1, is_head=True), request(99.9, 100.1, kind=MANIFESTS)
    for one, result, fetched in ((blob, MISS, 1), (blob, HIT, 0), (manifest, MISS, 0)):
        assert Served(request=one, digest=A, result=result).fetched == fetched


def test_what_is_stored_later_is_learnt():
    judge = Judge(Stored())
    assert judge.served(request(99.9, 100.1)).result == UNKNOWN
    judge.learn(Stored(blobs={("app", A): WRITTEN}))
    judge.note(request(99.9, 100.2))
    assert judge.served(request(99.9, 100.2)).result == MISS
    judge.learn(Stored(manifests={("app", B): WRITTEN}, tags={("app", "v1"): (B,)}))
    assert judge.served(request(101, 102)).result == HIT
    assert judge.served(request(101, 102, "v1", MANIFESTS)).digest == B


@pytest.mark.parametrize(
    ("tags", "asked", "expected"),
    [
        ((A,), (99.9, 100.1), (A, MISS)),
        ((A,), (150, 151), (A, HIT)),
        # It has moved meanwhile: which of the two it was is not known, but both were there.
        ((B, A), (300, 301), ("", HIT)),
        ((B, A), (150, 151), (A, HIT)),
        ((B, A), (199.9, 200.1), (B, MISS)),
        ((B,), (150, 151), (B, UNKNOWN)),
        ((B, A), (50, 51), ("", UNKNOWN)),
        ((), (150, 151), ("", UNKNOWN)),
    ],
)
def test_a_tag_is_that_of_the_manifest_it_pointed_to(tags, asked, expected):
    volume = Stored(
        manifests={("app", A): WRITTEN, ("app", B): 200}, tags={("app", "v1"): tags} if tags else {}
    )
    [one] = hits.served([request(*asked, "v1", MANIFESTS)], Judge(volume))
    assert (one.digest, one.result) == expected


def test_the_links_of_a_volume_say_when_each_part_was_stored():
    old, new = image(b"old"), image(b"new")
    disk = Disk().repository("app", [old], [b"old"], {"v1": old}, day="2026-01-01")
    disk.repository("app", [new], [b"new"], {"v1": new}, day="2026-01-02")
    disk.file("repositories/app/_uploads/1/data")
    found = stored(disk.files)
    assert found.tags == {("app", "v1"): (digest_of(new), digest_of(old))}
    assert found.manifests.keys() == {("app", digest_of(old)), ("app", digest_of(new))}
    assert found.blobs["app", digest_of(b"new")] - found.blobs["app", digest_of(b"old")] == 86400
