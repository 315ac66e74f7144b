"""`list`: the images that the caches hold. It reads their volumes only."""

import argparse
import json
import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import Any

from host import console
from ops.commands import held_images, image_selection
from ops.commands.arguments import add_json, chosen_caches
from ops.docker import api
from ops.errors import OpsError
from ops.stack import stack_files
from plan import sizes
from plan.images import inventory
from plan.images.inventory import Held
from plan.images.reference import Platform, parse_platform
from plan.traffic import log_lines

AGE = "10m, 2h, 30d, or a day such as 2026-11-28 (UTC)"
_DAY = re.compile(r"\d{4}-\d\d-\d\d")
ORDERS: Mapping[str, Callable[[Held], Any]] = {
    "name": lambda row: row.image,
    "size": lambda row: -row.size,
    "used": lambda row: row.last_used,
    "fetched": lambda row: row.fetched,
}


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """The arguments of the command line.

    Attributes:
        upstreams: whose caches; empty for all.
        platform: as the user writes it, "linux/amd64".
        larger: size, as the user writes it; empty for all sizes.
        unused: age or day, as the user writes it; empty for all.
        fetched_before: the same.
        incomplete: show only images that are not complete.
        order: a key of ORDERS.
    """

    stack: str
    upstreams: Sequence[str]
    platform: str
    larger: str
    unused: str
    fetched_before: str
    incomplete: bool
    order: str
    as_json: bool


def add_arguments(command: argparse.ArgumentParser) -> None:
    """The options of the command."""
    command.add_argument("upstreams", nargs="*", metavar="UPSTREAM", help="only its cache")
    command.add_argument(
        "--platform",
        default=image_selection.DEFAULT_PLATFORM,
        help="which entry of a multi-platform image must be there for it to be complete "
        "(default: %(default)s)",
    )
    command.add_argument(
        "--larger", default="", metavar="SIZE", help="only images larger than this, such as 100MB"
    )
    command.add_argument(
        "--unused-since", dest="unused", default="", metavar="AGE", help=f"last used before: {AGE}"
    )
    command.add_argument(
        "--fetched-before", default="", metavar="AGE", help="fetched before, in the same way"
    )
    command.add_argument(
        "--incomplete", action="store_true", help="only images that are not complete"
    )
    command.add_argument(
        "--sort", dest="order", choices=ORDERS, default="name", help="default: %(default)s"
    )
    add_json(command)


def run(arguments: Arguments) -> int:
    """List the images in the caches: size, when fetched and used, complete or not."""
    settings = stack_files.check(arguments.stack)
    caches = chosen_caches(settings, arguments.upstreams)
    platform = parse_platform(arguments.platform)
    wanted = _filter(arguments)
    by_host = {cache.host: cache for cache in caches}
    volumes = held_images.read(api.connect(), arguments.stack, caches)
    for volume in volumes:
        if volume.refusal:
            print(f"list: {volume.refusal}", file=sys.stderr)
    rows = [
        replace(row, image=by_host[volume.host].referred(row.image))
        for volume in volumes
        for row in inventory.held(volume, platform)
        if wanted(row)
    ]
    rows.sort(key=ORDERS[arguments.order])
    total = sum(volume.volume.size for volume in volumes)
    if arguments.as_json:
        print(_as_json(rows, total, platform))
    else:
        print("\n".join(_table(rows, total, console.width())))
    return 0


def _filter(arguments: Arguments) -> Callable[[Held], bool]:
    least = _size(arguments.larger)
    unused = _time("--unused-since", arguments.unused)
    day = None if unused is None else f"{datetime.fromtimestamp(unused, timezone.utc):%Y-%m-%d}"
    fetched = _time("--fetched-before", arguments.fetched_before)

    def wanted(row: Held) -> bool:
        return (
            row.size > least
            and (day is None or row.last_used < day)
            and (fetched is None or row.fetched < fetched)
            and not (arguments.incomplete and row.is_complete)
        )

    return wanted


def _size(text: str) -> int:
    if not text:
        return -1
    try:
        return sizes.parse_size(text)
    except ValueError as error:
        raise OpsError(f"--larger '{text}': {error}") from error


def _time(option: str, text: str) -> float | None:
    """In seconds since 1970; days begin as those of the ledger and of the table, which are UTC."""
    if not text:
        return None
    try:
        return log_lines.since(f"{text}T00:00Z" if _DAY.fullmatch(text) else text, time.time())
    except ValueError as error:
        raise OpsError(f"{option} '{text}': write {AGE}") from error


def _table(rows: Sequence[Held], total: int, width: int) -> list[str]:
    if not total:
        return ["the caches have no images: pull some, or run warm or import"]
    lines = [
        f"{'size':>10}  {'shared':>10}  {'fetched':<10}  {'last used':<10}  {'state':<13}  image"
    ]
    lines += [
        f"{sizes.amount(row.size):>10}  {sizes.amount(row.shared):>10}  {_day(row.fetched):<10}  "
        f"{row.last_used or '-':<10}  {row.state:<13}  {row.image}{_platforms(row)}"
        for row in rows
    ]
    if max(map(len, lines)) > width:
        lines = [line for row in rows for line in _card(row)]
    count = "1 image" if len(rows) == 1 else f"{len(rows)} images"
    return [*lines, f"{count}; the caches hold {sizes.amount(total)}"]


def _card(row: Held) -> tuple[str, ...]:
    """For a narrow terminal."""
    return (
        str(row.image),
        f"  {sizes.amount(row.size)}, {sizes.amount(row.shared)} shared, {row.state}",
        f"  fetched {_day(row.fetched)}, used {row.last_used or '-'}",
    )


def _platforms(row: Held) -> str:
    return f"  ({', '.join(row.platforms)})" if row.platforms else ""


def _day(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).date().isoformat() if seconds else "-"


def _as_json(rows: Sequence[Held], total: int, platform: Platform) -> str:
    return json.dumps(
        {
            "platform": str(platform),
            "bytes": total,
            "images": [
                {
                    "image": str(row.image),
                    "digest": row.digest,
                    "platforms": list(row.platforms),
                    "bytes": row.size,
                    "sharedBytes": row.shared,
                    "fetched": _moment(row.fetched),
                    "lastUsed": row.last_used or None,
                    "complete": row.is_complete,
                    "state": row.state,
                }
                for row in rows
            ],
        },
        indent=2,
    )


def _moment(seconds: int) -> str | None:
    if not seconds:
        return None
    return f"{datetime.fromtimestamp(seconds, timezone.utc):%Y-%m-%dT%H:%M:%SZ}"
