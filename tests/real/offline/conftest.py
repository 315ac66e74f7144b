"""Real caches, real upstreams that go away, real damage; checkouts as in tests/real/caches.

A tier of its own, `make test-offline`: its tests wait for time-outs, fill disks and kill caches.
"""

from tests.real.caches.conftest import checkout, embedded_upstream

__all__ = ["checkout", "embedded_upstream"]
