"""The status of caches as a table, as one card each on a narrow terminal, as Markdown, as JSON."""

import json
import textwrap
from collections.abc import Sequence
from datetime import datetime, timezone

from plan import sizes
from plan.traffic.counters import Count, Counters
from plan.traffic.status import CacheStatus, saved

COLUMNS = (
    "cache",
    "health",
    "mode",
    "images",
    "held",
    "room left",
    "requests",
    "hits",
    "served",
    "fetched",
    "saved",
    "last pull",
)
# Columns of words; those of numbers are aligned to the right.
_WORDS = ("cache", "health", "mode", "last pull")
_NONE = "-"
_GAP = "  "


def as_text(rows: Sequence[CacheStatus], now: float, width: int) -> str:
    """For people.

    Args:
        rows: one for each cache.
        now: in seconds since 1970.
        width: of the terminal, in characters.
    """
    cells = [_cells(row, now) for row in rows]
    table = _table([*cells, _total(rows)] if len(rows) > 1 else cells)
    fits = max(map(len, table)) <= width
    notes = [*_notes(rows, now), *_clusters(rows, now)]
    wrapped = (
        line for note in notes for line in textwrap.wrap(note, width, break_on_hyphens=False)
    )
    return "\n".join([*(table if fits else _cards(cells)), *wrapped])


def as_markdown(rows: Sequence[CacheStatus], now: float) -> str:
    """A table for the summary of a job in CI."""
    cells = [_cells(row, now) for row in rows]
    lines = [
        f"| {' | '.join(COLUMNS)} |",
        f"| {' | '.join('---' if name in _WORDS else '---:' for name in COLUMNS)} |",
        *(f"| {' | '.join(row[name] for name in COLUMNS)} |" for row in [*cells, _total(rows)]),
    ]
    notes = [*_notes(rows, now), *_clusters(rows, now)]
    return "\n".join([*lines, *(f"\n{note}" for note in notes)])


def as_lines(rows: Sequence[CacheStatus]) -> list[str]:
    """One line for each cache, for a log; without what changes all the time by itself."""
    return [
        ", ".join(
            f"{name} {text}" if name not in ("cache", "health", "mode") else text
            for name, text in _cells(row, 0).items()
            if text != _NONE and name not in ("room left", "last pull")
        )
        for row in rows
    ]


def as_json(rows: Sequence[CacheStatus]) -> str:
    """One JSON object."""
    return json.dumps({"caches": [_object(row) for row in rows]}, indent=2)


def _cells(row: CacheStatus, now: float) -> dict[str, str]:
    held, counted = row.held, row.counters
    return {
        "cache": row.host,
        "health": row.health,
        "mode": row.mode or _NONE,
        "images": str(held.images) if held else _NONE,
        "held": sizes.amount(held.size) if held else _NONE,
        "room left": sizes.amount(held.room) if held else _NONE,
        **_traffic([counted] if counted else []),
        "last pull": ago(row.last_pull, now),
    }


def _traffic(counted: Sequence[Counters]) -> dict[str, str]:
    if not counted:
        return dict.fromkeys(("requests", "hits", "served", "fetched", "saved"), _NONE)
    counts = [count for one in counted for count in (one.manifests, one.blobs)]
    requests, hits = (sum(values) for values in zip(*map(_answered, counts), strict=True))
    served, fetched = (sum(one.served for one in counted), sum(one.fetched for one in counted))
    share = saved(fetched, served)
    return {
        "requests": str(requests),
        "hits": str(hits),
        "served": sizes.amount(served),
        "fetched": sizes.amount(fetched),
        "saved": _NONE if share is None else f"{share:.0%}",
    }


def _answered(count: Count) -> tuple[int, int]:
    return count.requests, count.hits


def _total(rows: Sequence[CacheStatus]) -> dict[str, str]:
    held = [row.held for row in rows if row.held]
    return {
        **dict.fromkeys(COLUMNS, ""),
        "cache": "all",
        "images": str(sum(one.images for one in held)),
        "held": sizes.amount(sum(one.size for one in held)),
        **_traffic([row.counters for row in rows if row.counters]),
    }


def _table(cells: Sequence[dict[str, str]]) -> list[str]:
    widths = {name: max(len(name), *(len(row[name]) for row in cells)) for name in COLUMNS}
    rows = [{name: name for name in COLUMNS}, *cells]
    return [
        _GAP.join(_aligned(row, name, widths[name]) for name in COLUMNS).rstrip() for row in rows
    ]


def _aligned(row: dict[str, str], name: str, width: int) -> str:
    return f"{row[name]:<{width}}" if name in _WORDS else f"{row[name]:>{width}}"


def _cards(cells: Sequence[dict[str, str]]) -> list[str]:
    lines = []
    for row in cells:
        lines.append(row["cache"])
        lines += [f"  {name:<9}  {text}" for name, text in row.items() if name != "cache"]
    return lines


def _notes(rows: Sequence[CacheStatus], now: float) -> list[str]:
    """What the table has no room for: since when an upstream is away, and why."""
    return [
        f"{row.host}: {row.inside.why}, for {_for(row.inside.since, now)}; it serves what it holds"
        for row in rows
        if row.inside and row.inside.since is not None
    ]


def _clusters(rows: Sequence[CacheStatus], now: float) -> list[str]:
    """Which clusters point at the caches, and who pulled last."""
    names = sorted({name for row in rows for name in row.clusters})
    lines = []
    for name in names:
        hosts = [row.host for row in rows if name in row.clusters]
        lines.append(f"cluster {name} pulls through the caches of {', '.join(hosts)}")
    pullers = sorted({who for row in rows for who in row.pulls})
    for who in pullers:
        last = max((row.pulls[who], row.host) for row in rows if who in row.pulls)
        lines.append(f"{who} last pulled {ago(last[0], now)}, from the cache of {last[1]}")
    return lines


def ago(time: float | None, now: float) -> str:
    """How long ago something was, for people."""
    return _NONE if time is None else f"{_for(time, now)} ago"


def _for(time: float, now: float) -> str:
    """How long something has been so, for people."""
    seconds = max(0, int(now - time))
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def _object(row: CacheStatus) -> dict[str, object]:
    held, counted, inside = row.held, row.counters, row.inside
    return {
        "upstream": row.host,
        "container": row.name or None,
        "health": row.health,
        "mode": row.mode or None,
        "awaySince": _moment(inside.since) if inside else None,
        "trouble": (inside.why or None) if inside else None,
        "images": held.images if held else None,
        "heldBytes": held.size if held else None,
        "roomBytes": held.room if held else None,
        "countingSince": _moment(float(counted.since)) if counted else None,
        "manifests": _count(counted.manifests) if counted else None,
        "blobs": _count(counted.blobs) if counted else None,
        "savedShare": saved(counted.fetched, counted.served) if counted else None,
        "clusters": list(row.clusters),
        "lastPulls": {who: _moment(time) for who, time in sorted(row.pulls.items())},
    }


def _count(count: Count) -> dict[str, int]:
    return {
        "requests": count.requests,
        "hits": count.hits,
        "misses": count.misses,
        "servedBytes": count.served,
        "fetchedBytes": count.fetched,
    }


def _moment(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    return f"{datetime.fromtimestamp(seconds, timezone.utc):%Y-%m-%dT%H:%M:%SZ}"
