"""Day-two work on a stack: everything that talks to Docker, to the caches or to the engine's CLI.

It reads what a stack exported, never its configuration again.
"""

from host import installed

installed.require()
