"""How long to wait for a busy upstream, and when to stop.

A pull-through cache (distribution v3.1.2) doesn't pass on Retry-After. Of its upstream's statuses
it passes on 401, 403 and 429. It turns 5xx, and JSON that is not a registry's, into 500 with the
real status in the message; for a tag it turns all of them into 404.
"""

import re
from datetime import datetime, timezone

# Of all waits together, once for manifests and once for blobs.
TOTAL_SECONDS = 300.0
FIRST_SECONDS, LONGEST_SECONDS = 2.0, 60.0
_TEMPORARY = (429, 502, 503, 504)
_DATE = "%a, %d %b %Y %H:%M:%S GMT"
# Docker Hub counts pulls over hours, other registries over seconds.
_FOR_HOURS = re.compile(r"\bpull rate limit\b")
_IN_MESSAGE = re.compile(r"(?:unexpected HTTP status:|error parsing HTTP) (\d{3})")


def is_temporary(status: int, message: str) -> bool:
    """Whether to retry a request that failed with this status and message."""
    if status == 500 and (match := _IN_MESSAGE.search(message)):
        status = int(match[1])
    return status in _TEMPORARY


def lasts_for_hours(message: str) -> bool:
    """Whether the error is the limit on pulls, which no run can wait for."""
    return bool(_FOR_HOURS.search(message))


def asked_seconds(retry_after: str, now: datetime) -> float | None:
    """The delay in a Retry-After header (RFC 9110, section 10.2.3); None if it has none.

    Args:
        retry_after: seconds, or a date.
        now: with its time zone.
    """
    text = retry_after.strip()
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        until = datetime.strptime(text, _DATE).replace(tzinfo=timezone.utc)
    except ValueError:
        return None
    return max(0.0, (until - now).total_seconds())


def pause(tries: int, asked: float | None, left: float) -> float | None:
    """Seconds to wait before the next try; None if that would take too long.

    Args:
        tries: number of retries so far.
        asked: what the upstream asks for, if it does.
        left: seconds that are left for waiting.
    """
    least = asked or 0.0
    if left < 1 or least > left:
        return None
    # An upstream that asks for 0 seconds again and again is still busy.
    doubled = min(FIRST_SECONDS * 2.0 ** min(tries, 10), LONGEST_SECONDS)
    return min(max(least, doubled), left)
