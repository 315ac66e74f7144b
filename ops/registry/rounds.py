"""Requests many things from registries in parallel, and again what was put off."""

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import TypeVar

import httpx

from host import progress_bar
from ops.halt import Halt
from ops.registry import fetch
from plan import patience
from plan.images import manifests

# How often a request is repeated whose answer was cut off: the upstream sends all of it again.
BROKEN_OFF_TRIES = 2
Item = TypeVar("Item")
Outcome = TypeVar("Outcome")


@dataclass(kw_only=True)
class Tries:
    """What all tries of a run share.

    Attributes:
        parallel: how many at once.
        said: (host, image or digest) -> why it was not delivered.
        halt: ends what threads do.
    """

    parallel: int
    said: dict[tuple[str, str], str] = field(default_factory=dict)
    halt: Halt = field(default_factory=Halt)


def in_parallel(
    doing: Tries,
    what: str,
    items: Sequence[tuple[tuple[str, str], Item]],
    work: Callable[[Item], Outcome],
) -> list[Outcome | None]:
    """The result of the work for each (key, item); None if it fails, and the reason is in `said`.

    A busy upstream gets no requests for a while. If it takes too long, only items of this kind are
    given up: a limit on manifests is not one on blobs.
    """
    outcomes: list[Outcome | None] = [None] * len(items)
    pending, broken_off, patient = list(range(len(items))), Counter[int](), _Patience(what)
    while pending:
        this = _Round(doing)
        for number, outcome in this.outcomes(pending, items, work):
            outcomes[number] = outcome
        again = [
            one for one in pending if one in this.broken_off and broken_off[one] < BROKEN_OFF_TRIES
        ]
        broken_off.update(again)
        given_up = patient.wait(this.busy, this.delivered, broken_off=bool(again))
        put_off = [one for one in pending if one in this.put_off]
        refused = [one for one in pending if one in this.refused]
        # What was refused comes last: one item may be refused for ever, and must not delay others.
        pending = [one for one in (*put_off, *again) if not given_up.get(items[one][0][0])]
        pending += [one for one in refused if items[one][0][0] not in given_up]
    return outcomes


class _Round:
    """Tries each of many things once.

    Attributes:
        busy: host -> how its upstream said that it is busy; it gets no more requests.
        delivered: hosts that have delivered something.
        put_off: numbers of items that were not requested, because the host is busy.
        refused: of items that may be delivered later, as the upstream says.
        broken_off: of items whose answer was cut off.
    """

    def __init__(self, doing: Tries) -> None:
        self._doing = doing
        self.busy: dict[str, fetch.FetchError] = {}
        self.delivered: set[str] = set()
        self.put_off: set[int] = set()
        self.refused: set[int] = set()
        self.broken_off: set[int] = set()

    def outcomes(
        self,
        numbers: Iterable[int],
        items: Sequence[tuple[tuple[str, str], Item]],
        work: Callable[[Item], Outcome],
    ) -> Iterator[tuple[int, Outcome | None]]:
        """(Number, result of the work) of each of these items."""

        def one(number: int) -> tuple[int, Outcome | None]:
            return number, self._tried(number, *items[number], work)

        parallel = self._doing.parallel
        with ThreadPoolExecutor(parallel) as pool, self._doing.halt.on_failure():
            yield from pool.map(one, numbers)

    def _tried(
        self, number: int, key: tuple[str, str], item: Item, work: Callable[[Item], Outcome]
    ) -> Outcome | None:
        """The result of the work; None if it fails, and the reason is in `said`."""
        host, _ = key
        self._doing.halt.check()
        if error := self.busy.get(host):
            # If it has been refused itself, that says more.
            self._doing.said.setdefault(key, f"not requested, because of {error}")
            self.put_off.add(number)
            return None
        try:
            outcome = work(item)
        except manifests.ManifestError as error:
            self._doing.said[key] = str(error)
        except fetch.FetchError as error:
            self._doing.said[key] = str(error)
            if error.is_temporary:
                self.busy.setdefault(host, error)
                self.refused.add(number)
            elif error.is_broken_off:
                self.broken_off.add(number)
        else:
            self._doing.said.pop(key, None)
            self.delivered.add(host)
            return outcome
        return None


class _Patience:
    """How long to wait for busy upstreams, all together."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._left = patience.TOTAL_SECONDS
        self._in_vain = Counter[str]()  # host -> rounds in a row without a delivery

    def wait(
        self,
        busy: Mapping[str, fetch.FetchError],
        delivered: Collection[str],
        *,
        broken_off: bool,
    ) -> dict[str, bool]:
        """Wait as long as busy upstreams ask for, or as seems right; give up what takes too long.

        Args:
            busy: host -> how its upstream said that it is busy.
            delivered: hosts that have delivered something, before or after that.
            broken_off: whether an answer was cut off, which is worth another try soon.

        Returns:
            Host -> whether all of it is given up, or only what it has refused.
        """
        now, given_up = datetime.now(timezone.utc), dict[str, bool]()
        longest = min(patience.FIRST_SECONDS, self._left) if broken_off and not busy else 0.0
        waited_for = "an answer was cut off"
        for host, error in busy.items():
            self._in_vain[host] = 0 if host in delivered else self._in_vain[host] + 1
            requested = patience.asked_seconds(error.retry_after, now)
            tries = max(self._in_vain[host] - 1, 0)
            seconds = patience.pause(tries, requested, self._left)
            if seconds is None or patience.lasts_for_hours(str(error)):
                # A rate limit is on all requests; another refusal may be of this one item.
                limited = error.status == httpx.codes.TOO_MANY_REQUESTS
                given_up[host] = limited or self._in_vain[host] > 1
                progress_bar.tell(self._given_up(host, error, requested, all_of_it=given_up[host]))
            elif seconds > longest:
                longest, waited_for = seconds, f"{host} is busy ({error})"
        if longest:
            total = f"{patience.TOTAL_SECONDS:.0f} s at most for all {self._what}"
            progress_bar.tell(f"{waited_for}: trying again in {longest:.0f} s ({total})")
            _sleep(longest)
            self._left -= longest
        return given_up

    def _given_up(
        self, host: str, error: fetch.FetchError, requested: float | None, *, all_of_it: bool
    ) -> str:
        if not all_of_it:
            return f"{host} keeps refusing some of its {self._what}; the others go on ({error})"
        if patience.lasts_for_hours(str(error)):
            return (
                f"{host} delivers no more {self._what} for hours; what it has begun is completed. "
                "To go on, run warm again then, or at once with an account of yours in "
                f'credentials["{host}"] ({error})'
            )
        wants = "" if requested is None else f" and asks to wait {requested:.0f} s"
        return f"{host} is busy{wants}: no more {self._what} from it in this run ({error})"


def _sleep(seconds: float) -> None:
    time.sleep(seconds)
