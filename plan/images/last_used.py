"""The ledger: the day on which each image of a cache was last requested, by the cache's access log.

The registry keeps no access times, but it logs requests. A request for a manifest is a use, by tag
or by digest, GET or HEAD; one for a blob is not, because several images may share it.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from plan import foreign_json
from plan.traffic.request_log import MANIFESTS, request_in

# `repository:tag` or `repository@digest` -> day (UTC), as in 2026-11-24.
Days = Mapping[str, str]

_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.?\d*Z")
_DAY = re.compile(r"\d{4}-\d\d-\d\d")


@dataclass(frozen=True, kw_only=True)
class Ledger:
    """The ledger of one cache.

    Attributes:
        container: ID of the container whose log was read last; empty before the first time.
        seen: timestamp of the last line read, as Docker writes it; empty if there was none.
        days: when each image was last used.
    """

    container: str = ""
    seen: str = ""
    days: Days = field(default_factory=dict)


def noted(ledger: Ledger, container: str, log: Iterable[str]) -> Ledger:
    """The ledger updated from a log; lines that were read before change nothing.

    Args:
        ledger: the old one.
        container: ID of the container that wrote the log.
        log: its lines, each with Docker's timestamp in front.
    """
    days = dict(ledger.days)
    seen = ledger.seen if container == ledger.container else ""
    for line in log:
        time = line.partition(" ")[0]
        if _TIME.fullmatch(time):
            seen = max(seen, time)
        request = request_in(line)
        # An answer may also be that the client has the manifest already: that is a use too.
        if request and request.kind == MANIFESTS and request.is_well:
            name = name_of(request.repository, request.reference)
            days[name] = max(days.get(name, ""), request.day)
    return Ledger(container=container, seen=seen, days=days)


def name_of(repository: str, reference: str) -> str:
    """The name of an image in the ledger, by tag or by digest."""
    return f"{repository}{'@' if ':' in reference else ':'}{reference}"


def dump(ledgers: Mapping[str, Ledger]) -> str:
    """The ledgers of a stack's caches as text; they are keyed by host."""
    content = {
        host: {"container": ledger.container, "seen": ledger.seen, "days": ledger.days}
        for host, ledger in ledgers.items()
    }
    return json.dumps(content, indent=1, sort_keys=True) + "\n"


def parse(text: str) -> dict[str, Ledger]:
    """Read what `dump` wrote.

    Raises:
        ValueError: it is something else.
    """
    content = foreign_json.read(text)
    if not isinstance(content, dict) or not all(map(_is_ledger, content.values())):
        raise ValueError("not a ledger")
    return {host: Ledger(**fields) for host, fields in content.items()}


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
