"""Ctrl-C in the middle of a test, as the main thread gets it."""

import signal
import threading
from contextlib import contextmanager


@contextmanager
def raising():
    """It raises KeyboardInterrupt, also where tests run in a background that ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def press():
    signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
