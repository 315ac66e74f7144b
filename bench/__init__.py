"""Side-by-side measurements: `make bench`."""

from toolchain import installed

installed.require()
