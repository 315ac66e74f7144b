"""`make demo`: the caches proved on an embedded registry; the end-to-end tests build on it."""

from host import installed

installed.require()
