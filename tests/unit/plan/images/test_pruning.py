"""What goes and what stays, on volumes written down by hand."""

import dataclasses
import hashlib
import json

import pytest

from host.errors import TalosCacheError
from plan import sizes
from plan.images import manifests, pruning, storage
from plan.images.pruning import Going
from plan.images.reference import ImageReference, Platform
from plan.images.storage import LINK_BYTES
from plan.images.volume_images import File, Volume

MANIFEST, INDEX = manifests.MANIFEST_TYPES[0], manifests.INDEX_TYPES[0]
AMD64 = Platform(os="linux", architecture="amd64")
HOST = "ghcr.io"
WRITTEN = "2026-01-01"


def digest_of(content):
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def descriptor(content, media_type="x"):
    return {"mediaType": media_type, "digest": digest_of(content), "size": len(content)}


def image(*layers):
    return json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": descriptor(b"{}"),
            "layers": [descriptor(layer) for layer in layers],
        }
    ).encode()


def index(*children):
    architectures = ("amd64", "arm64")
    entries = [
        {**descriptor(child, MANIFEST), "platform": {"os": "linux", "architecture": architecture}}
        for architecture, child in zip(architectures, children, strict=True)
    ]
    return json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}).encode()


BASE, OLD, NEW, CONFIG = b"base" * 1000, b"old" * 1000, b"new" * 1000, b"{}"
OLD_IMAGE, NEW_IMAGE = image(BASE, OLD), image(BASE, NEW)
BOTH = index(OLD_IMAGE, NEW_IMAGE)


class Disk:
    """A volume that grows by what is put on it, in distribution's own layout."""

    def __init__(self, host=HOST):
        self.host = host
        self.blobs = {}
        self.files = {}
        self.tags = {}

    def repository(self, name, contents, layers, tags=(), day=WRITTEN):
        for content in (*contents, *layers):
            self.blobs[digest_of(content)] = content
        for content in contents:
            self.file(storage.revision_link(name, digest_of(content)), day=day)
        for layer in layers:
            self.file(storage.layer_link(name, digest_of(layer)), day=day)
        for tag, content in dict(tags).items():
            current, history = storage.tag_links(name, tag, digest_of(content))
            self.tags[current] = digest_of(content)
            self.file(current, day=day)
            self.file(history, day=day)
        return self

    def file(self, path, size=LINK_BYTES, day=WRITTEN):
        self.files[path] = File(size=size, day=day)
        return self

    def without(self, *contents):
        for content in contents:
            del self.blobs[digest_of(content)]
        return self

    @property
    def volume(self):
        listed = [(path, file.size) for path, file in self.files.items()]
        listed += [(storage.blob_path(one), len(content)) for one, content in self.blobs.items()]
        tags = {path: digest for path, digest in self.tags.items() if path in self.files}
        read = storage.parse_listing(listed, tags)
        contents = {digest: self.blobs[digest] for digest in read.revisions()}
        return Volume(
            host=self.host,
            store=dataclasses.replace(read, manifests=contents),
            files=dict(self.files),
        )

    def remove(self, todo):
        for path in (*todo.tags, *todo.files):
            del self.files[path]
        for digest in todo.blobs:
            del self.blobs[digest]


def two(**more):
    """Tags `old` and `new` in one repository; they share a layer and the config."""
    contents, layers = (OLD_IMAGE, NEW_IMAGE), (BASE, OLD, NEW, CONFIG)
    return Disk(**more).repository("app", contents, layers, {"old": OLD_IMAGE, "new": NEW_IMAGE})


SIZE = two().volume.size
DAYS = {"app:old": "2026-11-01", "app:new": "2026-11-20"}


def ref(name="app", tag="", digest="", host=HOST):
    return ImageReference(host=host, repository=name, tag=tag, digest=digest)


def decided(*disks, to=0, keep=(), days=DAYS):
    sets = {"kept": keep} if keep else {}
    return pruning.decide([disk.volume for disk in disks], sets, {HOST: days}, to, AMD64)


def names(decision):
    return [str(one.image).removeprefix(f"{HOST}/") for one in decision.going]


def pruned(disk, decision, keep=()):
    """The volume afterwards."""
    sets = {"kept": keep} if keep else {}
    disk.remove(pruning.removal(disk.volume, sets, decision.going))
    assert disk.volume.size == decision.after[disk.host]
    return disk.volume


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("20GB", 20 * 10**9),
        ("500MB", 5 * 10**8),
        ("20GiB", 20 * 2**30),
        ("1.5 TB", 15 * 10**11),
        (" 3kB", 3000),
        ("3KB", 3000),
        ("2KiB", 2048),
        ("0B", 0),
    ],
)
def test_a_size_is_a_number_and_a_unit(text, size):
    assert sizes.parse_size(text) == size


@pytest.mark.parametrize("text", ["", "20", "GB", "-1GB", "20gb", "20G", "1,5GB", "1e3GB", "20GBs"])
def test_anything_else_is_refused(text):
    with pytest.raises(ValueError, match="a number and a unit"):
        sizes.parse_size(text)


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
    assert storage.faults(after.store, ref(tag="new"), AMD64) == ()
    assert set(after.store.repositories["app"].tags) == {"new"}


def test_all_can_go():
    disk = two()
    decision = decided(disk, to=0)
    assert names(decision) == ["app:old", "app:new"]
    assert sum(one.frees for one in decision.going) == SIZE
    after = pruned(disk, decision)
    assert (after.files, after.store) == ({}, storage.EMPTY)


def test_a_pinned_image_stays_however_old_it_is():
    for keep in (ref(tag="old"), ref(digest=digest_of(OLD_IMAGE))):
        disk = two()
        decision = decided(disk, to=SIZE - 1, keep=[keep])
        assert names(decision) == ["app:new"]
        assert storage.faults(pruned(disk, decision, [keep]).store, keep, AMD64) == ()


def test_with_a_tag_and_a_digest_the_digest_is_pinned():
    keep = [ref(tag="new", digest=digest_of(OLD_IMAGE))]
    assert names(decided(two(), to=SIZE - 1, keep=keep)) == ["app:new"]


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
    disk = Disk().repository("app", (BOTH, OLD_IMAGE, NEW_IMAGE), (BASE, OLD, NEW), {"v1": BOTH})
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
    disk = Disk().repository("app", (BOTH, OLD_IMAGE, NEW_IMAGE), (BASE, OLD, NEW))
    decision = decided(disk, to=0)
    assert names(decision) == [f"app@{digest_of(BOTH)}"]
    assert pruned(disk, decision).store == storage.EMPTY


def test_a_pinned_part_of_a_removed_index_stays():
    disk = Disk().repository("app", (BOTH, OLD_IMAGE, NEW_IMAGE), (BASE, OLD, NEW), {"v1": BOTH})
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


def pruned_files(disk, *, to):
    return pruning.removal(disk.volume, {}, decided(disk, to=to).going).files


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
    disk = Disk().repository("app", (BOTH, OLD_IMAGE, NEW_IMAGE), (BASE, OLD, NEW), {"v1": BOTH})
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
    assert storage.faults(disk.volume.store, ref("late", tag="v1"), AMD64) == ()
    assert set(disk.volume.store.repositories) == {"late"}


def test_a_tag_that_moved_since_the_decision_stays():
    disk = two()
    decision = decided(disk, to=SIZE - 1)
    moved = image(NEW, OLD)
    disk.repository("app", (moved,), (), {"old": moved})
    disk.remove(pruning.removal(disk.volume, {}, decision.going))
    assert storage.faults(disk.volume.store, ref(tag="old"), AMD64) == ()


def test_pinned_images_stay_even_if_chosen():
    chosen = [
        Going(image=ref(tag="old"), root=digest_of(OLD_IMAGE), last_used="", frees=0),
    ]
    todo = pruning.removal(two().volume, {"kept": [ref(tag="old")]}, chosen)
    assert todo.is_empty


@pytest.mark.parametrize("steps", range(12))
def test_after_an_interruption_all_tags_are_complete_and_the_next_run_finishes(steps):
    disk, whole = two(), two()
    decision = decided(disk, to=SIZE - 1)
    todo = pruning.removal(disk.volume, {}, decision.going)
    order = [(disk.files, path) for path in (*todo.tags, *todo.files)]
    order += [(disk.blobs, digest) for digest in todo.blobs]
    for where, what in order[:steps]:
        del where[what]
    held = disk.volume.store
    for tag in held.repositories["app"].tags:
        assert storage.faults(held, ref(tag=tag), AMD64) == ()
    disk.remove(pruning.removal(disk.volume, {}, decided(disk, to=SIZE - 1).going))
    whole.remove(pruning.removal(whole.volume, {}, decision.going))
    assert disk.volume == whole.volume


def test_no_caches_at_all_are_not_an_error():
    decision = pruning.decide([], {"kept": [ref(tag="old")]}, {}, 0, AMD64)
    assert (decision.going, decision.before, decision.floor) == ((), {}, 0)


def about(subject, *layers):
    """A manifest that says what it belongs to."""
    content = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": descriptor(b"{}"),
        "layers": [descriptor(layer) for layer in layers],
        "subject": descriptor(subject),
    }
    return json.dumps(content).encode()


def attached_tag(content, suffix=""):
    return f"{digest_of(content).replace(':', '-')}{suffix}"


def referrers(*contents):
    entries = [descriptor(one, MANIFEST) for one in contents]
    return json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}).encode()


SBOM, SIGNED = b"an sbom", b"a signature"
OF_OLD = image(SIGNED)
SBOM_OF_OLD = about(OLD_IMAGE, SBOM)


def with_belongings():
    """`two`, where `old` has a signature, an artifact that names it, and a list of these."""
    disk = two()
    listed = referrers(SBOM_OF_OLD)
    made = (OF_OLD, SBOM_OF_OLD, listed)
    tags = {attached_tag(OLD_IMAGE, ".sig"): OF_OLD, attached_tag(OLD_IMAGE): listed}
    return disk.repository("app", made, (SIGNED, SBOM, CONFIG), tags)


def test_what_belongs_to_an_image_goes_with_it():
    disk = with_belongings()
    decision = decided(disk, to=SIZE - 1)
    assert names(decision) == ["app:old"]
    after = pruned(disk, decision)
    assert set(after.store.repositories["app"].tags) == {"new"}
    assert after.size == SIZE - len(OLD) - len(OLD_IMAGE)
    assert storage.faults(after.store, ref(tag="new"), AMD64) == ()


def test_what_belongs_to_an_image_stays_with_it():
    disk = with_belongings()
    days = {"app:old": "2026-11-20", "app:new": "2026-11-01"}
    decision = decided(disk, to=disk.volume.size - 1, days=days)
    assert names(decision) == ["app:new"]
    after = pruned(disk, decision)
    for tag in ("old", attached_tag(OLD_IMAGE, ".sig"), attached_tag(OLD_IMAGE)):
        assert storage.faults(after.store, ref(tag=tag), AMD64) == ()


def test_what_belongs_to_an_image_stays_while_it_has_another_tag():
    disk = with_belongings().repository("app", (), (), {"same": OLD_IMAGE})
    days = {**DAYS, "app:same": "2026-11-25"}
    after = pruned(disk, decided(disk, to=SIZE, days=days))
    assert attached_tag(OLD_IMAGE) in after.store.repositories["app"].tags


@pytest.mark.parametrize("keep", [ref(tag="old"), ref(digest=digest_of(OLD_IMAGE))])
def test_what_belongs_to_a_pinned_image_stays(keep):
    disk = with_belongings()
    decision = decided(disk, to=disk.volume.size - 1, keep=[keep])
    assert names(decision) == ["app:new"]
    after = pruned(disk, decision, [keep])
    for tag in (attached_tag(OLD_IMAGE, ".sig"), attached_tag(OLD_IMAGE)):
        assert storage.faults(after.store, ref(tag=tag), AMD64) == ()


def test_what_belongs_to_an_image_of_an_index_goes_with_the_index():
    disk = Disk().repository("app", (BOTH, OLD_IMAGE), (BASE, OLD, CONFIG), {"v1": BOTH})
    disk.repository("app", (OF_OLD,), (SIGNED,), {attached_tag(OLD_IMAGE, ".sig"): OF_OLD})
    assert names(decision := decided(disk)) == ["app:v1"]
    assert pruned(disk, decision).store == storage.EMPTY


def test_what_belongs_to_an_image_that_is_not_here_goes_by_itself():
    disk = two().repository("app", (OF_OLD,), (SIGNED,), {f"sha256-{'0' * 64}.sig": OF_OLD})
    assert f"app:sha256-{'0' * 64}.sig" in names(decided(disk))


def test_a_tag_that_names_the_digest_of_its_own_image_is_an_image():
    disk = Disk().repository("app", (OLD_IMAGE,), (BASE, OLD, CONFIG), {"v1": OLD_IMAGE})
    disk.repository("app", (), (), {attached_tag(OLD_IMAGE): OLD_IMAGE})
    assert names(decided(disk)) == ["app:v1", f"app:{attached_tag(OLD_IMAGE)}"][::-1]


def test_what_belongs_to_each_other_goes_together():
    """Unlikely, but all of it is still one image."""
    disk = Disk().repository("app", (OLD_IMAGE, NEW_IMAGE), (BASE, OLD, NEW, CONFIG))
    tags = {attached_tag(OLD_IMAGE): NEW_IMAGE, attached_tag(NEW_IMAGE): OLD_IMAGE}
    disk.repository("app", (), (), tags)
    (only,) = (decision := decided(disk)).going
    assert only.image.digest == min(map(digest_of, (OLD_IMAGE, NEW_IMAGE)))
    assert pruned(disk, decision).store == storage.EMPTY


def test_an_index_may_be_attached_to_an_image_that_is_in_it():
    own = json.loads(referrers(OLD_IMAGE)) | {"subject": descriptor(OLD_IMAGE)}
    listed = json.dumps(own).encode()
    disk = Disk().repository("app", (listed, OLD_IMAGE), (BASE, OLD, CONFIG))
    assert len((decision := decided(disk)).going) == 1
    assert pruned(disk, decision).store == storage.EMPTY


@pytest.mark.parametrize("subject", ["", [], {}, {"digest": 1}, None, 3])
def test_a_malformed_subject_does_not_make_an_image_unreadable(subject):
    content = json.dumps(json.loads(OLD_IMAGE) | {"subject": subject}).encode()
    disk = Disk().repository("app", (content,), (BASE, OLD, CONFIG), {"v1": content})
    decision = decided(disk)
    assert (names(decision), decision.refused) == (["app:v1"], {})
