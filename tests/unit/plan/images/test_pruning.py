"""What goes and what stays, on volumes written down by hand."""

import dataclasses

import pytest

from host.errors import TalosCacheError
from plan.images import pruning, storage
from plan.images.pruning import Going
from tests.unit.plan.images.shapes import AMD64, digest_of, image
from tests.unit.plan.images.volumes import (
    BASE,
    BOTH,
    CONFIG,
    DAYS,
    HOST,
    NEW,
    NEW_IMAGE,
    OLD,
    OLD_IMAGE,
    SIZE,
    WRITTEN,
    Disk,
    both,
    decided,
    is_complete,
    names,
    pruned,
    ref,
    two,
)


def pruned_files(disk, *, to):
    return pruning.removal(disk.volume, {}, decided(disk, to=to).going).files


def test_while_there_is_room_nothing_goes():
    disk = two()
    decision = decided(disk, to=SIZE)
    assert (decision.going, decision.after) == ((), {HOST: SIZE})
    assert pruning.removal(disk.volume, {}, ()).is_empty


def test_the_least_recently_used_image_goes_and_shared_blobs_stay():
    disk = two()
    decision = decided(disk, to=SIZE - 1)
    assert names(decision) == ["app:old"]
    (gone,) = decision.going
    assert (gone.last_used, gone.frees) == ("2026-11-01", len(OLD_IMAGE) + len(OLD))
    todo = pruning.removal(disk.volume, {}, decision.going)
    current, history = storage.tag_links("app", "old", digest_of(OLD_IMAGE))
    assert todo.tags == (current,)
    assert set(todo.files) == {
        history,
        storage.revision_link("app", digest_of(OLD_IMAGE)),
        storage.layer_link("app", digest_of(OLD)),
    }
    assert todo.blobs == {digest_of(OLD_IMAGE): len(OLD_IMAGE), digest_of(OLD): len(OLD)}
    after = pruned(disk, decision)
    assert is_complete(after, "new")
    assert set(after.store.repositories["app"].tags) == {"new"}


def test_all_can_go():
    disk = two()
    decision = decided(disk, to=0)
    assert names(decision) == ["app:old", "app:new"]
    assert sum(one.frees for one in decision.going) == SIZE
    after = pruned(disk, decision)
    assert (after.files, after.store) == ({}, storage.EMPTY)


@pytest.mark.parametrize(
    "keep",
    [
        {"tag": "old"},
        {"digest": digest_of(OLD_IMAGE)},
        # The digest counts.
        {"tag": "new", "digest": digest_of(OLD_IMAGE)},
    ],
    ids=["tag", "digest", "tag-and-digest"],
)
def test_a_pinned_image_stays_however_old_it_is(keep):
    disk = two()
    decision = decided(disk, to=SIZE - 1, keep=[ref(**keep)])
    assert names(decision) == ["app:new"]
    assert is_complete(pruned(disk, decision, [ref(**keep)]), **keep)


def test_nothing_is_removed_if_the_pinned_images_do_not_fit():
    disk = two().file("repositories/app/_uploads/1/data", size=10)
    decision = decided(disk, to=100, keep=[ref(tag="old")])
    assert not decision.fits
    assert (decision.going, decision.strays) == ((), {HOST: 0})
    assert decision.after == decision.before == {HOST: SIZE + 10}
    assert decision.floor == SIZE - len(NEW) - len(NEW_IMAGE)


def test_sets_have_their_sizes_and_completeness():
    disk = two().without(NEW)
    elsewhere = ref("app", tag="v1", host="quay.io")
    sets = {
        "one": [ref(tag="old")],
        "two": [ref(tag="old"), ref(tag="new"), ref("nowhere", tag="v1"), elsewhere],
    }
    decision = pruning.decide([disk.volume], sets, {}, SIZE, AMD64)
    whole = len(OLD_IMAGE) + len(BASE) + len(OLD) + len(CONFIG)
    assert [(one.name, one.size, one.images, one.complete) for one in decision.sets] == [
        ("one", whole, 1, 1),
        ("two", whole + len(NEW_IMAGE), 4, 1),
    ]
    assert decision.pinned == whole + len(NEW_IMAGE)


def test_without_a_use_in_the_ledger_the_day_of_the_tags_link_counts():
    disk = two()
    current, _ = storage.tag_links("app", "old", digest_of(OLD_IMAGE))
    disk.file(current, day="2026-11-25")
    assert names(decided(disk, to=SIZE - 1, days={"app:new": "2026-11-20"})) == ["app:new"]
    assert names(decided(disk, to=SIZE - 1, days={"app:new": "2026-11-26"})) == ["app:old"]
    decision = decided(disk, to=SIZE - 1, days={})
    assert [one.last_used for one in decision.going] == [WRITTEN]


def test_an_image_without_any_day_is_the_oldest():
    volume = dataclasses.replace(two().volume, files={})
    decision = pruning.decide([volume], {}, {HOST: {"app:old": "2025-01-01"}}, SIZE - 1, AMD64)
    assert [(str(one.image), one.last_used) for one in decision.going] == [("ghcr.io/app:new", "")]


@pytest.mark.parametrize("used", [OLD_IMAGE, BOTH])
def test_a_use_by_digest_counts_for_the_tags_of_that_digest(used):
    disk = two().repository("app", (BOTH,), (), {"both": BOTH})
    days = {**DAYS, f"app@{digest_of(used)}": "2026-12-01"}
    order = names(decided(disk, to=0, days=days))
    assert order[-1] == ("app:old" if used == OLD_IMAGE else "app:both")
    assert order.index("app:both") > order.index("app:new")


def test_all_platforms_of_an_image_stay_or_go_with_it():
    disk = both({"v1": BOTH})
    keep = [ref(tag="v1")]
    decision = decided(disk, to=disk.volume.size, keep=keep)
    assert (decision.floor, decision.after) == (disk.volume.size, {HOST: disk.volume.size})
    decision = decided(disk, to=0)
    assert names(decision) == ["app:v1"]
    assert pruned(disk, decision).store == storage.EMPTY


def test_a_platform_that_was_never_pulled_does_not_matter():
    disk = Disk().repository("app", (BOTH, OLD_IMAGE), (BASE, OLD), {"v1": BOTH})
    decision = decided(disk, to=disk.volume.size, keep=[ref(tag="v1")])
    assert decision.fits
    assert decision.refused == {}


def test_an_untagged_manifest_is_an_image_of_its_own():
    disk = both({})
    decision = decided(disk, to=0)
    assert names(decision) == [f"app@{digest_of(BOTH)}"]
    assert pruned(disk, decision).store == storage.EMPTY


def test_a_pinned_part_of_a_removed_index_stays():
    disk = both({"v1": BOTH})
    keep = [ref(digest=digest_of(OLD_IMAGE))]
    decision = decided(disk, to=disk.volume.size - 1, keep=keep)
    assert names(decision) == ["app:v1"]
    after = pruned(disk, decision, keep)
    assert set(after.store.blobs) == set(map(digest_of, (OLD_IMAGE, BASE, OLD)))


def test_the_history_of_a_tag_goes_with_the_old_image():
    disk = two()
    _, history = storage.tag_links("app", "new", digest_of(OLD_IMAGE))
    disk.file(history)
    assert history in pruned_files(disk, to=SIZE - 1)
    assert history in disk.volume.files
    assert history not in pruned_files(disk, to=SIZE)


def test_an_image_whose_blobs_all_stay_is_not_removed():
    disk = two().repository("twin", (NEW_IMAGE,), (BASE, NEW, CONFIG), {"v1": NEW_IMAGE})
    days = {**DAYS, "twin:v1": "2026-10-01"}
    assert names(decided(disk, to=SIZE - 1, days=days)) == ["app:old"]
    assert names(decided(disk, to=0, days=days)) == ["twin:v1", "app:old", "app:new"]
    keep = [ref(tag="new")]
    floor = decided(disk, to=SIZE, days=days, keep=keep).floor
    assert names(decided(disk, to=floor, days=days, keep=keep)) == ["app:old"]


def test_the_least_recently_used_of_all_caches_go_and_volumes_share_nothing():
    disks = two(), two(host="quay.io")
    days = {HOST: DAYS, "quay.io": {"app:old": "2026-10-01", "app:new": "2026-11-10"}}
    volumes = [disk.volume for disk in disks]
    decision = pruning.decide(volumes, {}, days, SIZE, AMD64)
    assert [str(one.image) for one in decision.going] == [
        "quay.io/app:old",
        "ghcr.io/app:old",
        "quay.io/app:new",
    ]
    assert decision.after == {HOST: SIZE - len(OLD) - len(OLD_IMAGE), "quay.io": 0}


def test_what_belongs_to_no_image_goes_at_once():
    lost = b"nobody's"
    disk = two()
    disk.blobs[digest_of(lost)] = lost
    layer = storage.layer_link("empty", digest_of(b"gone"))
    current, _ = storage.tag_links("empty", "v1", digest_of(b"gone"))
    disk.file(layer).file(current).file(storage.revision_link("empty", digest_of(b"gone")))
    disk.tags[current] = digest_of(b"gone")
    decision = decided(disk, to=10**9)
    assert (decision.going, decision.strays) == ((), {HOST: len(lost)})
    after = pruned(disk, decision)
    assert set(after.store.repositories) == {"app"}
    assert after == two().volume


def test_a_cut_link_and_a_half_removed_tag_go():
    """As a killed run, or a full disk, may leave them."""
    disk = two()
    _, history = storage.tag_links("app", "gone", digest_of(OLD_IMAGE))
    cut = storage.layer_link("app", digest_of(b"cut"))
    disk.file(history).file(cut, size=0)
    assert set(pruned_files(disk, to=SIZE)) == {history, cut}


def test_what_is_left_over_goes():
    disk = two().file("repositories/team/app/_uploads/1/data", size=1000)
    disk.file("repositories/app/_layers/sha256/x/link.1.tmp", size=30)
    disk.file("blobs/sha256/ab/x/data.new", size=4)
    disk.file("talos-cache-import/0123", size=500)
    assert disk.volume.size == SIZE + 1534
    decision = decided(disk, to=10**9)
    assert (decision.strays, decision.after) == ({HOST: 1534}, {HOST: SIZE})
    assert set(pruned_files(disk, to=10**9)) == {
        "repositories/team/app/_uploads/1",
        "repositories/app/_layers/sha256/x/link.1.tmp",
        "blobs/sha256/ab/x/data.new",
        "talos-cache-import/0123",
    }


def test_files_that_are_not_known_are_left_alone():
    disk = two().file("repositories/app/_manifests/other").file("somewhere")
    assert pruned_files(disk, to=SIZE) == ()


@pytest.mark.parametrize(
    "content", [b"", b"no manifest", OLD_IMAGE.replace(b'"size": 4000', b'"size": 4001')]
)
def test_a_damaged_manifest_keeps_its_cache_as_it_is_and_others_are_pruned(content):
    assert content != OLD_IMAGE
    damaged, intact = two(), two(host="quay.io")
    damaged.blobs[digest_of(OLD_IMAGE)] = content
    before = damaged.volume.size
    decision = decided(damaged, intact, to=before + 1)
    assert decision.after[HOST] == before
    assert decision.after["quay.io"] == 0
    assert "run repair" in decision.refused[HOST]
    assert digest_of(OLD_IMAGE) in decision.refused[HOST]
    assert not decided(damaged, intact, to=before - 1).fits
    with pytest.raises(TalosCacheError, match="run repair"):
        pruning.removal(damaged.volume, {}, ())


def test_what_a_malformed_manifest_needs_is_not_guessed():
    disk = two().repository("app", (b"{}",), ())
    assert "1 of its manifests can't be read" in decided(disk, to=0).refused[HOST]


@pytest.mark.parametrize(
    ("gone", "keep"),
    [
        (BOTH, ref(tag="v1")),
        (BOTH, ref(digest=digest_of(BOTH))),
        (OLD_IMAGE, ref(tag="v1")),
        (OLD_IMAGE, ref(digest=digest_of(BOTH))),
    ],
)
def test_a_pinned_image_that_has_lost_a_manifest_keeps_its_cache_as_it_is(gone, keep):
    disk = both({"v1": BOTH})
    disk.without(gone)
    decision = decided(disk, to=10**9, keep=[keep])
    assert f"a manifest of the pinned {keep} is missing" in decision.refused[HOST]
    assert decision.strays == {HOST: 0}
    assert decided(disk, to=10**9).refused == {}, "if not pinned, what can't be served is removed"


def test_a_tag_without_a_link_to_its_manifest_is_lost_as_well():
    disk = two()
    del disk.files[storage.revision_link("app", digest_of(OLD_IMAGE))]
    assert HOST in decided(disk, to=10**9, keep=[ref(tag="old")]).refused


def test_a_pinned_image_that_the_cache_never_had_stops_nothing():
    nowhere = [
        ref(tag="v9"),
        ref("nowhere", tag="v1"),
        ref(digest=digest_of(b"never")),
        ref(tag="old", host="quay.io"),
    ]
    decision = decided(two(), to=0, keep=nowhere)
    assert (decision.refused, decision.floor) == ({}, 0)
    assert names(decision) == ["app:old", "app:new"]


def test_what_was_added_since_the_decision_stays_complete():
    disk = two()
    decision = decided(disk, to=0)
    late = image(OLD)
    disk.repository("late", (late,), (OLD, CONFIG), {"v1": late})
    disk.remove(pruning.removal(disk.volume, {}, decision.going))
    assert is_complete(disk.volume, "v1", name="late")
    assert set(disk.volume.store.repositories) == {"late"}


def test_a_tag_that_moved_since_the_decision_stays():
    disk = two()
    decision = decided(disk, to=SIZE - 1)
    moved = image(NEW, OLD)
    disk.repository("app", (moved,), (), {"old": moved})
    disk.remove(pruning.removal(disk.volume, {}, decision.going))
    assert is_complete(disk.volume, "old")


def test_pinned_images_stay_even_if_chosen():
    old = ref(tag="old")
    chosen = [Going(image=old, root=digest_of(OLD_IMAGE), last_used="", frees=0)]
    assert pruning.removal(two().volume, {"kept": [old]}, chosen).is_empty


@pytest.mark.parametrize("steps", range(12))
def test_after_an_interruption_all_tags_are_complete_and_the_next_run_finishes(steps):
    disk, whole = two(), two()
    decision = decided(disk, to=SIZE - 1)
    todo = pruning.removal(disk.volume, {}, decision.going)
    order = [(disk.files, path) for path in (*todo.tags, *todo.files)]
    order += [(disk.blobs, digest) for digest in todo.blobs]
    for where, what in order[:steps]:
        del where[what]
    left = disk.volume
    assert all(is_complete(left, tag) for tag in left.store.repositories["app"].tags)
    disk.remove(pruning.removal(disk.volume, {}, decided(disk, to=SIZE - 1).going))
    whole.remove(pruning.removal(whole.volume, {}, decision.going))
    assert disk.volume == whole.volume


def test_no_caches_at_all_are_not_an_error():
    decision = pruning.decide([], {"kept": [ref(tag="old")]}, {}, 0, AMD64)
    assert (decision.going, decision.before, decision.floor) == ((), {}, 0)
