"""How the Pulumi program ends if it can't go on: with a message, and without a traceback."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pulumi

from host import entry_point
from host.errors import TalosCacheError

# To a language host this status means: the error has been reported, there is nothing to add.
TOLD = 32


@contextmanager
def in_words() -> Iterator[None]:
    """Report what a user can fix as it is; end the program at once on an interrupt.

    After a resource has failed, the official language host interrupts the program, which is waiting
    for the engine's next answer. Python would print where it waited, go on waiting for its threads
    until the next interrupt, and print that too.
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
