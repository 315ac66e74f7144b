"""What caches have got between two looks; tests/offline asks real ones."""

from ops.metrics import Pulled, difference
from ops.warm import Report, _readable


def pulled(size, since="09:00"):
    return Pulled(since=since, size=size)


def test_it_is_the_sum_over_the_caches():
    assert difference([pulled(100), pulled(7)], [pulled(150), pulled(7)]) == 50
    assert difference([], []) == 0


def test_where_a_cache_was_started_anew_nobody_knows():
    before = [pulled(100), pulled(7)]
    for size in (0, 200):
        assert difference(before, [pulled(150), pulled(size, since="10:00")]) is None


def report(upstream_bytes, unique_bytes):
    return Report(
        images=1,
        complete_before=0,
        upstream_bytes=upstream_bytes,
        unique_bytes=unique_bytes,
        seconds=1.0,
        failures=(),
    )


def test_the_ratio_is_told_where_it_is_known():
    assert report(3_000_000, 2_000_000).ratio == 1.5
    assert "from upstream: 3.0 MB, unique: 2.0 MB, ratio 1.50" in _readable(
        report(3_000_000, 2_000_000), None
    )
    assert report(0, 0).ratio is None
    assert "nothing was missing" in _readable(report(0, 0), None)


def test_what_is_not_known_is_said_and_no_number_made_up():
    unknown = report(None, 2_000_000)
    assert unknown.ratio is None
    assert "from upstream: not known, a cache was started anew meanwhile; unique: 2.0 MB" in (
        _readable(unknown, None)
    )
