"""Waits for an upstream behind Harbor, or Harbor itself, that is busy."""

import threading
from collections.abc import Callable
from datetime import datetime, timezone
from typing import TypeVar

from host import progress_bar
from ops.halt import Halt
from ops.registry.fetch import FetchError, Source
from plan import patience

# Of all waits for one upstream in a run. Harbor stores an index that it has sent only if one of its
# manifests comes within 400 s, and otherwise remembers that for seven days.
TOTAL_SECONDS = 120.0
# How often a request is repeated whose answer was cut off.
BROKEN_OFF_TRIES = 2
Outcome = TypeVar("Outcome")


class Upstream:
    """One upstream, for several threads.

    Args:
        host: its name.
        registry: its proxy cache.
        halt: ends waits, and prevents further requests.
    """

    def __init__(self, host: str, registry: Source, halt: Halt) -> None:
        self._host = host
        self._registry = registry
        self._halt = halt
        self._left = TOTAL_SECONDS
        self._waits = 0
        self._given_up: FetchError | None = None
        # Held while waiting, so that all threads wait.
        self._lock = threading.Lock()

    def ask(self, work: Callable[[Source], Outcome]) -> Outcome:
        """The result of the work with its proxy cache, retried while the upstream is busy.

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
        """Return once no thread waits; the number of waits so far."""
        with self._lock:
            self._halt.check()
            if self._given_up:
                raise FetchError(f"not requested, because of {self._given_up}")
            return self._waits

    def _wait(self, error: FetchError, tries: int, waits: int) -> bool:
        """Wait, unless another thread has since that request; false if it would take too long."""
        with self._lock:
            if self._given_up or self._waits != waits:
                return not self._given_up
            requested = patience.asked_seconds(error.retry_after, datetime.now(timezone.utc))
            seconds = patience.pause(tries, requested, self._left)
            if seconds is None:
                self._given_up = error
                wants = "" if requested is None else f" and asks to wait {requested:.0f} s"
                progress_bar.tell(
                    f"{self._host} is busy{wants}: no more requests to it in this run ({error})"
                )
                return False
            reason = "is busy" if error.is_temporary else "cut an answer off"
            progress_bar.tell(f"{self._host} {reason} ({error}): trying again in {seconds:.0f} s")
            _sleep(self._halt, seconds)
            self._left -= seconds
            self._waits += 1
            return True


def _sleep(halt: Halt, seconds: float) -> None:
    halt.wait(seconds)
