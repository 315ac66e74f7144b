"""The content of volumes and the faults of images, on handwritten volumes."""

import dataclasses
import hashlib
import json
import math

import pytest

from plan.images import manifests, storage
from plan.images.reference import ImageReference, Platform

AMD64 = Platform(os="linux", architecture="amd64")
INDEX, MANIFEST = manifests.INDEX_TYPES[0], manifests.MANIFEST_TYPES[0]


def digest_of(content):
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def descriptor(content, media_type="application/octet-stream", **more):
    return {"mediaType": media_type, "digest": digest_of(content), "size": len(content), **more}


CONFIG, LAYER = b"config", b"a layer"
FOREIGN = {**descriptor(b"far"), "mediaType": "application/vnd.docker.image.rootfs.foreign.diff"}
IMAGE = json.dumps(
    {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": descriptor(CONFIG),
        "layers": [descriptor(LAYER), descriptor(LAYER), FOREIGN],
    }
).encode()
LIST = json.dumps(
    {
        "schemaVersion": 2,
        "manifests": [
            descriptor(b"unsaid", MANIFEST),
            descriptor(b"other", MANIFEST, platform={"os": "linux", "architecture": "arm64"}),
            descriptor(IMAGE, MANIFEST, platform={"os": "linux", "architecture": "amd64"}),
        ],
    }
).encode()
ALL = (LIST, IMAGE, CONFIG, LAYER)
WANTED = ImageReference(host="ghcr.io", repository="team/app", tag="v1")


def files(*contents):
    """Paths below the root and sizes, as in a real volume."""
    found = []
    for content in contents:
        digest = digest_of(content)
        found.append((storage.blob_path(digest), len(content)))
        link = storage.revision_link if content in (LIST, IMAGE) else storage.layer_link
        found.append((link("team/app", digest), storage.LINK_BYTES))
    return found


def tags(content=LIST):
    current, _ = storage.tag_links("team/app", "v1", digest_of(content))
    return {current: digest_of(content)}


def held(listing=None, names=None, contents=(LIST, IMAGE)):
    read = storage.parse_listing(files(*ALL) if listing is None else listing, names or tags())
    by_digest = {digest_of(content): content for content in contents}
    return dataclasses.replace(read, manifests=by_digest)


def entry(content, architecture=""):
    """One of an index; of a nested one, or of an artifact, without a platform."""
    kind = MANIFEST if b"layers" in content else INDEX
    platform = {"platform": {"os": "linux", "architecture": architecture}} if architecture else {}
    return descriptor(content, kind, **platform)


def index(*entries):
    return json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}).encode()


def image(*layers, config=CONFIG):
    content = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": descriptor(config),
        "layers": [descriptor(layer) for layer in layers],
    }
    return json.dumps(content).encode()


def volume(manifests_there, blobs, names):
    """A volume with one repository: manifests, blobs, and tag -> manifest or index."""
    there = dict.fromkeys((*manifests_there, *names.values()))
    files = {storage.blob_path(digest_of(one)): len(one) for one in (*there, *blobs)}
    links = [storage.revision_link("team/app", digest_of(one)) for one in there]
    links += [storage.layer_link("team/app", digest_of(one)) for one in blobs]
    tagged = {
        storage.tag_links("team/app", tag, "")[0]: digest_of(one) for tag, one in names.items()
    }
    read = storage.parse_listing([*files.items(), *((link, 71) for link in links)], tagged)
    return dataclasses.replace(read, manifests={digest_of(one): one for one in there})


NESTED = index(entry(LIST))
SIGNATURE = image(b"a signature", config=b"of a signature")
REFERRERS = index(entry(SIGNATURE), entry(IMAGE))


def tagged(tag):
    return dataclasses.replace(WANTED, tag=tag)


def attached(content, suffix=""):
    return f"{digest_of(content).replace(':', '-')}{suffix}"


def kind(made, tag="v1"):
    return storage.kind(made, tagged(tag), storage.faults(made, tagged(tag), AMD64))


def test_an_index_in_an_index_is_an_image_that_nodes_pull():
    made = volume((LIST, IMAGE), (CONFIG, LAYER), {"v1": NESTED})
    assert told(made) == []
    assert [part.part for part in storage.parts(made, WANTED, AMD64)] == [
        *("index", "index", "manifest", "config", "layer")
    ]
    assert told(volume((LIST, IMAGE), (CONFIG,), {"v1": NESTED})) == [
        ("layer", digest_of(LAYER), storage.MISSING)
    ]


def test_indexes_may_be_nested_to_any_depth():
    made = [IMAGE]
    for _ in range(2000):
        made.append(index(entry(made[-1])))
    assert told(volume(made, (CONFIG, LAYER), {"v1": made[-1]})) == []


@pytest.mark.parametrize("suffix", ["", ".sig", ".att", ".sbom"])
def test_what_is_attached_to_an_image_is_known_by_its_tag(suffix):
    tag = attached(IMAGE, suffix)
    assert storage.subject_of(tag) == digest_of(IMAGE)
    made = volume((IMAGE, SIGNATURE), (), {tag: REFERRERS, "v1": LIST})
    assert kind(made, tag) == storage.ATTACHED


@pytest.mark.parametrize("tag", ["v1", "sha256-abc", f"sha512-{'a' * 64}", f"x-sha256-{'a' * 64}"])
def test_what_has_another_tag_is_not_attached(tag):
    assert storage.subject_of(tag) is None


def test_an_image_that_is_tagged_with_its_own_digest_is_an_image():
    tag = attached(LIST)
    assert kind(volume((IMAGE,), (CONFIG, LAYER), {tag: LIST}), tag) == storage.IMAGE


def test_of_what_belongs_to_an_image_everything_is_needed_whatever_its_platform():
    tag = attached(LIST)
    made = volume((SIGNATURE, IMAGE), (CONFIG, LAYER), {tag: REFERRERS})
    assert told(made, tagged(tag)) == [
        ("config", digest_of(b"of a signature"), storage.MISSING),
        ("layer", digest_of(b"a signature"), storage.MISSING),
    ]
    blobs = (CONFIG, LAYER, b"of a signature", b"a signature")
    assert told(volume((SIGNATURE, IMAGE), blobs, {tag: REFERRERS}), tagged(tag)) == []
    assert told(volume((), (), {tag: index()}), tagged(tag)) == []


OTHER = image(b"of another", LAYER, config=b"another config")


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
)
def test_an_image_with_nothing_but_manifests_was_only_looked_at(made):
    assert told(made) != []
    assert kind(made) == storage.LOOKED_AT


@pytest.mark.parametrize(
    "made",
    [
        volume((IMAGE,), (CONFIG, LAYER), {"v1": LIST}),
        volume((IMAGE,), (CONFIG,), {"v1": LIST}),
        volume((IMAGE,), (LAYER,), {"v1": LIST}),
        # Only another platform than the requested one.
        volume(
            (IMAGE,),
            (CONFIG, LAYER),
            {"v1": index(entry(b"layers", "amd64"), entry(IMAGE, "arm64"))},
        ),
        volume((), (), {"v2": IMAGE}),
        held(names={storage.tag_links("team/app", "v1", "")[0]: digest_of(b"gone")}),
        held(contents=(LIST[:-1] + b" ", IMAGE)),
        held(files(LIST, IMAGE, CONFIG)),
    ],
)
def test_an_image_with_any_blob_was_pulled(made):
    assert kind(made) == storage.IMAGE


def lacking(made, *contents):
    """The same volume; these files are gone, and what links them is still there."""
    gone = {digest_of(one) for one in contents}
    return dataclasses.replace(
        made,
        blobs={digest: size for digest, size in made.blobs.items() if digest not in gone},
        manifests={one: content for one, content in made.manifests.items() if one not in gone},
    )


PULLED = volume((IMAGE,), (CONFIG, LAYER), {"v1": LIST})


@pytest.mark.parametrize(
    "made",
    [
        lacking(PULLED, CONFIG, LAYER),
        lacking(volume((), (CONFIG, LAYER), {"v1": IMAGE}), CONFIG, LAYER),
        # It is unknown which blobs were its own.
        lacking(PULLED, IMAGE),
        lacking(PULLED, IMAGE, CONFIG, LAYER),
        lacking(PULLED, LIST),
    ],
)
def test_an_image_that_has_lost_its_files_was_pulled(made):
    """A link proves that there was a file: the registry writes it when it has the file."""
    assert told(made) != []
    assert kind(made) == storage.IMAGE


def test_what_is_damaged_was_not_only_looked_at():
    made = dataclasses.replace(held(), blobs={**held().blobs, digest_of(LAYER): 1})
    assert kind(made) == storage.IMAGE


def told(made, image=WANTED, platform=AMD64, damaged=()):
    found = storage.faults(made, image, platform, frozenset(damaged))
    return [(fault.part, fault.digest, fault.problem) for fault in found]


def test_a_complete_image_has_no_faults():
    assert told(held()) == []
    assert held().size == sum(map(len, ALL))
    assert held().revisions() == tuple(sorted(map(digest_of, (LIST, IMAGE))))


def test_a_complete_image_is_complete_by_digest_too():
    pinned = ImageReference(host="ghcr.io", repository="team/app", digest=digest_of(IMAGE))
    assert told(held(), pinned) == []


def test_all_parts_of_an_image_are_listed_once():
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
)
def test_a_part_that_is_not_there_is_named(content, part):
    contents = [one for one in (LIST, IMAGE) if one != content]
    made = held(files(*(one for one in ALL if one != content)), contents=contents)
    assert told(made) == [(part, digest_of(content), storage.MISSING)]


def test_a_blob_that_only_another_repository_has_is_missing_here():
    link = storage.layer_link("team/app", digest_of(LAYER))
    made = held([(path, size) for path, size in files(*ALL) if path != link])
    assert told(made) == [("layer", digest_of(LAYER), storage.MISSING)]


def test_a_link_that_is_cut_short_counts_as_missing():
    link = storage.layer_link("team/app", digest_of(LAYER))
    made = held([(path, 0 if path == link else size) for path, size in files(*ALL)])
    assert told(made) == [("layer", digest_of(LAYER), storage.MISSING)]


def test_a_blob_of_the_wrong_size_is_found_without_hashing():
    path = storage.blob_path(digest_of(LAYER))
    made = held([(one, 3 if one == path else size) for one, size in files(*ALL)])
    assert told(made) == [("layer", digest_of(LAYER), storage.WRONG_SIZE)]


def test_a_damaged_blob_is_reported():
    assert told(held(), damaged=[digest_of(LAYER)]) == [
        ("layer", digest_of(LAYER), storage.DAMAGED)
    ]


@pytest.mark.parametrize("content", [b"", b"something else", IMAGE + b" "])
def test_a_manifest_with_other_content_is_damaged(content):
    made = dataclasses.replace(held(), manifests={digest_of(LIST): LIST, digest_of(IMAGE): content})
    assert told(made) == [("manifest", digest_of(IMAGE), storage.DAMAGED)]


def test_a_malformed_manifest_is_damaged_even_with_the_right_digest():
    junk = b"{}"
    digest = digest_of(junk)
    listing = [
        (storage.blob_path(digest), 2),
        (storage.revision_link("team/app", digest), storage.LINK_BYTES),
    ]
    assert told(held(listing, tags(junk), contents=(junk,))) == [
        ("manifest", digest, storage.DAMAGED)
    ]


def test_a_missing_tag_is_reported():
    other = ImageReference(host="ghcr.io", repository="team/app", tag="v2")
    assert told(held(), other) == [("tag", "", storage.MISSING)]
    nowhere = ImageReference(host="ghcr.io", repository="nowhere", tag="v2")
    assert told(held(), nowhere) == [("tag", "", storage.MISSING)]


def test_a_tag_whose_link_contains_no_digest_is_missing():
    (path,) = tags()
    assert told(held(names={path: "sha256:cut"})) == [("tag", "", storage.MISSING)]
    assert told(held(names={"elsewhere": digest_of(LIST)})) == [("tag", "", storage.MISSING)]


def test_an_index_without_the_platform_is_reported():
    s390x = Platform(os="linux", architecture="s390x")
    made = volume((IMAGE,), (CONFIG, LAYER), {"v1": index(entry(IMAGE, "amd64"))})
    assert told(made, platform=s390x) == [("platform", "", storage.MISSING)]


def test_a_node_falls_back_to_the_first_entry_without_a_platform():
    s390x = Platform(os="linux", architecture="s390x")
    assert told(held(), platform=s390x) == [("manifest", digest_of(b"unsaid"), storage.MISSING)]


def test_files_that_are_no_blobs_and_no_links_are_passed_over():
    junk = [("repositories/team/app/_uploads/1/startedat", 20), ("blobs/sha256/ab/short/data", 1)]
    assert held(files(*ALL) + junk) == held()


def test_images_are_listed_by_repository_and_tag():
    assert storage.images(held(), "ghcr.io") == (WANTED,)
    assert storage.images(storage.EMPTY, "ghcr.io") == ()


def test_a_tag_has_two_links_below_its_repository():
    digest = digest_of(LIST)
    hexadecimal = digest.removeprefix("sha256:")
    folder = "repositories/team/app/_manifests/tags/v1"
    assert storage.tag_links("team/app", "v1", digest) == (
        f"{folder}/current/link",
        f"{folder}/index/sha256/{hexadecimal}/link",
    )


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"no json", "not JSON: "),
        (b"[]", "not a manifest of schema version 2"),
        (b'{"schemaVersion": 1}', "not a manifest of schema version 2"),
        (b"[" * 200_000, "not JSON: it is nested"),
        (b" " * manifests.MANIFEST_BYTES + IMAGE, "larger than any manifest: "),
    ],
)
def test_what_is_not_a_manifest_is_refused(content, why):
    with pytest.raises(manifests.ManifestError) as caught:
        manifests.parse(content)
    assert str(caught.value).startswith(why)


PART = {"mediaType": "x", "digest": "y", "size": 7}


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ({}, "it has no config"),
        ({"config": {}, "layers": []}, "config has no mediaType"),
        ({"config": {"mediaType": "x", "digest": "y"}, "layers": []}, "config has no size"),
        ({"config": "x", "layers": ["y"]}, "config is not an object"),
        ({"config": PART}, "it has no layers"),
        ({"config": PART, "layers": None}, "layers is not a list"),
        ({"config": PART, "layers": [PART, "y"]}, "layers[1] is not an object"),
        (
            {"config": PART, "layers": [{**PART, "mediaType": 7}]},
            "layers[0].mediaType is not a string",
        ),
        ({"manifests": 7}, "manifests is not a list"),
        ({"manifests": ["x"]}, "manifests[0] is not an object"),
        ({"manifests": [{**PART, "digest": None}]}, "manifests[0].digest is not a string"),
        ({"manifests": [{**PART, "size": "z"}]}, "manifests[0].size is not an integer"),
        ({"manifests": [{**PART, "size": None}]}, "manifests[0].size is not an integer"),
        ({"manifests": [{**PART, "size": math.inf}]}, "manifests[0].size is not an integer"),
        ({"manifests": [{**PART, "platform": 7}]}, "manifests[0].platform is not an object"),
        (
            {"manifests": [PART, {**PART, "platform": {"os": "linux"}}]},
            "manifests[1].platform has no architecture",
        ),
    ],
)
def test_the_missing_part_of_an_incomplete_manifest_is_named(content, why):
    with pytest.raises(manifests.ManifestError) as caught:
        manifests.parse(json.dumps({"schemaVersion": 2, **content}).encode())
    assert str(caught.value) == f"an incomplete manifest: {why}"


def test_a_variant_counts_only_if_requested():
    def entry(variant):
        platform = {"os": "linux", "architecture": "arm", "variant": variant}
        return descriptor(variant.encode(), MANIFEST, platform=platform)

    content = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry("v6"), entry("v7")]}
    index = manifests.parse(json.dumps(content).encode())
    chosen = [
        manifests.for_platform(index, Platform(os="linux", architecture="arm", variant=variant))
        for variant in ("", "v7", "v8")
    ]
    assert [one and one.digest for one in chosen] == [digest_of(b"v6"), digest_of(b"v7"), None]


def test_below_a_path_repositories_have_the_names_that_nodes_use():
    whole = held()
    assert storage.below(whole, "") is whole, "most caches have no prefix"
    below = storage.below(whole, "team")
    assert set(below.repositories) == {"app"}
    assert below.repository("app") == whole.repository("team/app")
    assert (below.blobs, below.manifests) == (whole.blobs, whole.manifests)
    image = ImageReference(host="ghcr.io", repository="app", tag="v1")
    assert told(below, image) == []


def test_what_is_not_below_a_path_is_not_listed():
    assert storage.below(held(), "tea").repositories == {}, "team is another path"
    assert storage.below(held(), "team/app").repositories == {}, "the path itself is no repository"


def test_what_is_linked_and_not_there_is_gone():
    assert held().gone == frozenset()
    paths = {storage.blob_path(digest_of(one)) for one in (LAYER, IMAGE)}
    left = [(path, size) for path, size in files(*ALL) if path not in paths]
    assert held(left).gone == {digest_of(LAYER), digest_of(IMAGE)}


@pytest.mark.parametrize(
    ("made", "gone"),
    [
        (lacking(PULLED, CONFIG, LAYER), {CONFIG, LAYER}),
        (lacking(PULLED, IMAGE, LAYER), {IMAGE, LAYER}),
        (lacking(PULLED, LIST, LAYER), {LIST, LAYER}),
        # Of an image that another one's manifest does not name.
        (lacking(volume((IMAGE,), (LAYER, b"another"), {"v1": IMAGE}), b"another"), set()),
        # What has expired (cache.ttl): the manifest's link and its own, but not another one's.
        (lacking(volume((), (CONFIG, LAYER), {}), LAYER), set()),
    ],
)
def test_what_no_image_can_need_is_not_gone(made, gone):
    assert made.gone == {digest_of(one) for one in gone}


def test_what_one_repository_needs_is_not_gone_from_another():
    """They share no links; a cache fetches what is not linked."""
    made = lacking(PULLED, LAYER)
    linked = made.repository("team/app")
    stale = dataclasses.replace(linked, revisions=frozenset())
    bare = dataclasses.replace(linked, layers=frozenset())
    both = dataclasses.replace(made, repositories={"team/app": bare, "team/other": stale})
    assert both.gone == frozenset()


def test_a_manifest_that_is_listed_twice_is_one_part():
    tag = attached(LIST)
    made = volume((IMAGE,), (CONFIG, LAYER), {tag: index(entry(IMAGE), entry(IMAGE))})
    assert told(made, tagged(tag)) == []
    assert len(storage.parts(made, tagged(tag), AMD64)) == 4
