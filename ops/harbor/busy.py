"""An upstream behind Harbor, or Harbor itself, that is busy: it is left in peace for a while."""

import threading
from collections.abc import Callable
from datetime import datetime, timezone
from typing import TypeVar

from host import progress_bar
from ops.halt import Halt
from ops.registry.fetch import FetchError, Source
from plan import patience

# Of all waits for one upstream in a run. Harbor stores an index that it has sent only if a manifest
# of it comes within 400 s, and remembers it for seven days if none does.
TOTAL_SECONDS = 120.0
# How often something is asked for again whose answer was broken off.
BROKEN_OFF_TRIES = 2
Outcome = TypeVar("Outcome")


class Upstream:
    """One upstream, asked by several threads.

    Args:
        host: its name.
        registry: its proxy cache.
        halt: ends waits, and has nothing more asked for.
    """

    def __init__(self, host: str, registry: Source, halt: Halt) -> None:
        self._host = host
        self._registry = registry
        self._halt = halt
        self._left = TOTAL_SECONDS
        self._waits = 0
        self._given_up: FetchError | None = None
        # Who waits holds it, and so everybody does.
        self._lock = threading.Lock()

    def ask(self, work: Callable[[Source], Outcome]) -> Outcome:
        """What the work with its proxy cache gives, tried again while the upstream is busy.

        Raises:
            FetchError: it fails for another reason, or for too long.
        """
        tries = 0
        while True:
            waits = self._turn()
            try:
                return work(self._registry)
            except FetchError as error:
                again = error.is_broken_off and tries < BROKEN_OFF_TRIES
                if not (again or error.is_temporary) or not self._wait(error, tries, waits):
                    raise
            tries += 1

    def _turn(self) -> int:
        """Return once nobody waits; how often somebody has."""
        with self._lock:
            self._halt.check()
            if self._given_up:
                raise FetchError(f"not asked for, because of {self._given_up}")
            return self._waits

    def _wait(self, error: FetchError, tries: int, waits: int) -> bool:
        """Wait, unless somebody has done so since this was asked; false if that takes too long."""
        with self._lock:
            if self._given_up or self._waits != waits:
                return not self._given_up
            asked = patience.asked_seconds(error.retry_after, datetime.now(timezone.utc))
            seconds = patience.pause(tries, asked, self._left)
            if seconds is None:
                self._given_up = error
                wants = "" if asked is None else f" and wants {asked:.0f} s"
                progress_bar.tell(
                    f"{self._host} is busy{wants}: it is not asked again in this run ({error})"
                )
                return False
            does = "is busy" if error.is_temporary else "broke an answer off"
            progress_bar.tell(f"{self._host} {does} ({error}): trying again in {seconds:.0f} s")
            _sleep(self._halt, seconds)
            self._left -= seconds
            self._waits += 1
            return True


def _sleep(halt: Halt, seconds: float) -> None:
    halt.wait(seconds)
