"""The content of volumes and the faults of images, on handwritten volumes."""

import dataclasses

import pytest

from plan.images import storage
from plan.images.reference import Platform
from tests.unit.plan.images.shapes import (
    ALL,
    AMD64,
    CONFIG,
    IMAGE,
    LAYER,
    LIST,
    WANTED,
    attached,
    digest_of,
    entry,
    gone,
    held,
    image,
    index,
    link_of,
    volume,
)

S390X = Platform(os="linux", architecture="s390x")
NESTED = index(entry(LIST))
SIGNATURE = image(b"a signature", config=b"of a signature")
REFERRERS = index(entry(SIGNATURE), entry(IMAGE))
OTHER = image(b"of another", LAYER, config=b"another config")


def tagged(tag):
    return dataclasses.replace(WANTED, tag=tag)


def kind(made, tag="v1"):
    return storage.kind(made, tagged(tag), storage.faults(made, tagged(tag), AMD64))


def told(made, image=WANTED, platform=AMD64, damaged=()):
    found = storage.faults(made, image, platform, frozenset(damaged))
    return [(fault.part, fault.digest, fault.problem) for fault in found]


def missing(part, content):
    return part, digest_of(content), storage.MISSING


class TestFaults:
    def test_a_complete_image_has_none(self):
        assert told(held()) == []
        assert told(held(), dataclasses.replace(WANTED, tag="", digest=digest_of(IMAGE))) == []
        assert held().size == sum(map(len, ALL))
        assert held().revisions() == tuple(sorted(map(digest_of, (LIST, IMAGE))))

    def test_all_parts_are_listed_once(self):
        parts = storage.parts(held(), WANTED, AMD64)
        assert [(part.part, part.size) for part in parts] == [
            ("index", len(LIST)),
            ("manifest", len(IMAGE)),
            ("config", len(CONFIG)),
            ("layer", len(LAYER)),
        ]

    @pytest.mark.parametrize(
        ("content", "part"),
        [(LIST, "manifest"), (IMAGE, "manifest"), (CONFIG, "config"), (LAYER, "layer")],
        ids=["index", "manifest", "config", "layer"],
    )
    @pytest.mark.parametrize("lack", ["file", "link", "whole link", "both"])
    def test_a_part_is_missing_without_its_file_or_its_whole_link(self, content, part, lack):
        """Another repository may have the file: it is missing in this one without its link."""
        changed = {
            "file": gone(content),
            "link": {link_of(content): None},
            "whole link": {link_of(content): 0},
            "both": {**gone(content), link_of(content): None},
        }
        assert told(held(changed[lack])) == [missing(part, content)]

    def test_a_blob_of_the_wrong_size_is_found_without_hashing(self):
        made = held({storage.blob_path(digest_of(LAYER)): 3})
        assert told(made) == [("layer", digest_of(LAYER), storage.WRONG_SIZE)]

    def test_a_damaged_blob_is_reported(self):
        digest = digest_of(LAYER)
        assert told(held(), damaged=[digest]) == [("layer", digest, storage.DAMAGED)]

    @pytest.mark.parametrize("content", [b"", b"something else", IMAGE + b" "])
    def test_a_manifest_with_other_content_is_damaged(self, content):
        read = {digest_of(LIST): LIST, digest_of(IMAGE): content}
        made = dataclasses.replace(held(), manifests=read)
        assert told(made) == [("manifest", digest_of(IMAGE), storage.DAMAGED)]

    def test_a_malformed_manifest_is_damaged_even_with_the_right_digest(self):
        made = volume((), (), {"v1": b"{}"})
        assert told(made) == [("manifest", digest_of(b"{}"), storage.DAMAGED)]

    @pytest.mark.parametrize("changes", [{"tag": "v2"}, {"repository": "nowhere"}], ids=str)
    def test_a_missing_tag_is_reported(self, changes):
        assert told(held(), dataclasses.replace(WANTED, **changes)) == [
            ("tag", "", storage.MISSING)
        ]

    def test_a_tag_whose_link_contains_no_digest_is_missing(self):
        current, _ = storage.tag_links("team/app", "v1", "")
        for links in ({current: "sha256:cut"}, {"elsewhere": digest_of(LIST)}):
            assert told(storage.parse_listing([], links)) == [("tag", "", storage.MISSING)]

    def test_an_index_without_the_platform_is_reported(self):
        made = volume((IMAGE,), (CONFIG, LAYER), {"v1": index(entry(IMAGE, "amd64"))})
        assert told(made, platform=S390X) == [("platform", "", storage.MISSING)]

    def test_a_node_falls_back_to_the_first_entry_without_a_platform(self):
        assert told(held(), platform=S390X) == [missing("manifest", b"unsaid")]

    def test_an_index_in_an_index_is_an_image_that_nodes_pull(self):
        made = volume((LIST, IMAGE), (CONFIG, LAYER), {"v1": NESTED})
        assert told(made) == []
        parts = [part.part for part in storage.parts(made, WANTED, AMD64)]
        assert parts == ["index", "index", "manifest", "config", "layer"]
        made = volume((LIST, IMAGE), (CONFIG,), {"v1": NESTED})
        assert told(made) == [missing("layer", LAYER)]

    def test_indexes_may_be_nested_to_any_depth(self):
        made = [IMAGE]
        for _ in range(2000):
            made.append(index(entry(made[-1])))
        assert told(volume(made, (CONFIG, LAYER), {"v1": made[-1]})) == []


class TestKind:
    @pytest.mark.parametrize("suffix", ["", ".sig", ".att", ".sbom"])
    def test_what_is_attached_to_an_image_is_known_by_its_tag(self, suffix):
        tag = attached(IMAGE, suffix)
        assert storage.subject_of(tag) == digest_of(IMAGE)
        made = volume((IMAGE, SIGNATURE), (), {tag: REFERRERS, "v1": LIST})
        assert kind(made, tag) == storage.ATTACHED

    @pytest.mark.parametrize(
        "tag", ["v1", "sha256-abc", f"sha512-{'a' * 64}", f"x-sha256-{'a' * 64}"]
    )
    def test_what_has_another_tag_is_not_attached(self, tag):
        assert storage.subject_of(tag) is None

    def test_an_image_that_is_tagged_with_its_own_digest_is_an_image(self):
        tag = attached(LIST)
        assert kind(volume((IMAGE,), (CONFIG, LAYER), {tag: LIST}), tag) == storage.IMAGE

    def test_of_what_is_attached_everything_is_needed_whatever_its_platform(self):
        tag = attached(LIST)
        made = volume((SIGNATURE, IMAGE), (CONFIG, b"a signature"), {tag: REFERRERS})
        assert told(made, tagged(tag)) == [
            missing("config", b"of a signature"),
            missing("layer", LAYER),
        ]
        blobs = (CONFIG, LAYER, b"of a signature", b"a signature")
        assert told(volume((SIGNATURE, IMAGE), blobs, {tag: REFERRERS}), tagged(tag)) == []
        assert told(volume((), (), {tag: index()}), tagged(tag)) == []

    def test_a_manifest_that_is_listed_twice_is_one_part(self):
        tag = attached(LIST)
        made = volume((IMAGE,), (CONFIG, LAYER), {tag: index(entry(IMAGE), entry(IMAGE))})
        assert told(made, tagged(tag)) == []
        assert len(storage.parts(made, tagged(tag), AMD64)) == 4

    @pytest.mark.parametrize(
        "made",
        [
            volume((), (), {"v1": LIST}),
            volume((), (), {"v1": IMAGE}),
            volume((), (), {"v1": NESTED}),
            volume((LIST, IMAGE), (), {"v1": NESTED}),
            # Another image has brought the layer that both have.
            volume((), (b"of another", LAYER, b"another config"), {"v1": IMAGE, "v2": OTHER}),
        ],
        ids=["index", "manifest", "nested", "nested-manifest", "layer-of-another"],
    )
    def test_an_image_with_nothing_but_manifests_was_only_looked_at(self, made):
        assert told(made) != []
        assert kind(made) == storage.LOOKED_AT

    @pytest.mark.parametrize(
        "made",
        [
            held(),
            volume((IMAGE,), (CONFIG,), {"v1": LIST}),
            volume((IMAGE,), (LAYER,), {"v1": LIST}),
            # Only another platform than the requested one.
            volume(
                (IMAGE,),
                (CONFIG, LAYER),
                {"v1": index(entry(b"layers", "amd64"), entry(IMAGE, "arm64"))},
            ),
            volume((), (), {"v2": IMAGE}),
            # A damaged layer.
            held({storage.blob_path(digest_of(LAYER)): 1}),
            dataclasses.replace(held(), manifests={digest_of(IMAGE): IMAGE}),
        ],
        ids=["whole", "config", "layer", "platform", "no-tag", "damaged", "unread"],
    )
    def test_an_image_with_any_blob_was_pulled(self, made):
        assert kind(made) == storage.IMAGE

    @pytest.mark.parametrize(
        "made",
        [
            held(gone(CONFIG, LAYER)),
            volume((), (CONFIG, LAYER), {"v1": IMAGE}, gone(CONFIG, LAYER)),
            # It is unknown which blobs were its own.
            held(gone(IMAGE)),
            held(gone(IMAGE, CONFIG, LAYER)),
            held(gone(LIST)),
            held({**gone(LIST), link_of(LIST): None}),
        ],
        ids=[
            "blobs",
            "blobs-of-a-manifest",
            "manifest",
            "all-but-index",
            "index",
            "index-and-link",
        ],
    )
    def test_an_image_that_has_lost_its_files_was_pulled(self, made):
        """A link proves that there was a file: the registry writes it when it has the file."""
        assert told(made) != []
        assert kind(made) == storage.IMAGE


class TestGone:
    @pytest.mark.parametrize(
        ("made", "lost"),
        [
            (held(), ()),
            (held(gone(LAYER, IMAGE)), (LAYER, IMAGE)),
            (held(gone(CONFIG, LAYER)), (CONFIG, LAYER)),
            (held(gone(LIST, LAYER)), (LIST, LAYER)),
            # Of an image that another one's manifest does not name.
            (volume((IMAGE,), (LAYER, b"another"), {"v1": IMAGE}, gone(b"another")), ()),
            # What has expired (cache.ttl): the manifest's link and its own, but not another one's.
            (volume((), (CONFIG, LAYER), {}, gone(LAYER)), ()),
        ],
        ids=["nothing", "manifest", "blobs", "index", "of-no-image", "expired"],
    )
    def test_what_is_linked_and_may_be_needed_and_is_not_there(self, made, lost):
        assert made.gone == set(map(digest_of, lost))

    def test_what_one_repository_needs_is_not_gone_from_another(self):
        """They share no links; a cache fetches what is not linked."""
        made = held(gone(LAYER))
        linked = made.repository("team/app")
        stale = dataclasses.replace(linked, revisions=frozenset())
        bare = dataclasses.replace(linked, layers=frozenset())
        both = dataclasses.replace(made, repositories={"team/app": bare, "team/other": stale})
        assert both.gone == frozenset()


def test_files_that_are_no_blobs_and_no_links_are_passed_over():
    junk = {"repositories/team/app/_uploads/1/startedat": 20, "blobs/sha256/ab/short/data": 1}
    assert held(junk) == held()


def test_images_are_listed_by_repository_and_tag():
    assert storage.images(held(), "ghcr.io") == (WANTED,)
    assert storage.images(storage.EMPTY, "ghcr.io") == ()


def test_a_tag_has_two_links_below_its_repository():
    folder = "repositories/team/app/_manifests/tags/v1"
    assert storage.tag_links("team/app", "v1", f"sha256:{'ab' * 32}") == (
        f"{folder}/current/link",
        f"{folder}/index/sha256/{'ab' * 32}/link",
    )


def test_below_a_path_repositories_have_the_names_that_nodes_use():
    whole = held()
    assert storage.below(whole, "") is whole, "most caches have no prefix"
    below = storage.below(whole, "team")
    assert set(below.repositories) == {"app"}
    assert below.repository("app") == whole.repository("team/app")
    assert (below.blobs, below.manifests) == (whole.blobs, whole.manifests)
    assert told(below, dataclasses.replace(WANTED, repository="app")) == []


def test_what_is_not_below_a_path_is_not_listed():
    assert storage.below(held(), "tea").repositories == {}, "team is another path"
    assert storage.below(held(), "team/app").repositories == {}, "the path itself is no repository"
