"""Private upstreams that the tests of this folder share: real registries, filled once.

A tier of its own, `make test-private`; what is called `live` is run through the
real engine and Docker, from checkouts as in tests/real/caches.
"""

import pytest

from demo import images
from tests.real.caches.conftest import checkout, embedded_upstream
from tests.real.private import registry_process
from tests.real.private.authority import Authority
from tests.real.private.upstream_logins import ALICE, PASSWORD

__all__ = ["checkout", "embedded_upstream"]

IMAGE = images.single("private.test", "team/secret-sauce", "1", b"nobody else's\n" * 1000)


@pytest.fixture(scope="session")
def image():
    return IMAGE


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def basic(tmp_path_factory, authority):
    """A registry with basic authentication over TLS, and the file of its accounts."""
    folder = tmp_path_factory.mktemp("basic")
    auth = registry_process.htpasswd(folder / "htpasswd", {ALICE: PASSWORD})
    tls = authority.server("127.0.0.1")
    with registry_process.running(folder, auth=auth, tls=tls) as registry:
        yield registry, folder / "htpasswd"
