"""How the program ends where it can't go on: with words for the user, and without a traceback."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pulumi

from host import entry_point
from host.errors import TalosCacheError

# A language host takes it for: the user has been told, there is nothing to add.
TOLD = 32


@contextmanager
def in_words() -> Iterator[None]:
    """What a user can mend is told as it is; an interrupt ends the program at once.

    After a resource has failed the official language host interrupts the program, which waits for
    the engine's next answer. Python would show where it waited, wait on for its threads until the
    next interrupt, and show that too.
    """
    signal.signal(signal.SIGINT, lambda *_: os._exit(TOLD))
    try:
        yield
    except (TalosCacheError, pulumi.RunError) as error:
        pulumi.log.error(str(error))
        sys.exit(TOLD)
    except Exception as error:
        pulumi.log.error(entry_point.told(error))
        sys.exit(TOLD)
