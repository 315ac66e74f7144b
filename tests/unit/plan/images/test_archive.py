"""What an archive says of itself, and what it must not say."""

import json
from dataclasses import replace

import pytest

from plan.images import archive
from plan.images.archive import ArchiveError, BootAsset, Lock, LockedImage
from plan.images.manifests import MANIFEST_BYTES
from plan.images.reference import ImageReference
from plan.images.storage import Part
from tests.unit.plan.images import shapes as stored

ROOT, LAYER, OTHER = ("sha256:" + letter * 64 for letter in "abc")
APP = ImageReference(host="ghcr.io", repository="team/app", tag="v1")
LOCK = Lock(
    platform="linux/amd64",
    registry_image="registry:3.1.2",
    registry_digest=OTHER,
    images=(
        LockedImage(
            image=APP,
            media_type="application/vnd.oci.image.manifest.v1+json",
            parts=(
                Part(part="manifest", digest=ROOT, size=10),
                Part(part="layer", digest=LAYER, size=20),
            ),
        ),
    ),
    boot_assets=(BootAsset(path="cache/v1.13.0/vmlinuz", digest=OTHER, size=30, executable=False),),
)


def changed(change):
    value = json.loads(archive.lock_text(LOCK))
    change(value)
    return json.dumps(value)


def test_a_lock_is_read_as_it_was_written():
    assert archive.parse_lock(archive.lock_text(LOCK)) == LOCK
    assert LOCK.blobs == {ROOT: 10, LAYER: 20}
    assert LOCK.size == 60, "the boot asset counts"
    assert LOCK.hosts == ("ghcr.io",)
    assert LOCK.by_host == {"ghcr.io": {ROOT, LAYER}}


def test_the_index_names_every_image_by_its_whole_reference():
    (entry,) = json.loads(archive.index_text(LOCK.images))["manifests"]
    assert entry["annotations"] == {"org.opencontainers.image.ref.name": "ghcr.io/team/app:v1"}
    assert (entry["digest"], entry["size"]) == (ROOT, 10)
    assert archive.blob_member(ROOT) == "blobs/sha256/" + "a" * 64


@pytest.mark.parametrize("text", ["", "[]", "{}", "no json", "[" * 100_000, "[]," * 300_000])
def test_what_is_not_a_lock_is_refused(text):
    with pytest.raises(ArchiveError, match=r"talos-cache\.json is not a lock"):
        archive.parse_lock(text)


@pytest.mark.parametrize("key", ["format", "platform"])
def test_a_message_about_a_lock_is_short(key):
    text = changed(lambda value: value.update({key: "a" * 3_000_000}))
    with pytest.raises(ArchiveError) as caught:
        archive.parse_lock(text)
    assert len(str(caught.value)) < 1000


def test_another_format_is_refused_with_what_to_do():
    text = changed(lambda value: value.update(format=2))
    with pytest.raises(ArchiveError, match=r"format is 2.* export it again"):
        archive.parse_lock(text)


@pytest.mark.parametrize(
    "change",
    [
        lambda value: value.pop("platform"),
        lambda value: value.pop("registryDigest"),
        lambda value: value.update(registryDigest=""),
        lambda value: value.update(images="all"),
        lambda value: value.update(images=[{}]),
        lambda value: value["images"][0].update(image="app:v1"),
        lambda value: value["images"][0].update(digest=OTHER),
        lambda value: value["images"][0].update(parts=[]),
        lambda value: value["images"][0].update(parts={}),
        lambda value: value["images"][0]["parts"].reverse(),
        lambda value: value["images"][0]["parts"][1].update(part="program"),
        lambda value: value["images"][0]["parts"][1].update(digest="sha256:../../etc"),
        lambda value: value["images"][0]["parts"][1].update(size=-1),
        lambda value: value["images"][0]["parts"][1].update(size="20"),
        lambda value: value["bootAssets"][0].update(path="/etc/passwd"),
        lambda value: value["bootAssets"][0].update(path="cache/../../.bashrc"),
        lambda value: value.update(platform="linux"),
        lambda value: value.update(platform=None),
        lambda value: value["images"][0]["parts"][0].update(size=MANIFEST_BYTES + 1),
        lambda value: value["bootAssets"][0].update(path=""),
        lambda value: value["bootAssets"][0].update(path="cache"),
        lambda value: value["bootAssets"][0].update(path="cache/"),
        lambda value: value["bootAssets"][0].update(path="cache/./x"),
        lambda value: value["bootAssets"][0].update(path="clusters/mine/state.yaml"),
        lambda value: value["bootAssets"][0].update(path="config"),
        lambda value: value["bootAssets"][0].update(path="cache/a\nb"),
        lambda value: value["bootAssets"][0].update(path="cache/" + "a" * 250),
        lambda value: value["bootAssets"][0].update(path="cache" + "/a" * 9),
        lambda value: value["bootAssets"][0].update(executable="yes"),
        lambda value: value["bootAssets"][0].pop("executable"),
    ],
)
def test_a_damaged_lock_is_refused(change):
    with pytest.raises(ArchiveError, match=r"talos-cache\.json is damaged"):
        archive.parse_lock(changed(change))


def test_a_tag_with_another_digest_in_a_cache_is_a_conflict():
    held = {"ghcr.io": {"team/app": {"v1": OTHER}}}
    assert archive.conflicts(LOCK, held) == (
        f"ghcr.io/team/app:v1: the cache has {OTHER}, the archive {ROOT}",
    )
    assert archive.conflicts(LOCK, {"ghcr.io": {"team/app": {"v1": ROOT}}}) == ()
    assert archive.conflicts(LOCK, {}) == ()


def parts_of(*kinds):
    contents = (stored.LIST, stored.IMAGE, stored.CONFIG, stored.LAYER)
    named = zip(("index", "manifest", "config", "layer"), contents, strict=True)
    return tuple(
        Part(part=kind, digest=stored.digest_of(content), size=len(content))
        for kind, content in named
        if kind in kinds
    )


CONTENTS = {stored.digest_of(one): one for one in (stored.LIST, stored.IMAGE)}


def lock_of(*kinds, image=APP):
    locked = LockedImage(image=image, media_type="", parts=parts_of(*kinds))
    return replace(LOCK, images=(locked,))


@pytest.mark.parametrize("image", [APP, replace(APP, tag="", digest=stored.digest_of(stored.LIST))])
def test_an_image_is_complete_with_all_that_its_manifests_name(image):
    lock = lock_of("index", "manifest", "config", "layer", image=image)
    assert archive.incomplete(lock, CONTENTS) == ()
    assert archive.incomplete(replace(lock, platform="linux/riscv64"), CONTENTS) == (str(image),)


@pytest.mark.parametrize("left_out", ["manifest", "config", "layer"])
def test_an_image_whose_lock_leaves_a_part_out_is_incomplete(left_out):
    kinds = {"index", "manifest", "config", "layer"} - {left_out}
    assert archive.incomplete(lock_of(*kinds), CONTENTS) == (str(APP),)


def test_all_manifests_of_an_archive_have_a_bound_together():
    count = archive.ALL_MANIFESTS_BYTES // MANIFEST_BYTES
    manifests = [
        Part(part="manifest", digest=f"sha256:{number:064}", size=MANIFEST_BYTES)
        for number in range(count + 1)
    ]
    for some, fits in ((manifests[:-1], True), (manifests, False)):
        images = tuple(
            LockedImage(image=APP, media_type="", parts=(part, LOCK.images[0].parts[1]))
            for part in some
        )
        lock = replace(LOCK, images=images)
        assert archive.fits(lock) == fits
        if fits:
            assert archive.parse_lock(archive.lock_text(lock)) == lock
        else:
            with pytest.raises(ArchiveError, match="export fewer"):
                archive.parse_lock(archive.lock_text(lock))


def test_a_lock_has_a_bound(monkeypatch):
    size = len(archive.lock_text(replace(LOCK, registry_digest="")))
    for bound, fits in ((size + 71, True), (size + 70, False)):
        monkeypatch.setattr(archive, "LOCK_BYTES", bound)
        assert archive.fits(replace(LOCK, registry_digest="")) == fits
