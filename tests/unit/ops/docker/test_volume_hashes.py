"""Blobs are hashed a few at a time; that busybox hashes them is proved in tests/real/offline."""

import pytest

from ops.docker import volume_hashes
from ops.docker.volumes import folder
from plan.caches.cache import Cache
from plan.images.storage import EMPTY, Store, blob_path

CACHE = Cache(host="docker.io", name="registry-docker.io", local_endpoint="", image="registry")
DIGESTS = tuple(f"sha256:{letter * 64}" for letter in "abcde")
SIZES = dict(zip(DIGESTS, (3, 3, 10, 1, 1), strict=True))


class VolumesDouble:
    """A double of one volume whose files have the digests they are filed under, but for one."""

    present = (CACHE,)

    def __init__(self, wrong, unreadable=""):
        self.wrong = wrong
        self.unreadable = unreadable
        self.asked = []

    def stream(self, *argv):
        assert argv[:4] == ("sh", "-c", volume_hashes._HASH, "sh")
        self.asked.append(len(argv) - 4)
        by_path = {f"{folder(CACHE)}/{blob_path(digest)}": digest for digest in DIGESTS}
        for path in argv[4:]:
            if by_path[path] == self.unreadable:
                continue
            digest = "sha256:" + "0" * 64 if by_path[path] == self.wrong else by_path[path]
            line = f"{digest.removeprefix('sha256:')}  {path}\n".encode()
            yield line[:50]
            yield line[50:]


@pytest.fixture(autouse=True)
def few_at_once(monkeypatch):
    monkeypatch.setattr(volume_hashes, "BYTES_AT_ONCE", 6)
    monkeypatch.setattr(volume_hashes, "PATHS_AT_ONCE", 3)


def damaged(volumes, digests, sizes=SIZES):
    stores = {"docker.io": Store(blobs=sizes, repositories={})}
    return volume_hashes.damaged(volumes, stores, {"docker.io": digests})


@pytest.mark.parametrize("wrong", DIGESTS)
def test_every_batch_is_checked(wrong):
    volumes = VolumesDouble(wrong)
    assert damaged(volumes, DIGESTS) == {"docker.io": {wrong}}
    assert volumes.asked == [2, 1, 2], "6 bytes, a large one, the rest"


@pytest.mark.parametrize("unreadable", DIGESTS)
def test_an_unreadable_file_is_damaged(unreadable):
    volumes = VolumesDouble("", unreadable)
    assert damaged(volumes, DIGESTS) == {"docker.io": {unreadable}}
    assert volumes.asked == [2, 1, 2], "the others are hashed"


def test_small_ones_are_limited_by_their_number():
    volumes = VolumesDouble("")
    assert damaged(volumes, DIGESTS, dict.fromkeys(DIGESTS, 0)) == {"docker.io": frozenset()}
    assert volumes.asked == [3, 2]


def test_what_is_not_in_the_volume_is_left_out():
    volumes = VolumesDouble("")
    assert damaged(volumes, ["sha256:" + "f" * 64]) == {"docker.io": frozenset()}
    assert volume_hashes.damaged(volumes, {"docker.io": EMPTY}, {}) == {"docker.io": frozenset()}
    assert volumes.asked == []
