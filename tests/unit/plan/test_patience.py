"""Which errors are worth a retry, and how long to wait for it."""

from datetime import datetime, timezone

import pytest

from plan import patience

NOW = datetime(2026, 11, 27, 8, 0, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (429, "too many requests"),
        (502, ""),
        (503, ""),
        (504, ""),
        (500, "unknown error: received unexpected HTTP status: 503 Service Unavailable"),
        (500, "unknown error: error parsing HTTP 429 response body: unexpected end of JSON input"),
    ],
)
def test_a_busy_upstream_is_retried(status, message):
    assert patience.is_temporary(status, message)


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (0, "the connection was refused"),
        (401, "authentication required"),
        (403, "denied"),
        (404, "manifest unknown"),
        (500, "unknown error: dial tcp: lookup nowhere"),
        (500, "unknown error: received unexpected HTTP status: 500 Internal Server Error"),
        (500, "unknown error: error parsing HTTP 404 response body: unexpected end of JSON input"),
    ],
)
def test_a_lasting_error_is_not_retried(status, message):
    assert not patience.is_temporary(status, message)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7),
        (" 120 ", 120),
        ("0", 0),
        ("Fri, 27 Nov 2026 08:01:30 GMT", 90),
        ("Fri, 27 Nov 2026 07:00:00 GMT", 0),
        ("", None),
        ("soon", None),
        ("Fri, 27 Nov 2026 09:01:30 +0100", None),
        ("-5", None),
        ("1.5", None),
        ("²", None),
        ("Fri, 99 Nov 2026 08:00:00 GMT", None),
    ],
)
def test_a_retry_after_is_seconds_or_a_date(header, seconds):
    assert patience.asked_seconds(header, NOW) == seconds


def test_the_delay_that_an_upstream_asks_for_is_kept_or_not_waited_for():
    assert patience.pause(5, 70.0, 300.0) == 70
    assert patience.pause(0, 301.0, 300.0) is None


@pytest.mark.parametrize("asked", [None, 0.0])
def test_otherwise_every_pause_is_twice_the_last_until_the_limit(asked):
    left, pauses = patience.TOTAL_SECONDS, []
    while (seconds := patience.pause(len(pauses), asked, left)) is not None:
        pauses.append(seconds)
        left -= seconds
    assert pauses[:6] == [2, 4, 8, 16, 32, 60]
    assert sum(pauses) == patience.TOTAL_SECONDS
    assert max(pauses) == patience.LONGEST_SECONDS


@pytest.mark.parametrize(
    ("message", "hours"),
    [
        # Docker Hub, today and before.
        (
            "429 You have reached your unauthenticated pull rate limit. https://www.docker.com/x",
            True,
        ),
        ("You have reached your pull rate limit. You may increase the limit by upgrading", True),
        ("429 too many requests", False),
        ("429 Rate exceeded", False),
        ("retry-after: 612µs, allowed: 44000/minute", False),
    ],
)
def test_a_limit_on_pulls_over_hours_is_known_by_its_message(message, hours):
    assert patience.lasts_for_hours(message) is hours
