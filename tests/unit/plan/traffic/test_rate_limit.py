"""A limit on pulls, by the headers that Docker Hub documents; this machine does not reach it."""

from datetime import datetime, timedelta, timezone

import pytest

from plan.traffic.rate_limit import RateLimit, of_headers

LIMIT = RateLimit(limit=100, remaining=9, seconds=21600)
NOW = datetime(2026, 11, 28, 10, 40, tzinfo=timezone(timedelta(hours=1)))


@pytest.mark.parametrize(
    ("limit", "remaining", "expected"),
    [
        ("100;w=21600", "9;w=21600", LIMIT),
        (" 100;w=21600 ", "9;w=21600", LIMIT),
        ("100", "0", RateLimit(limit=100, remaining=0, seconds=0)),
        ("100;w=21600", "", None),
        ("", "9;w=21600", None),
        ("many", "9", None),
        ("100;w=21600", "-1;w=21600", None),
    ],
)
def test_what_the_headers_say(limit, remaining, expected):
    assert of_headers({"ratelimit-limit": limit, "ratelimit-remaining": remaining}) == expected


def test_an_account_without_a_limit_has_no_such_headers():
    assert of_headers({"docker-distribution-api-version": "registry/2.0"}) is None


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (21600, "9 of 100 pulls in 6 h are left"),
        (1800, "9 of 100 pulls in 30 min are left"),
        (45, "9 of 100 pulls in 45 s are left"),
        (0, "9 of 100 pulls are left"),
    ],
)
def test_what_is_left(seconds, text):
    assert str(RateLimit(limit=100, remaining=9, seconds=seconds)) == text


@pytest.mark.parametrize(
    ("needed", "has_login", "text"),
    [
        (9, False, "needs 9 pulls; 9 of 100 pulls in 6 h are left"),
        (1, True, "needs 1 pull; 9 of 100 pulls in 6 h are left"),
        (
            14,
            False,
            "needs 14 pulls, but only 9 of 100 pulls in 6 h are left: log in, or wait (until 16:40 "
            "at the latest)",
        ),
        (
            14,
            True,
            "needs 14 pulls, but only 9 of 100 pulls in 6 h are left: use an account with a higher "
            "limit, or wait (until 16:40 at the latest)",
        ),
    ],
)
def test_whether_it_is_enough(needed, has_login, text):
    assert LIMIT.forecast(needed, NOW, has_login=has_login) == text


def test_without_a_window_nobody_knows_until_when():
    limit = RateLimit(limit=100, remaining=0, seconds=0)
    assert limit.forecast(2, NOW, has_login=False).endswith("are left: log in, or wait")
