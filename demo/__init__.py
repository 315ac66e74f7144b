"""The main job on an embedded default: `make demo`, and what the end-to-end tests build on."""

from host import installed

installed.require()
