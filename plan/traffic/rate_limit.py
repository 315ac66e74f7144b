"""Docker Hub's limit on pulls: what is left of it, and whether that is enough.

Its answers to requests for manifests, also by HEAD, which costs nothing, have two headers:
`ratelimit-limit: 100;w=21600` and `ratelimit-remaining: 76;w=21600`, with the length of the window
in seconds. Accounts without a limit get none. It counts a pull for each image and platform.
Source: https://docs.docker.com/docker-hub/usage/pulls/
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

LIMIT, REMAINING = "ratelimit-limit", "ratelimit-remaining"
_VALUE = re.compile(r"(\d{1,9})(?:;w=(\d{1,9}))?")


@dataclass(frozen=True, kw_only=True)
class RateLimit:
    """What an upstream says to one account, or to one address.

    Attributes:
        limit: pulls within the window.
        remaining: how many of them are left now.
        seconds: length of the window; 0 if it is not named.
    """

    limit: int
    remaining: int
    seconds: int

    def __str__(self) -> str:
        window = f" in {_length(self.seconds)}" if self.seconds else ""
        return f"{self.remaining} of {self.limit} pulls{window} are left"

    def forecast(self, needed: int, now: datetime, *, has_login: bool) -> str:
        """Whether so many pulls are left, and what to do if they are not.

        Args:
            needed: pulls, one for each image.
            now: with its time zone.
            has_login: whether the limit is an account's.
        """
        pulls = "1 pull" if needed == 1 else f"{needed} pulls"
        if needed <= self.remaining:
            return f"needs {pulls}; {self}"
        end = now + timedelta(seconds=self.seconds)
        wait = f"wait (until {end:%H:%M} at the latest)" if self.seconds else "wait"
        account = "use an account with a higher limit" if has_login else "log in"
        return f"needs {pulls}, but only {self}: {account}, or {wait}"


def of_headers(headers: Mapping[str, str]) -> RateLimit | None:
    """The limit that an answer names; None if it names none.

    Args:
        headers: of the answer, by names in lower case.
    """
    limit = _VALUE.fullmatch(headers.get(LIMIT, "").strip())
    remaining = _VALUE.fullmatch(headers.get(REMAINING, "").strip())
    if not limit or not remaining:
        return None
    return RateLimit(
        limit=int(limit[1]), remaining=int(remaining[1]), seconds=int(remaining[2] or 0)
    )


def _length(seconds: int) -> str:
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds % size == 0:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"
