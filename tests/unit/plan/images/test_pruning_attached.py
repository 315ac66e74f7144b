"""Signatures, lists of referrers and the like stay or go with the image they belong to."""

import json

import pytest

from plan.images import storage
from tests.unit.plan.images.shapes import attached, descriptor, digest_of, entry, image, index
from tests.unit.plan.images.volumes import (
    BASE,
    BOTH,
    CONFIG,
    DAYS,
    NEW,
    NEW_IMAGE,
    OLD,
    OLD_IMAGE,
    SIZE,
    Disk,
    decided,
    is_complete,
    names,
    one,
    pruned,
    ref,
    two,
)

SBOM, SIGNED = b"an sbom", b"a signature"
OF_OLD = image(SIGNED)
SBOM_OF_OLD = image(SBOM, subject=descriptor(OLD_IMAGE))
SIGNATURE, REFERRERS = attached(OLD_IMAGE, ".sig"), attached(OLD_IMAGE)


def with_belongings():
    """`two`, where `old` has a signature, an artifact that names it, and a list of these."""
    listed = index(entry(SBOM_OF_OLD))
    made = (OF_OLD, SBOM_OF_OLD, listed)
    return two().repository(
        "app", made, (SIGNED, SBOM, CONFIG), {SIGNATURE: OF_OLD, REFERRERS: listed}
    )


def test_it_goes_with_its_image():
    disk = with_belongings()
    decision = decided(disk, to=SIZE - 1)
    assert names(decision) == ["app:old"]
    after = pruned(disk, decision)
    assert set(after.store.repositories["app"].tags) == {"new"}
    assert after.size == SIZE - len(OLD) - len(OLD_IMAGE)
    assert is_complete(after, "new")


@pytest.mark.parametrize(
    ("days", "keep"),
    [
        ({"app:old": "2026-11-20", "app:new": "2026-11-01"}, []),
        (DAYS, [ref(tag="old")]),
        (DAYS, [ref(digest=digest_of(OLD_IMAGE))]),
    ],
    ids=["used", "pinned", "pinned-digest"],
)
def test_it_stays_with_its_image(days, keep):
    disk = with_belongings()
    decision = decided(disk, to=disk.volume.size - 1, days=days, keep=keep)
    assert names(decision) == ["app:new"]
    after = pruned(disk, decision, keep)
    assert all(is_complete(after, tag) for tag in ("old", SIGNATURE, REFERRERS))


def test_it_stays_while_its_image_has_another_tag():
    disk = with_belongings().repository("app", (), (), {"same": OLD_IMAGE})
    days = {**DAYS, "app:same": "2026-11-25"}
    after = pruned(disk, decided(disk, to=SIZE, days=days))
    assert REFERRERS in after.store.repositories["app"].tags


def test_what_belongs_to_an_image_of_an_index_goes_with_the_index():
    disk = Disk().repository("app", (BOTH, OLD_IMAGE), (BASE, OLD, CONFIG), {"v1": BOTH})
    disk.repository("app", (OF_OLD,), (SIGNED,), {SIGNATURE: OF_OLD})
    assert names(decision := decided(disk)) == ["app:v1"]
    assert pruned(disk, decision).store == storage.EMPTY


def test_what_belongs_to_an_image_that_is_not_here_goes_by_itself():
    disk = two().repository("app", (OF_OLD,), (SIGNED,), {f"sha256-{'0' * 64}.sig": OF_OLD})
    assert f"app:sha256-{'0' * 64}.sig" in names(decided(disk))


def test_a_tag_that_names_the_digest_of_its_own_image_is_an_image():
    disk = one({"v1": OLD_IMAGE, REFERRERS: OLD_IMAGE})
    assert names(decided(disk)) == [f"app:{REFERRERS}", "app:v1"]


def test_what_belongs_to_each_other_goes_together():
    """Unlikely, but all of it is still one image."""
    tags = {attached(OLD_IMAGE): NEW_IMAGE, attached(NEW_IMAGE): OLD_IMAGE}
    disk = Disk().repository("app", (OLD_IMAGE, NEW_IMAGE), (BASE, OLD, NEW, CONFIG), tags)
    (only,) = (decision := decided(disk)).going
    assert only.image.digest == min(map(digest_of, (OLD_IMAGE, NEW_IMAGE)))
    assert pruned(disk, decision).store == storage.EMPTY


def test_an_index_may_be_attached_to_an_image_that_is_in_it():
    listed = index(entry(OLD_IMAGE), subject=descriptor(OLD_IMAGE))
    disk = one({}).repository("app", (listed,), ())
    assert len((decision := decided(disk)).going) == 1
    assert pruned(disk, decision).store == storage.EMPTY


@pytest.mark.parametrize("subject", ["", [], {}, {"digest": 1}, None, 3], ids=str)
def test_a_malformed_subject_does_not_make_an_image_unreadable(subject):
    content = json.dumps(json.loads(OLD_IMAGE) | {"subject": subject}).encode()
    disk = Disk().repository("app", (content,), (BASE, OLD, CONFIG), {"v1": content})
    decision = decided(disk)
    assert (names(decision), decision.refused) == (["app:v1"], {})
