"""The ledger: on which day each image of a cache was last asked for, by the cache's access log.

The registry keeps no access times. Its log has a line for each request in Apache's combined format
(and another in its own, which is passed over); Docker puts its time in front. A request for a
manifest is a use, by tag or by digest, GET or HEAD; one for a blob is not, because several images
may have it.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from plan import foreign_json

# `repository:tag` or `repository@digest` -> day (UTC), as in 2026-11-24.
Days = Mapping[str, str]

# 304 is a use too: the client has the manifest, and asked whether it is still the one.
_REQUEST = re.compile(
    r'(?P<day>\d{4}-\d\d-\d\d)T\S+ \S+ - \S+ \[[^]"]*\] '
    r'"(?:GET|HEAD) (?P<path>[^ "?]+)(?:\?[^ "]*)? HTTP/[0-9.]+" (?:200|304) '
)
_MANIFEST = re.compile(r"/v2/([a-z0-9._/-]+)/manifests/([A-Za-z0-9_.:-]+)")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.?\d*Z")
_DAY = re.compile(r"\d{4}-\d\d-\d\d")


@dataclass(frozen=True, kw_only=True)
class Ledger:
    """Of one cache.

    Attributes:
        container: id of the container whose log was read last; empty before the first.
        seen: time of the last line that was read of it, as Docker writes it; empty if none was.
        days: when each image was last used.
    """

    container: str = ""
    seen: str = ""
    days: Days = field(default_factory=dict)


def noted(ledger: Ledger, container: str, log: Iterable[str]) -> Ledger:
    """The ledger with what a log tells; lines that were read before change nothing.

    Args:
        ledger: as it was.
        container: id of the container whose log it is.
        log: its lines, each with Docker's time in front.
    """
    days = dict(ledger.days)
    seen = ledger.seen if container == ledger.container else ""
    for line in log:
        time = line.partition(" ")[0]
        if _TIME.fullmatch(time):
            seen = max(seen, time)
        if (request := _REQUEST.match(line)) and (
            asked := _MANIFEST.fullmatch(unquote(request["path"]))
        ):
            name = name_of(*asked.groups())
            days[name] = max(days.get(name, ""), request["day"])
    return Ledger(container=container, seen=seen, days=days)


def name_of(repository: str, reference: str) -> str:
    """What an image is called in the ledger, by tag or by digest."""
    return f"{repository}{'@' if ':' in reference else ':'}{reference}"


def dump(ledgers: Mapping[str, Ledger]) -> str:
    """The ledgers of a stack's caches, by host, as text."""
    content = {
        host: {"container": one.container, "seen": one.seen, "days": one.days}
        for host, one in ledgers.items()
    }
    return json.dumps(content, indent=1, sort_keys=True) + "\n"


def parse(text: str) -> dict[str, Ledger]:
    """Read what `dump` wrote.

    Raises:
        ValueError: it is something else.
    """
    content = foreign_json.read(text)
    if not isinstance(content, dict) or not all(map(_is_ledger, content.values())):
        raise ValueError("no ledger of days")
    return {host: Ledger(**one) for host, one in content.items()}


def _is_ledger(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and value.keys() == {"container", "seen", "days"}
        and isinstance(value["container"], str)
        and isinstance(value["seen"], str)
        and (value["seen"] == "" or bool(_TIME.fullmatch(value["seen"])))
        and isinstance(value["days"], dict)
        and all(isinstance(day, str) and _DAY.fullmatch(day) for day in value["days"].values())
    )
