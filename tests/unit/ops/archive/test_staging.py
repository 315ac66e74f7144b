"""Blobs of an archive on their way into volumes: whole ones get there, and nothing else is left."""

import errno
import gzip
import io
import socket
import subprocess
import tarfile
import threading
from contextlib import closing, contextmanager, suppress
from dataclasses import replace

import docker
import pytest
import requests

from ops.archive import staging
from ops.docker.volumes import Volumes
from plan.caches.cache import of_settings
from plan.images import storage
from plan.images.archive import ArchiveError
from plan.settings.stack import parse
from tests.unit.ops.docker.local_volumes import local_volumes
from tests.unit.plan.images.shapes import LAYER, digest_of


@pytest.fixture
def volumes(tmp_path):
    return local_volumes(tmp_path)


def into(volumes, lock):
    caches = {cache.host: cache for cache in volumes.caches}
    stores = dict.fromkeys(caches, storage.EMPTY)
    nothing = dict.fromkeys(caches, frozenset())
    return staging.Into(volumes=volumes, caches=caches, stores=stores, wanted=lock, damaged=nothing)


def place_of(volumes, host, content):
    return volumes.home(host) / storage.blob_path(digest_of(content))


def taken(to, *blobs):
    """Returns how many were new."""
    return staging.take_blobs(to, iter(blobs))


def blob(content):
    return staging.Blob(digest=digest_of(content), size=len(content), content=io.BytesIO(content))


class Cut(io.BytesIO):
    """An archive that ends in the middle of a blob."""

    def read(self, size=-1):
        return super().read(size) or self.ended()

    def ended(self):
        raise tarfile.ReadError("unexpected end of data")


@pytest.mark.parametrize(
    ("content", "error"), [(Cut(b"half"), tarfile.ReadError), (io.BytesIO(b"?" * 7), ArchiveError)]
)
def test_a_blob_that_does_not_arrive_leaves_nothing_behind(volumes, content, error):
    to = into(volumes, {"ghcr.io": {digest_of(LAYER)}})
    with pytest.raises(error), staging.no_leftovers(to):
        taken(to, staging.Blob(digest=digest_of(LAYER), size=len(LAYER), content=content))
    assert volumes.files() == set()


def test_the_next_import_removes_what_a_killed_one_left(volumes):
    to = into(volumes, {"ghcr.io": {digest_of(LAYER)}})
    killed = staging.no_leftovers(to)
    killed.__enter__()
    left = volumes.home("ghcr.io") / storage.STAGING
    left.mkdir()
    (left / "half").write_bytes(b"half of a blob")
    with staging.no_leftovers(to):
        assert not left.exists()


def test_a_blob_of_two_caches_is_put_in_both_and_nothing_else_is_left(volumes):
    to = into(volumes, {host: {digest_of(LAYER)} for host in ("ghcr.io", "quay.io")})
    with staging.no_leftovers(to):
        assert taken(to, blob(LAYER)) == 1
    places = [place_of(volumes, host, LAYER) for host in ("ghcr.io", "quay.io")]
    assert volumes.files() == {str(place.relative_to(volumes.root)) for place in places}
    assert [place.read_bytes() for place in places] == [LAYER] * 2


@contextmanager
def listening(*, hang_up=False):
    """Volumes behind Docker's real client; the engine is a double that reads, and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def take():
            connection, _ = server.accept()
            with connection, suppress(OSError):
                while not hang_up and connection.recv(65536):
                    pass

        thread = threading.Thread(target=take)
        thread.start()
        url = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        try:
            with closing(docker.DockerClient(base_url=url, version="1.41")) as client:
                yield Volumes(client=client, container="c", caches=(), present=())
        finally:
            thread.join()


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.EIO, "Input/output error"),
        gzip.BadGzipFile("CRC check failed"),
        tarfile.ReadError("unexpected end of data"),
        ArchiveError("it was changed"),
    ],
)
def test_a_read_error_is_not_reported_as_an_error_of_dockers_connection(error):
    """Docker's client would: it reads what it sends."""

    def content():
        yield b"some"
        raise error

    with pytest.raises(type(error)) as raised, listening() as volumes:
        volumes.put("/volumes", content())
    assert raised.value is error


def test_a_docker_that_hangs_up_is_not_reported_as_a_read_error():
    def endless():
        while True:
            yield bytes(65536)

    with pytest.raises(requests.ConnectionError), listening(hang_up=True) as volumes:
        volumes.put("/volumes", endless())


def test_a_read_error_of_the_next_blob_is_raised_as_it_is():
    """It is read while the one before it is sent."""

    def coming():
        yield blob(LAYER)
        raise OSError(errno.EIO, "Input/output error")

    quay = of_settings(parse({"upstreams": {"quay.io": {}}}))
    wanted = {"quay.io": {digest_of(LAYER)}}
    with pytest.raises(OSError, match="Input/output error") as raised, listening() as volumes:
        staging.take_blobs(into(replace(volumes, caches=quay), wanted), coming())
    assert not isinstance(raised.value, requests.RequestException)


def test_a_blob_that_can_not_be_read_for_the_second_volume_is_put_in_none(volumes):
    """tar leaves it out, goes on with the next, and reports that only at its end."""
    lost, other = b"unreadable", LAYER
    digests = [digest_of(lost), digest_of(other)]
    to = into(volumes, {host: set(digests) for host in ("ghcr.io", "quay.io")})
    home = to.caches["ghcr.io"]
    file = volumes.home("ghcr.io") / staging.STAGED / storage.blob_path(digest_of(other))
    with staging.no_leftovers(to):
        file.parent.mkdir(parents=True)
        file.write_bytes(other)
        with pytest.raises(subprocess.CalledProcessError):
            staging._place_blobs(to, home, digests)
    assert volumes.files() == set()


SMALL = [b"blob %d" % number for number in range(300)]


@pytest.mark.parametrize(("most", "calls"), [(300, 2), (299, 4), (100, 6)])
def test_many_blobs_take_two_calls_for_as_many_as_the_limit_says(volumes, monkeypatch, most, calls):
    """One sends them, one puts them in place."""
    monkeypatch.setattr(staging, "BATCH_BLOBS", most)
    to = into(volumes, {"ghcr.io": {digest_of(one) for one in SMALL}})
    volumes.calls.clear()
    assert taken(to, *map(blob, SMALL)) == len(SMALL)
    assert len(volumes.calls) == calls
    held = volumes.stores_as_they_are()["ghcr.io"].blobs
    assert held == {digest_of(one): len(one) for one in SMALL}


def test_complete_blobs_stay_if_a_later_one_does_not_arrive(volumes, monkeypatch):
    monkeypatch.setattr(staging, "BATCH_BYTES", len(SMALL[0]))
    to = into(volumes, {"ghcr.io": {digest_of(one) for one in (*SMALL, LAYER)}})
    cut = staging.Blob(digest=digest_of(LAYER), size=len(LAYER), content=Cut(b"half"))
    with pytest.raises(tarfile.ReadError), staging.no_leftovers(to):
        taken(to, blob(SMALL[0]), cut)
    left = place_of(volumes, "ghcr.io", SMALL[0])
    assert volumes.files() == {str(left.relative_to(volumes.root))}


def test_a_damaged_blob_is_replaced_and_one_that_no_volume_needs_is_checked(volumes):
    to = into(volumes, {"ghcr.io": {digest_of(LAYER)}})
    damaged = place_of(volumes, "ghcr.io", LAYER)
    damaged.parent.mkdir(parents=True)
    damaged.write_bytes(b"damaged")
    assert taken(to, blob(LAYER), blob(b"not needed")) == 1
    assert damaged.read_bytes() == LAYER
    with pytest.raises(ArchiveError, match="a file in it was changed"):
        taken(to, replace(blob(b"?"), digest=digest_of(b"!")))
