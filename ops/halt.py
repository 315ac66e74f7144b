"""Ends what several threads do, where the run that started them has ended."""

import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager


class Halt:
    """Ctrl-C reaches the main thread only; the others look here before they ask for more."""

    def __init__(self) -> None:
        self._ended = threading.Event()

    @contextmanager
    def on_failure(self) -> Iterator[None]:
        """Ends the other threads where the block fails, or is interrupted."""
        try:
            yield
        except BaseException:
            self._ended.set()
            raise

    def check(self) -> None:
        """Go on.

        Raises:
            CancelledError: there is nobody to go on for.
        """
        self.wait(0)

    def wait(self, seconds: float) -> None:
        """Sleep.

        Raises:
            CancelledError: there is nobody to go on for, from the start or meanwhile.
        """
        if self._ended.wait(seconds):
            raise CancelledError
