"""Side-by-side measurements: `make bench`."""

from host import installed

installed.require()
