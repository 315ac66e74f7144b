"""Volumes of caches: images are listed, read, pinned and linked as nodes name them."""

import os
import shutil
import subprocess
import time
from contextlib import suppress
from dataclasses import replace

import pytest

from ops.archive.staging import Into
from ops.commands import import_archive
from ops.commands.prune import _stored
from ops.docker import volumes as ops_volumes
from ops.docker.volume_contents import contents
from ops.docker.volumes import MOUNT, Volumes, folder
from ops.errors import OpsError
from plan.caches.cache import of_settings
from plan.images import pruning, storage
from plan.images.storage import faults
from plan.settings.stack import parse
from tests.fakes.programs import program
from tests.unit.ops.docker.local_volumes import IMAGES, PREFIX, local_volumes, lock_of, write
from tests.unit.plan.images.shapes import AMD64, CONFIG, IMAGE, LAYER, digest_of


@pytest.fixture
def volumes(tmp_path):
    return local_volumes(tmp_path)


def test_a_cache_knows_a_repository_below_its_prefix(volumes):
    named = volumes.by_host
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


def test_images_are_found_by_the_names_that_nodes_use(volumes):
    write(volumes, "ghcr.io", f"{PREFIX}/team/app")
    write(volumes, "quay.io", "team/app")
    stores = volumes.stores()
    assert [set(store.repositories) for store in stores.values()] == [{"team/app"}] * 2
    assert faults(stores["ghcr.io"], IMAGES[0], AMD64, frozenset()) == ()


def test_what_is_outside_the_prefix_is_not_the_upstreams(volumes):
    write(volumes, "ghcr.io", "team/app")
    assert volumes.stores()["ghcr.io"].repositories == {}, "nodes never ask for it any more"
    assert set(volumes.stores_as_they_are()["ghcr.io"].repositories) == {"team/app"}


def test_prune_sees_all_of_a_volume_and_keeps_what_a_list_names_as_nodes_do(volumes):
    write(volumes, "ghcr.io", f"{PREFIX}/team/app")
    write(volumes, "ghcr.io", "team/left-by-another-prefix")
    whole = len(IMAGE) + len(CONFIG) + len(LAYER)
    sets = _stored({"pinned": IMAGES}, volumes.caches)
    decision = pruning.decide(contents(volumes), sets, {}, whole, AMD64)
    assert not decision.refused
    assert [str(one) for one in sets["pinned"]] == [f"ghcr.io/{PREFIX}/team/app:v1"]
    assert decision.pinned == whole, "the list is found"


def test_many_files_are_read_in_one_call(volumes):
    small = [b"blob %d" % number for number in range(300)]
    for number, one in enumerate(small):
        (volumes.root / str(number)).write_bytes(one)
    files = [(f"{MOUNT}/{number}", len(one)) for number, one in enumerate(small)]
    assert [b"".join(pieces) for pieces in volumes.contents(files)] == small
    assert len(volumes.calls) == 1


def test_what_is_read_of_a_volume_is_what_was_requested():
    """Whatever the pieces are, and even if the caller does not read all of it."""
    files = [("a", 3), ("b", 0), ("c", 4), ("d", 2)]
    read = ops_volumes.apart(iter([b"aa", b"ac", b"cccd", b"d"]), files)
    assert [b"".join(pieces) for pieces in read] == [b"aaa", b"", b"cccc", b"dd"]
    read = ops_volumes.apart(iter([b"aa", b"acccc", b"dd"]), files)
    assert [next(pieces, b"") for pieces in read] == [b"aa", b"", b"cccc", b"dd"]


def test_a_failure_at_the_end_of_reading_is_raised():
    def failing():
        yield b"aaa"
        raise OpsError("a file is gone")

    with pytest.raises(OpsError, match="a file is gone"):
        list(ops_volumes.apart(failing(), [("a", 3)]))


def test_a_manifest_that_is_too_large_is_not_read(volumes, monkeypatch):
    write(volumes, "quay.io", "team/app")
    monkeypatch.setattr(ops_volumes, "MANIFEST_BYTES", len(IMAGE) - 1)
    held = volumes.stores()["quay.io"]
    assert held.manifests == {digest_of(IMAGE): b""}
    image = replace(IMAGES[0], host="quay.io")
    assert [fault.problem for fault in faults(held, image, AMD64)] == [storage.DAMAGED]


def into(volumes):
    caches = {"ghcr.io": volumes.by_host["ghcr.io"]}
    return Into(volumes=volumes, caches=caches, stores=volumes.stores(), wanted={}, damaged={})


def test_an_imported_image_is_linked_where_its_cache_looks_for_it(volumes):
    for one in (IMAGE, CONFIG, LAYER):
        path = volumes.home("ghcr.io") / storage.blob_path(digest_of(one))
        path.parent.mkdir(parents=True)
        path.write_bytes(one)
    lock = lock_of(manifest=IMAGE, config=CONFIG, layer=LAYER)
    import_archive._link(lock, into(volumes))
    assert set(volumes.stores_as_they_are()["ghcr.io"].repositories) == {f"{PREFIX}/team/app"}
    assert volumes.stores()["ghcr.io"].repository("team/app").tags == {"v1": digest_of(IMAGE)}
    assert faults(volumes.stores()["ghcr.io"], IMAGES[0], AMD64, frozenset()) == ()
    again = into(volumes)
    volumes.calls.clear()
    import_archive._link(lock, again)
    assert volumes.calls == [], "all of it is linked"


def test_a_tag_of_another_image_is_moved_at_once(volumes):
    """Its link is renamed into place, and is never missing."""
    name = volumes.by_host["ghcr.io"].stored("team/app")
    links = storage.tag_links(name, "v1", digest_of(b"old"))
    current, history = (volumes.home("ghcr.io") / path for path in links)
    for path in (current, history):
        path.parent.mkdir(parents=True)
        path.write_text(digest_of(b"old"))
    before = current.stat().st_ino
    import_archive._link(lock_of(manifest=IMAGE), into(volumes))
    assert volumes.stores()["ghcr.io"].repository("team/app").tags == {"v1": digest_of(IMAGE)}
    assert history.read_text() == digest_of(b"old"), "the history stays"
    assert current.stat().st_ino != before


def test_a_download_that_is_not_written_to_any_more_is_removed(volumes):
    old, new = (upload(volumes, host, b"wrong") for host in volumes.by_host)
    then = time.time() - 2 * 60 * 60
    os.utime(old, (then, then))
    assert volumes.remove_uploads() == (1, 5)
    assert (old.parent.exists(), new.exists()) == (False, True)
    assert volumes.remove_uploads() == (0, 0)


def upload(volumes, host, content):
    """As the registry leaves it if a body has the wrong digest."""
    made = (
        volumes.home(host) / "repositories/team/app/_uploads/01a21c03-f466-7e25-af6c-5afed629cc0a"
    )
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
    root = volumes.home(cache.host)
    return {path: (root / path).read_text() for path in volumes.files(cache)}


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
    stop = f"echo >>{counted}; [ $(wc -l <{counted}) -le $MOST ] || exit 1"
    busybox(tmp_path, monkeypatch, f'[ "$1" != mv ] || {{ {stop}; }}')
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
    root = volumes.home(cache.host)
    made = root / storage.layer_link("team/app", f"sha256:{'5' * 64}")
    once = f'[ "$1" != mv ] || [ -e {made} ] || {{ mkdir -p {made.parent}; printf 5 >{made}; }}'
    busybox(tmp_path, monkeypatch, once)
    volumes.place_links(folder(cache), linked("1"))
    assert links_in(volumes, cache) == {**linked("1"), str(made.relative_to(root)): "5"}


def busybox(tmp_path, monkeypatch, before):
    """The real one, which runs this before."""
    folder = tmp_path / "bin"
    program(folder, "busybox", f'{before}\nexec {shutil.which("busybox")} "$@"')
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
