"""Stops several threads once the run that started them has ended."""

import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager


class Halt:
    """Ctrl-C reaches the main thread only; the others check here before their next request."""

    def __init__(self) -> None:
        self._ended = threading.Event()

    @contextmanager
    def on_failure(self) -> Iterator[None]:
        """End the other threads if the block fails or is interrupted."""
        try:
            yield
        except BaseException:
            self._ended.set()
            raise

    def check(self) -> None:
        """Return if the run still needs this thread.

        Raises:
            CancelledError: the run has ended.
        """
        self.wait(0)

    def wait(self, seconds: float) -> None:
        """Sleep.

        Raises:
            CancelledError: the run has ended, before or during the wait.
        """
        if self._ended.wait(seconds):
            raise CancelledError
