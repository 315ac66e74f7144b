"""How long to wait for an upstream that is busy, and when to give up.

A pull-through cache (distribution v3.1.2) passes on no Retry-After. Of its upstream's statuses it
passes on 401, 403 and 429, and makes 500 of 5xx and of JSON that is not a registry's, with the real
one in words; by tag it makes 404 of all.
"""

import re
from datetime import datetime, timezone

# Of all waits together, for images' manifests and for blobs each.
TOTAL_SECONDS = 300.0
FIRST_SECONDS, LONGEST_SECONDS = 2.0, 60.0
_TEMPORARY = (429, 502, 503, 504)
_DATE = "%a, %d %b %Y %H:%M:%S GMT"
# Docker Hub's, which counts pulls in some hours; limits of other registries are on some seconds.
_FOR_HOURS = re.compile(r"\bpull rate limit\b")
_IN_WORDS = re.compile(r"(?:unexpected HTTP status:|error parsing HTTP) (\d{3})")


def is_temporary(status: int, words: str) -> bool:
    """Whether it is worth to ask again for what was refused with this status, in these words."""
    if status == 500 and (match := _IN_WORDS.search(words)):
        status = int(match[1])
    return status in _TEMPORARY


def lasts_for_hours(words: str) -> bool:
    """Whether a refusal says that it is the limit on pulls, which no run can wait for."""
    return bool(_FOR_HOURS.search(words))


def asked_seconds(retry_after: str, now: datetime) -> float | None:
    """What a header Retry-After asks for (RFC 9110, section 10.2.3); None where it says nothing.

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
    """Seconds to wait before something is tried again; None where that would take too long.

    Args:
        tries: how often it was tried again already.
        asked: what the upstream asks for; None where it does not say.
        left: seconds that may be waited still.
    """
    wanted = asked or 0.0
    if left < 1 or wanted > left:
        return None
    # An upstream that says "at once" time and again is busy all the same.
    doubled = min(FIRST_SECONDS * 2.0 ** min(tries, 10), LONGEST_SECONDS)
    return min(max(wanted, doubled), left)
