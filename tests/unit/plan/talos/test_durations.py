"""Durations as Go writes them."""

import pytest

from plan.talos.cluster import seconds


@pytest.mark.parametrize(
    ("duration", "expected"),
    [
        ("90s", 90),
        ("25m", 1500),
        ("168h", 604_800),
        ("1h30m", 5400),
        ("1.5h", 5400),
        ("2m0.5s", 120.5),
        ("1500ms", 1.5),
        ("5m30ms", 300.03),
        ("20us", 2e-5),
        ("7ns", 7e-9),
        ("1h1m1s1ms", 3661.001),
    ],
)
def test_a_duration_has_the_seconds_of_gos_parser(duration, expected):
    assert seconds(duration) == pytest.approx(expected)
