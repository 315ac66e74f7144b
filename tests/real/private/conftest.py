"""Private upstreams that the tests of this folder share: real registries, filled once.

A tier of its own, `make test-private`; what is called `live` is run through the
real engine and Docker, from checkouts as in tests/real/caches.
"""

import pytest

from demo import images
from tests.real.caches.conftest import checkout, embedded_upstream
from tests.real.private.authority import Authority

__all__ = ["checkout", "embedded_upstream"]

IMAGE = images.single("private.test", "team/secret-sauce", "1", b"nobody else's\n" * 1000)


@pytest.fixture(scope="session")
def image():
    return IMAGE


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))
