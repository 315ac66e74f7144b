"""Volumes of a cache with a path prefix: images are listed, pinned and linked as nodes name them.

`LocalVolumes` is a double of the container: it runs the same programs on a folder of this machine.
"""

import errno
import gzip
import io
import os
import shutil
import socket
import subprocess
import tarfile
import threading
import time
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import docker
import pytest
import requests

from ops.archive import staging
from ops.commands import import_archive
from ops.commands.prune import _read, _stored
from ops.docker import volumes as ops_volumes
from ops.docker.volumes import MOUNT, Volumes, folder
from ops.errors import OpsError
from plan.caches.cache import of_settings
from plan.images import pruning, storage
from plan.images.archive import ArchiveError, Lock, LockedImage
from plan.images.reference import parse_list
from plan.images.storage import Part, faults
from plan.settings.stack import parse
from tests.unit.plan.images.shapes import AMD64, CONFIG, IMAGE, LAYER, MANIFEST, digest_of

PREFIX = "proxy-ghcr.io"


@dataclass(frozen=True, kw_only=True)
class LocalVolumes(Volumes):
    """Volumes in a folder; `calls` would have gone to Docker."""

    root: Path
    calls: list = field(default_factory=list)

    def stream(self, *argv):
        self.calls.append(argv)
        here = [word.replace(MOUNT, str(self.root)) for word in argv]
        yield subprocess.run(here, capture_output=True, check=True).stdout

    def put(self, path, archive):
        """As Docker does: what has arrived is there at once, whether the rest arrives or not."""
        self.calls.append(path)
        place = path.replace(MOUNT, str(self.root))
        argv = ["tar", "--extract", f"--directory={place}"]
        with subprocess.Popen(argv, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL) as tar:
            for some in archive:
                tar.stdin.write(some)


@pytest.fixture
def caches():
    upstreams = {"ghcr.io": {"pathPrefix": PREFIX}, "quay.io": {}}
    return of_settings(parse({"upstreams": upstreams}))


@pytest.fixture
def volumes(tmp_path, caches):
    for cache in caches:
        (tmp_path / folder(cache).removeprefix(f"{MOUNT}/")).mkdir(parents=True)
    return LocalVolumes(client=None, container="", caches=caches, present=caches, root=tmp_path)


def write(volumes, cache, repository, tag="v1"):
    """An image in a cache's volume, under this name."""
    root = volumes.root / folder(cache).removeprefix(f"{MOUNT}/")
    links = [storage.revision_link(repository, digest_of(IMAGE))]
    links += [storage.layer_link(repository, digest_of(one)) for one in (CONFIG, LAYER)]
    files = {storage.blob_path(digest_of(one)): one for one in (IMAGE, CONFIG, LAYER)}
    files |= {link: f"sha256:{link.split('/')[-2]}".encode() for link in links}
    current, history = storage.tag_links(repository, tag, digest_of(IMAGE))
    files |= dict.fromkeys((current, history), digest_of(IMAGE).encode())
    for path, content in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content)


def by_host(caches):
    return {cache.host: cache for cache in caches}


IMAGES = parse_list("ghcr.io/team/app:v1\n", "list", {"ghcr.io", "quay.io"})


def test_a_cache_knows_a_repository_below_its_prefix(caches):
    named = by_host(caches)
    assert named["ghcr.io"].stored("team/app") == f"{PREFIX}/team/app"
    assert named["quay.io"].stored("team/app") == "team/app"


def test_caches_are_used_with_the_scheme_and_login_of_the_stack():
    login = {"username": "nodes", "password": "hunter2"}
    (cache,) = of_settings(
        parse({"upstreams": {"quay.io": {}}, "cache": {"tls": True}, "cacheLogin": login})
    )
    assert cache.local_endpoint == "https://127.0.0.1:5002"
    assert cache.login.password == "hunter2"
    assert "hunter2" not in repr(cache), "tracebacks show reprs"


def test_an_upstream_behind_harbor_has_no_volume_here():
    harbor = {"url": "https://harbor.lan"}
    upstreams = {"docker.io": {"backend": "harbor"}, "quay.io": {}}
    found = of_settings(parse({"harbor": harbor, "upstreams": upstreams}))
    assert [cache.host for cache in found] == ["quay.io"]


def test_images_are_found_by_the_names_that_nodes_use(volumes, caches):
    write(volumes, by_host(caches)["ghcr.io"], f"{PREFIX}/team/app")
    write(volumes, by_host(caches)["quay.io"], "team/app")
    stores = volumes.stores()
    assert (
        set(stores["ghcr.io"].repositories) == set(stores["quay.io"].repositories) == {"team/app"}
    )
    assert faults(stores["ghcr.io"], IMAGES[0], AMD64, frozenset()) == ()


def test_what_is_outside_the_prefix_is_not_the_upstreams(volumes, caches):
    write(volumes, by_host(caches)["ghcr.io"], "team/app")
    assert volumes.stores()["ghcr.io"].repositories == {}, "nodes never ask for it any more"
    assert set(volumes.stores_as_they_are()["ghcr.io"].repositories) == {"team/app"}


def test_prune_sees_all_of_a_volume_and_keeps_what_a_list_names_as_nodes_do(volumes, caches):
    ghcr = by_host(caches)["ghcr.io"]
    write(volumes, ghcr, f"{PREFIX}/team/app")
    write(volumes, ghcr, "team/left-by-another-prefix")
    read = _read(volumes)
    sets = _stored({"pinned": IMAGES}, caches)
    decision = pruning.decide(read, sets, {}, len(IMAGE) + len(CONFIG) + len(LAYER), AMD64)
    assert not decision.refused
    assert [str(one) for one in sets["pinned"]] == [f"ghcr.io/{PREFIX}/team/app:v1"]
    assert decision.pinned == len(IMAGE) + len(CONFIG) + len(LAYER), "the list is found"


def into(volumes, lock):
    caches = {cache.host: cache for cache in volumes.caches}
    stores = dict.fromkeys(caches, storage.EMPTY)
    nothing = dict.fromkeys(caches, frozenset())
    return staging.Into(volumes=volumes, caches=caches, stores=stores, wanted=lock, damaged=nothing)


def taken(to, *blobs):
    """Returns how many were new."""
    return staging.take_blobs(to, iter(blobs))


def blob(content):
    return staging.Blob(digest=digest_of(content), size=len(content), content=io.BytesIO(content))


def files_in(volumes):
    return {str(one.relative_to(volumes.root)) for one in volumes.root.rglob("*") if one.is_file()}


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
    assert files_in(volumes) == set()


def test_the_next_import_removes_what_a_killed_one_left(volumes):
    to = into(volumes, {"ghcr.io": {digest_of(LAYER)}})
    killed = staging.no_leftovers(to)
    killed.__enter__()
    left = volumes.root / folder(to.caches["ghcr.io"]).removeprefix(f"{MOUNT}/") / storage.STAGING
    left.mkdir()
    (left / "half").write_bytes(b"half of a blob")
    with staging.no_leftovers(to):
        assert not left.exists()


def test_a_blob_of_two_caches_is_put_in_both_and_nothing_else_is_left(volumes):
    to = into(volumes, {host: {digest_of(LAYER)} for host in ("ghcr.io", "quay.io")})
    with staging.no_leftovers(to):
        assert taken(to, blob(LAYER)) == 1
    places = {f"{folder(one)}/{storage.blob_path(digest_of(LAYER))}" for one in volumes.caches}
    assert files_in(volumes) == {place.removeprefix(f"{MOUNT}/") for place in places}
    for place in places:
        assert (volumes.root / place.removeprefix(f"{MOUNT}/")).read_bytes() == LAYER


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
    staged = volumes.root / f"{folder(home)}/{staging.STAGED}".removeprefix(f"{MOUNT}/")
    file = staged / storage.blob_path(digest_of(other))
    with staging.no_leftovers(to):
        file.parent.mkdir(parents=True)
        file.write_bytes(other)
        with pytest.raises(subprocess.CalledProcessError):
            staging._place_blobs(to, home, digests)
    assert files_in(volumes) == set()


SMALL = [b"blob %d" % number for number in range(300)]


def test_many_blobs_take_a_few_calls_however_many_they_are(volumes):
    to = into(volumes, {"ghcr.io": {digest_of(one) for one in SMALL}})
    volumes.calls.clear()
    assert taken(to, *map(blob, SMALL)) == len(SMALL)
    assert len(volumes.calls) == 2, "one sends them, one puts them in place"
    held = volumes.stores_as_they_are()["ghcr.io"].blobs
    assert held == {digest_of(one): len(one) for one in SMALL}


def test_complete_blobs_stay_if_a_later_one_does_not_arrive(volumes, monkeypatch):
    monkeypatch.setattr(staging, "BATCH_BYTES", len(SMALL[0]))
    to = into(volumes, {"ghcr.io": {digest_of(one) for one in (*SMALL, LAYER)}})
    cut = staging.Blob(digest=digest_of(LAYER), size=len(LAYER), content=Cut(b"half"))
    with pytest.raises(tarfile.ReadError), staging.no_leftovers(to):
        taken(to, blob(SMALL[0]), cut)
    assert files_in(volumes) == {place_of(volumes, "ghcr.io", SMALL[0])}


def place_of(volumes, host, content):
    cache = by_host(volumes.caches)[host]
    return f"{folder(cache)}/{storage.blob_path(digest_of(content))}".removeprefix(f"{MOUNT}/")


def test_as_many_blobs_as_the_limit_says_go_in_one_call(volumes, monkeypatch):
    monkeypatch.setattr(staging, "BATCH_BLOBS", 100)
    to = into(volumes, {"ghcr.io": {digest_of(one) for one in SMALL}})
    volumes.calls.clear()
    assert taken(to, *map(blob, SMALL)) == len(SMALL)
    assert len(volumes.calls) == 2 * 3


def test_a_damaged_blob_is_replaced_and_one_that_no_volume_needs_is_checked(volumes):
    to = into(volumes, {"ghcr.io": {digest_of(LAYER)}})
    damaged = volumes.root / place_of(volumes, "ghcr.io", LAYER)
    damaged.parent.mkdir(parents=True)
    damaged.write_bytes(b"damaged")
    assert taken(to, blob(LAYER), blob(b"not needed")) == 1
    assert damaged.read_bytes() == LAYER
    with pytest.raises(ArchiveError, match="a file in it was changed"):
        taken(to, replace(blob(b"?"), digest=digest_of(b"!")))


def test_many_blobs_are_read_in_one_call(volumes):
    to = into(volumes, {"ghcr.io": {digest_of(one) for one in SMALL}})
    taken(to, *map(blob, SMALL))
    root = folder(to.caches["ghcr.io"])
    files = [(f"{root}/{storage.blob_path(digest_of(one))}", len(one)) for one in SMALL]
    volumes.calls.clear()
    assert [b"".join(pieces) for pieces in volumes.contents(files)] == SMALL
    assert len(volumes.calls) == 1


def test_what_is_read_of_a_volume_is_what_was_requested():
    """Whatever the pieces are, and even if the caller does not read all of it."""
    files = [("a", 3), ("b", 0), ("c", 4), ("d", 2)]
    read = ops_volumes.apart(iter([b"aa", b"ac", b"cccd", b"d"]), files)
    assert [b"".join(pieces) for pieces in read] == [b"aaa", b"", b"cccc", b"dd"]
    read = ops_volumes.apart(iter([b"aaacccc", b"dd"]), files)
    assert [next(pieces, b"") for pieces in read] == [b"aaa", b"", b"cccc", b"dd"]


def test_a_failure_at_the_end_of_reading_is_raised():
    def failing():
        yield b"aaa"
        raise OpsError("a file is gone")

    with pytest.raises(OpsError, match="a file is gone"):
        list(ops_volumes.apart(failing(), [("a", 3)]))


def test_a_manifest_that_is_too_large_is_not_read(volumes, caches, monkeypatch):
    write(volumes, by_host(caches)["quay.io"], "team/app")
    monkeypatch.setattr(ops_volumes, "MANIFEST_BYTES", len(IMAGE) - 1)
    held = volumes.stores()["quay.io"]
    assert held.manifests == {digest_of(IMAGE): b""}
    image = replace(IMAGES[0], host="quay.io")
    assert [fault.problem for fault in faults(held, image, AMD64)] == [storage.DAMAGED]


def test_an_imported_image_is_linked_where_its_cache_looks_for_it(volumes, caches):
    ghcr = by_host(caches)["ghcr.io"]
    parts = tuple(
        Part(part=part, digest=digest_of(one), size=len(one))
        for part, one in (("manifest", IMAGE), ("config", CONFIG), ("layer", LAYER))
    )
    locked = LockedImage(image=IMAGES[0], media_type=MANIFEST, parts=parts)
    lock = Lock(
        platform="linux/amd64",
        registry_image="",
        registry_digest="",
        images=(locked,),
        boot_assets=(),
    )
    root = volumes.root / folder(ghcr).removeprefix(f"{MOUNT}/")
    for one in (IMAGE, CONFIG, LAYER):
        path = root / storage.blob_path(digest_of(one))
        path.parent.mkdir(parents=True)
        path.write_bytes(one)
    into = staging.Into(
        volumes=volumes,
        caches={"ghcr.io": ghcr},
        stores=volumes.stores(),
        wanted={},
        damaged={},
    )
    import_archive._link(lock, into)
    assert set(volumes.stores_as_they_are()["ghcr.io"].repositories) == {f"{PREFIX}/team/app"}
    assert volumes.stores()["ghcr.io"].repository("team/app").tags == {"v1": digest_of(IMAGE)}
    assert faults(volumes.stores()["ghcr.io"], IMAGES[0], AMD64, frozenset()) == ()
    volumes.calls.clear()
    import_archive._link(lock, replace(into, stores=volumes.stores()))
    assert not [call for call in volumes.calls if call == folder(ghcr)], "all of it is linked"


def test_a_tag_of_another_image_is_moved_at_once(volumes, caches):
    """Its link is renamed into place, and is never missing."""
    ghcr = by_host(caches)["ghcr.io"]
    root = volumes.root / folder(ghcr).removeprefix(f"{MOUNT}/")
    name = ghcr.stored("team/app")
    current, history = storage.tag_links(name, "v1", digest_of(b"old"))
    for path in (current, history):
        (root / path).parent.mkdir(parents=True)
        (root / path).write_text(digest_of(b"old"))
    before = (root / current).stat().st_ino
    part = Part(part="manifest", digest=digest_of(IMAGE), size=len(IMAGE))
    lock = Lock(
        platform="linux/amd64",
        registry_image="",
        registry_digest="",
        images=(LockedImage(image=IMAGES[0], media_type=MANIFEST, parts=(part,)),),
        boot_assets=(),
    )
    to = replace(into(volumes, {}), stores=volumes.stores())
    volumes.calls.clear()
    import_archive._link(lock, to)
    assert volumes.stores()["ghcr.io"].repository("team/app").tags == {"v1": digest_of(IMAGE)}
    assert (root / history).read_text() == digest_of(b"old"), "the history stays"
    assert (root / current).stat().st_ino != before


def test_a_download_that_is_not_written_to_any_more_is_removed(volumes, caches):
    old, new = (upload(volumes, cache, b"wrong") for cache in caches)
    then = time.time() - 2 * 60 * 60
    os.utime(old, (then, then))
    assert volumes.remove_uploads() == (1, 5)
    assert (old.parent.exists(), new.exists()) == (False, True)
    assert volumes.remove_uploads() == (0, 0)


def upload(volumes, cache, content):
    """As the registry leaves it if a body has the wrong digest."""
    root = volumes.root / folder(cache).removeprefix(f"{MOUNT}/")
    made = root / "repositories" / "team/app" / "_uploads" / "01a21c03-f466-7e25-af6c-5afed629cc0a"
    made.mkdir(parents=True)
    (made / "startedat").write_text("2026-11-27T07:59:13Z")
    (made / "data").write_bytes(content)
    return made / "data"


def test_without_a_volume_there_is_no_download():
    assert Volumes(client=None, container="", caches=(), present=()).remove_uploads() == (0, 0)


def linked(*digits):
    return {
        path: f"sha256:{digit * 64}"
        for digit in digits
        for path in (
            storage.layer_link("team/app", f"sha256:{digit * 64}"),
            storage.tag_links("team/app", f"v{digit}", "")[0],
        )
    }


def links_in(volumes, cache):
    root = volumes.root / folder(cache).removeprefix(f"{MOUNT}/")
    return {
        str(file.relative_to(root)): file.read_text() for file in root.rglob("*") if file.is_file()
    }


def test_links_are_added_to_existing_ones_and_many_take_a_few_calls(volumes, monkeypatch):
    cache = volumes.caches[0]
    volumes.place_links(folder(cache), {})
    assert volumes.calls == []
    volumes.place_links(folder(cache), linked("1", "2"))
    monkeypatch.setattr(ops_volumes, "LINKS_AT_ONCE", 3)
    volumes.calls.clear()
    changed = dict.fromkeys(linked("2"), f"sha256:{'9' * 64}")
    volumes.place_links(folder(cache), {**linked("3", "4"), **changed})
    assert links_in(volumes, cache) == {**linked("1", "2", "3", "4"), **changed}
    assert len(volumes.calls) == 5, "two each for three of them, one to put them in place"


def test_whenever_it_ends_a_tag_points_to_something(volumes, tmp_path, monkeypatch):
    """It is stopped at each rename in turn, as by a kill."""
    cache = volumes.caches[0]
    volumes.place_links(folder(cache), linked("1"))
    counted = tmp_path / "renames"
    busybox(
        tmp_path,
        monkeypatch,
        f'[ "$1" != mv ] || {{ echo >>{counted}; [ $(wc -l <{counted}) -le $MOST ] || exit 1; }}',
    )
    for most in range(10):
        counted.write_text("")
        monkeypatch.setenv("MOST", str(most))
        with suppress(subprocess.CalledProcessError):
            volumes.place_links(folder(cache), linked("2"))
        there = {path for path in links_in(volumes, cache) if path.startswith("repositories")}
        tags = [path for path in there if "/tags/" in path]
        layers = [path for path in there if "/_layers/" in path]
        assert len(tags) <= len(layers)
        if len(tags) == 2:
            return
    pytest.fail("it never finished")


def test_a_folder_that_the_registry_creates_meanwhile_does_no_harm(volumes, tmp_path, monkeypatch):
    cache = volumes.caches[0]
    root = volumes.root / folder(cache).removeprefix(f"{MOUNT}/")
    made = root / storage.layer_link("team/app", f"sha256:{'5' * 64}")
    once = f'[ "$1" != mv ] || [ -e {made} ] || {{ mkdir -p {made.parent}; printf 5 >{made}; }}'
    busybox(tmp_path, monkeypatch, once)
    volumes.place_links(folder(cache), linked("1"))
    assert links_in(volumes, cache) == {**linked("1"), str(made.relative_to(root)): "5"}


def busybox(tmp_path, monkeypatch, before):
    """The real one, which runs this before."""
    program = tmp_path / "bin" / "busybox"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\n{before}\nexec {shutil.which("busybox")} "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
