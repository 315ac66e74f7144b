"""Day-two work on a stack: everything that talks to Docker, the caches or the engine's CLI."""

from host import installed

installed.require()
