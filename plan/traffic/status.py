"""What a cache is doing: its health, whether it reaches its upstream, what it holds and has served.

`SCRIPT` runs in a cache's container and prints all that can be seen there; `read` reads that.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from plan.caches.cache_plan import DATA_PATH
from plan.caches.upstream_watchdog import AWAY_NOTICE, DEBUG_ADDRESS, TROUBLE_PATH
from plan.images.storage import ROOT
from plan.traffic import counters
from plan.traffic.counters import Counters

THROUGH, OFFLINE, AWAY = "through", "offline", "upstream away"
# What a volume holds: prints "blobs COUNT BYTES", "tags COUNT" and "room BYTES". The argument is
# the folder of the registry's data. Tags that name a digest belong to other images.
HELD_SCRIPT = f"""
cd "$1" || exit 1
busybox stat -f -c 'room %a %S' .
cd {ROOT} 2>/dev/null || exit 0
find blobs -type f -name data -exec busybox stat -c '%s' {{}} + 2>/dev/null |
    busybox awk '{{ size += $1 }} END {{ printf "blobs %d %.0f\\n", NR, size }}'
find repositories -path '*/_manifests/tags/*/current/link' 2>/dev/null |
    busybox grep -v -c '/tags/sha256-' | busybox sed 's/^/tags /'
"""
# In a running cache: the same, and what its watchdog and its registry say.
SCRIPT = f"""
sh -c "$1" sh {DATA_PATH}
echo "resolv $(busybox stat -c %Y /etc/resolv.conf) $(busybox head -n 1 /etc/resolv.conf)"
if [ -s {TROUBLE_PATH} ]; then
    echo "trouble $(busybox stat -c %Y {TROUBLE_PATH}) $(busybox head -n 1 {TROUBLE_PATH})"
fi
echo metrics
busybox timeout 2 busybox wget -q -O - http://{DEBUG_ADDRESS}/metrics |
    busybox grep -E '^(registry_proxy|registry_http_re(quests|sponse_size)|process_start)'
"""
_ROOM = re.compile(r"^room (\d+) (\d+)$", re.MULTILINE)
_BLOBS = re.compile(r"^blobs (\d+) (\d+)$", re.MULTILINE)
_TAGS = re.compile(r"^tags (\d+)$", re.MULTILINE)
_RESOLV = re.compile(rf"^resolv (\d+) {re.escape(AWAY_NOTICE)}$", re.MULTILINE)
_TROUBLE = re.compile(r"^trouble (\d+) (.*)$", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Held:
    """What a volume holds.

    Attributes:
        images: how many tags; those that belong to other images, as signatures do, don't count.
        size: bytes of all blobs.
        room: bytes that are free on its disk.
    """

    images: int
    size: int
    room: int


@dataclass(frozen=True, kw_only=True)
class Inside:
    """What can be seen in a running cache's container.

    Attributes:
        held: in its volume; None if that can't be read.
        mode: THROUGH, OFFLINE, or AWAY.
        since: when its upstream went away, in seconds since 1970; None if it has not.
        why: what its watchdog has noticed; empty if nothing.
        counters: of its registry; None if that does not answer.
    """

    held: Held | None
    mode: str
    since: int | None = None
    why: str = ""
    counters: Counters | None = None


def read_held(printed: str) -> Held | None:
    """What HELD_SCRIPT has printed; None if it could not look."""
    room = _ROOM.search(printed)
    if not room:
        return None
    blobs, tags = _BLOBS.search(printed), _TAGS.search(printed)
    return Held(
        images=int(tags[1]) if tags else 0,
        size=int(blobs[2]) if blobs else 0,
        room=int(room[1]) * int(room[2]),
    )


def read(printed: str, *, offline: bool) -> Inside:
    """What SCRIPT has printed.

    Args:
        printed: by it.
        offline: whether the cache has no upstream.
    """
    seen, _, metrics = printed.partition("\nmetrics\n")
    try:
        counted = counters.parse(metrics, has_upstream=not offline)
    except ValueError:
        counted = None
    away, trouble = _RESOLV.search(seen), _TROUBLE.search(seen)
    mode, since, why = OFFLINE if offline else THROUGH, None, ""
    if trouble:
        mode, since, why = AWAY, int(trouble[1]), trouble[2]
    elif away:
        mode, since, why = AWAY, int(away[1]), "its upstream does not answer"
    return Inside(held=read_held(seen), mode=mode, since=since, why=why, counters=counted)


@dataclass(frozen=True, kw_only=True)
class CacheStatus:
    """One row of `status`.

    Attributes:
        host: the cache's upstream.
        name: of its container; empty for an upstream behind Harbor.
        health: of the container in a word; of Harbor, whether it answers.
        inside: what can be seen in its container; None if it does not run, or can't be looked into.
        held: in its volume; None if there is none, or if it can't be read.
        clusters: those of the stack whose nodes have it as a mirror.
        pulls: who pulled last -> when, in seconds since 1970.
    """

    host: str
    name: str
    health: str
    inside: Inside | None = None
    held: Held | None = None
    clusters: tuple[str, ...] = ()
    pulls: Mapping[str, float] = field(default_factory=dict)

    @property
    def mode(self) -> str:
        """How it gets what it does not have; empty if that is not known."""
        return self.inside.mode if self.inside else ""

    @property
    def counters(self) -> Counters | None:
        """Of its registry."""
        return self.inside.counters if self.inside else None

    @property
    def last_pull(self) -> float | None:
        """When a node pulled from it last, in seconds since 1970."""
        return max(self.pulls.values(), default=None)


def saved(fetched: int, served: int) -> float | None:
    """The share of what was served that did not come from upstream; None if nothing was served."""
    return None if not served else max(0.0, 1 - fetched / served)
