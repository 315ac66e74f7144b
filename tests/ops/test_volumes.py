"""Volumes of a cache with a path prefix: images are listed, pinned and linked as nodes name them.

`LocalVolumes` is a double of the container: it runs the same programs on a folder of this machine.
"""

import io
import subprocess
import tarfile
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

import ops.volumes
from ops.archive import importing
from ops.caches import of_settings
from ops.prune import _read, _stored
from ops.volumes import MOUNT, Volumes, folder
from plan import pruning, store
from plan.archive import ArchiveError, Lock, LockedImage
from plan.images import parse_list
from plan.settings import parse
from plan.store import Part, faults
from tests.plan.test_store import (
    AMD64,
    CONFIG,
    IMAGE,
    LAYER,
    MANIFEST,
    digest_of,
)

PREFIX = "proxy-ghcr.io"


@dataclass(frozen=True, kw_only=True)
class LocalVolumes(Volumes):
    """Volumes in a folder; `stream` is refused."""

    root: Path

    def run(self, *argv):
        here = [word.replace(MOUNT, str(self.root)) for word in argv]
        return subprocess.run(here, capture_output=True, check=True).stdout

    def stream(self, *argv):
        raise NotImplementedError

    def put(self, path, archive):
        """As Docker does: what comes is there at once, whether the rest comes or not."""
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
    links = [store.revision_link(repository, digest_of(IMAGE))]
    links += [store.layer_link(repository, digest_of(one)) for one in (CONFIG, LAYER)]
    files = {store.blob_path(digest_of(one)): one for one in (IMAGE, CONFIG, LAYER)}
    files |= {link: f"sha256:{link.split('/')[-2]}".encode() for link in links}
    current, history = store.tag_links(repository, tag, digest_of(IMAGE))
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


def test_caches_are_asked_by_the_scheme_and_the_login_that_the_stack_gives_them():
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


def test_what_lies_outside_the_prefix_is_none_of_the_upstreams(volumes, caches):
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
    stores = dict.fromkeys(caches, store.EMPTY)
    nothing = dict.fromkeys(caches, frozenset())
    return importing._Into(
        volumes=volumes, caches=caches, stores=stores, wanted=lock, damaged=nothing
    )


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
def test_a_blob_that_does_not_come_leaves_nothing_behind(volumes, content, error):
    to = into(volumes, {"ghcr.io": {digest_of(LAYER)}})
    with pytest.raises(error), importing._staging(to):
        importing._take_blob(to, digest_of(LAYER), len(LAYER), content)
    assert files_in(volumes) == set()


def test_what_a_killed_import_has_left_goes_with_the_next(volumes):
    to = into(volumes, {"ghcr.io": {digest_of(LAYER)}})
    killed = importing._staging(to)
    killed.__enter__()
    left = volumes.root / folder(to.caches["ghcr.io"]).removeprefix(f"{MOUNT}/") / store.STAGING
    left.mkdir()
    (left / "half").write_bytes(b"half of a blob")
    with importing._staging(to):
        assert not left.exists()


def test_a_blob_of_two_caches_gets_its_place_in_both_and_nothing_else_is_left(volumes):
    to = into(volumes, {host: {digest_of(LAYER)} for host in ("ghcr.io", "quay.io")})
    with importing._staging(to):
        assert importing._take_blob(to, digest_of(LAYER), len(LAYER), io.BytesIO(LAYER))
    places = {f"{folder(one)}/{store.blob_path(digest_of(LAYER))}" for one in volumes.caches}
    assert files_in(volumes) == {place.removeprefix(f"{MOUNT}/") for place in places}
    for place in places:
        assert (volumes.root / place.removeprefix(f"{MOUNT}/")).read_bytes() == LAYER


def test_a_manifest_that_is_too_large_is_not_read(volumes, caches, monkeypatch):
    write(volumes, by_host(caches)["quay.io"], "team/app")
    monkeypatch.setattr(ops.volumes, "MANIFEST_BYTES", len(IMAGE) - 1)
    held = volumes.stores()["quay.io"]
    assert held.manifests == {digest_of(IMAGE): b""}
    image = replace(IMAGES[0], host="quay.io")
    assert [fault.problem for fault in faults(held, image, AMD64)] == [store.DAMAGED]


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
        path = root / store.blob_path(digest_of(one))
        path.parent.mkdir(parents=True)
        path.write_bytes(one)
    into = importing._Into(
        volumes=volumes, caches={"ghcr.io": ghcr}, stores={}, wanted={}, damaged={}
    )
    importing._link(lock, into)
    assert set(volumes.stores_as_they_are()["ghcr.io"].repositories) == {f"{PREFIX}/team/app"}
    assert volumes.stores()["ghcr.io"].repository("team/app").tags == {"v1": digest_of(IMAGE)}
    assert faults(volumes.stores()["ghcr.io"], IMAGES[0], AMD64, frozenset()) == ()
