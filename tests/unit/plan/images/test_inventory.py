"""What a cache holds, image by image, and what goes with one of them."""

import pytest

from host.errors import TalosCacheError
from plan.images import inventory, pruning
from plan.images.volume_images import VolumeImages
from tests.unit.plan.images.shapes import AMD64, digest_of, entry, index
from tests.unit.plan.images.volumes import (
    BASE,
    BOTH,
    CONFIG,
    DAYS,
    NEW,
    NEW_IMAGE,
    OLD,
    OLD_IMAGE,
    Disk,
    noon,
    one,
    ref,
    two,
)


def held(disk, days=DAYS):
    return {
        str(row.image).rpartition("/")[2]: row
        for row in inventory.held(VolumeImages(disk.volume, (), days), AMD64)
    }


def test_each_tag_is_a_row_with_its_size_and_what_it_shares():
    rows = held(two())
    assert list(rows) == ["app:new", "app:old"]
    shared = len(BASE) + len(CONFIG)
    assert rows["app:old"].size == len(OLD_IMAGE) + len(OLD) + shared
    assert rows["app:old"].shared == shared
    assert rows["app:old"].digest == digest_of(OLD_IMAGE)
    assert (rows["app:old"].fetched, rows["app:old"].last_used) == (
        noon("2026-01-01"),
        "2026-11-01",
    )
    assert (rows["app:old"].state, rows["app:old"].platforms) == ("complete", ())


def test_an_image_alone_shares_nothing():
    assert held(one({"v1": OLD_IMAGE}))["app:v1"].shared == 0


def test_without_a_tag_it_is_known_by_its_digest():
    assert list(held(one({}))) == [f"app@{digest_of(OLD_IMAGE)}"]


def for_two_platforms():
    contents, layers = (BOTH, OLD_IMAGE, NEW_IMAGE), (BASE, OLD, NEW, CONFIG)
    return Disk().repository("app", contents, layers, {"v1": BOTH})


def test_of_an_index_those_platforms_are_named_that_are_complete():
    assert held(for_two_platforms())["app:v1"].platforms == ("linux/amd64", "linux/arm64")
    [row] = held(for_two_platforms().without(NEW)).values()
    assert (row.platforms, row.state) == (("linux/amd64",), "complete")
    [row] = held(for_two_platforms().without(OLD)).values()
    assert (row.platforms, row.state) == (("linux/arm64",), "incomplete")


def test_what_a_builder_attests_is_no_platform():
    unknown = {**entry(OLD_IMAGE), "platform": {"os": "unknown", "architecture": "unknown"}}
    attested = index(entry(NEW_IMAGE, "amd64"), unknown)
    disk = Disk().repository("app", (attested, OLD_IMAGE, NEW_IMAGE), (BASE, OLD, NEW, CONFIG))
    [row] = held(disk).values()
    assert row.platforms == ("linux/amd64",)


def test_an_image_whose_manifest_alone_was_requested_is_told_apart():
    disk = one({"v1": OLD_IMAGE}).without(BASE, OLD, CONFIG)
    disk.files = {path: file for path, file in disk.files.items() if "_layers" not in path}
    assert held(disk)["app:v1"].state == "manifest only"


def going(disk, *images):
    cache = VolumeImages(disk.volume, (), DAYS)
    return inventory.going(cache, images), inventory.not_there(cache, images)


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (ref(tag="old"), ["app:old"]),
        (ref(digest=digest_of(OLD_IMAGE)), ["app:old"]),
        (ref(tag="old", digest=digest_of(OLD_IMAGE)), ["app:old"]),
        (ref(tag="old", digest=digest_of(NEW_IMAGE)), []),
        (ref(tag="none"), []),
        (ref("other", tag="old"), []),
    ],
)
def test_an_image_is_meant_by_its_tag_or_its_digest(image, expected):
    chosen, missing = going(two(), image)
    assert [str(row.image).rpartition("/")[2] for row in chosen] == expected
    assert missing == (() if expected else (image,))


def test_what_goes_frees_what_no_other_image_needs():
    [row], _ = going(two(), ref(tag="old"))
    assert row.frees == len(OLD_IMAGE) + len(OLD)
    rows, _ = going(two(), ref(tag="old"), ref(tag="new"))
    assert sum(row.frees for row in rows) == two().volume.size


def test_a_second_tag_of_an_image_frees_nothing():
    disk = one({"v1": OLD_IMAGE, "v2": OLD_IMAGE})
    [row], _ = going(disk, ref(tag="v1"))
    assert row.frees == 0
    disk.remove(inventory.removal(disk.volume, [row]))
    assert list(held(disk)) == ["app:v2"]
    assert held(disk)["app:v2"].is_complete


def test_nothing_goes_but_what_the_image_alone_has():
    """Parts of no image are another matter: `prune` tells how large they are."""
    disk = two().file("repositories/app/_uploads/1/data")
    disk.repository("app", (), (b"of no image",), {})
    [row], _ = going(disk, ref(tag="old"))
    todo = inventory.removal(disk.volume, [row])
    assert todo.blobs == {digest_of(OLD_IMAGE): len(OLD_IMAGE), digest_of(OLD): len(OLD)}
    assert todo.size == row.frees
    assert not any("_uploads" in path for path in todo.files)
    stray = digest_of(b"of no image")
    assert stray in pruning.removal(disk.volume, {}, [row]).blobs
    disk.remove(todo)
    assert list(held(disk)) == ["app:new"]
    assert stray in disk.volume.store.blobs


def test_a_cache_that_can_not_be_read_is_left_alone():
    damaged = two()
    [row], _ = going(damaged, ref(tag="old"))
    damaged.blobs[digest_of(OLD_IMAGE)] = OLD_IMAGE[:-1]
    with pytest.raises(TalosCacheError, match="run repair"):
        inventory.removal(damaged.volume, [row])
