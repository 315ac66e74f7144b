"""The layout of `talosctl image cache-create`; tests/talos compares it with talosctl's own."""

import hashlib
import json

import pytest

from plan.images import talos_image_cache
from plan.images.archive import ArchiveError, LockedImage
from plan.images.reference import ImageReference
from plan.images.storage import Part


def digest_of(content):
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def manifest(*layers):
    return json.dumps(
        {
            "schemaVersion": 2,
            "config": {"mediaType": "c", "digest": CONFIG, "size": 2},
            "layers": [{"mediaType": "l", "digest": one, "size": 3} for one in layers],
        }
    ).encode()


def index(*children):
    entries = [{"mediaType": "m", "digest": digest_of(one), "size": len(one)} for one in children]
    return json.dumps({"schemaVersion": 2, "manifests": entries}).encode()


CONFIG, LAYER, OTHER = ("sha256:" + letter * 64 for letter in "abc")
ONE, TWO = manifest(LAYER), manifest(OTHER)
BOTH = index(ONE, TWO)
BLOBS = {CONFIG: 2, LAYER: 3, OTHER: 3}
APP = ImageReference(host="ghcr.io", repository="team/app", tag="v1")


def named(folder, *contents, **tags):
    """Files below one repository's folder: manifests by their digests, and tags."""
    base = f"manifests/{folder}"
    found = {f"{base}/digest/{digest_of(one).replace(':', '-')}": one for one in contents}
    return found | {f"{base}/reference/{tag}": content for tag, content in tags.items()}


def part(kind, content):
    return Part(part=kind, digest=digest_of(content), size=len(content))


PARTS = (
    part("manifest", ONE),
    Part(part="config", digest=CONFIG, size=2),
    Part(part="layer", digest=LAYER, size=3),
)


def read(contents, blobs=BLOBS):
    return talos_image_cache.images(contents, blobs)


def refused(contents, blobs=BLOBS):
    with pytest.raises(ArchiveError) as caught:
        read(contents, blobs)
    return str(caught.value)


def test_an_image_is_the_file_of_its_tag_and_what_that_refers_to():
    (image,) = read(named("ghcr.io/team/app", ONE, v1=ONE))
    assert (image.image, image.parts) == (APP, PARTS)
    assert image.media_type == "application/vnd.oci.image.manifest.v1+json"


def test_what_is_written_is_what_is_read():
    (image,) = read(named("ghcr.io/team/app", ONE, v1=ONE))
    files = talos_image_cache.files([image])
    assert files == {
        f"blob/{CONFIG.replace(':', '-')}": PARTS[1],
        f"blob/{LAYER.replace(':', '-')}": PARTS[2],
        f"manifests/ghcr.io/team/app/digest/{digest_of(ONE).replace(':', '-')}": PARTS[0],
        "manifests/ghcr.io/team/app/reference/v1": PARTS[0],
    }
    assert list(files) == sorted(files)


def test_without_a_tag_no_file_of_one_is_written():
    image = LockedImage(
        image=ImageReference(host="ghcr.io", repository="app", digest=digest_of(ONE)),
        media_type="m",
        parts=PARTS,
    )
    assert not [name for name in talos_image_cache.files([image]) if "reference" in name]


@pytest.mark.parametrize(
    ("host", "folder"),
    [
        ("docker.io", "docker.io"),
        ("localhost:5000", "localhost_5000_"),
        ("my_host.example.com", "my_host.example.com"),
    ],
)
def test_a_port_is_written_without_a_colon(host, folder):
    image = LockedImage(
        image=ImageReference(host=host, repository="library/app", tag="v1"),
        media_type="m",
        parts=PARTS,
    )
    assert f"manifests/{folder}/library/app/reference/v1" in talos_image_cache.files([image])


@pytest.mark.parametrize(
    ("folder", "host"),
    [
        ("docker.io", "docker.io"),
        ("index.docker.io", "docker.io"),
        ("localhost_5000_", "localhost:5000"),
    ],
)
def test_the_host_is_read_from_the_folder(folder, host):
    (image,) = read(named(f"{folder}/library/app", ONE, v1=ONE))
    assert image.image.host == host


def test_of_an_index_those_platforms_are_taken_that_are_there():
    (image,) = read(named("ghcr.io/team/app", BOTH, ONE, v1=BOTH))
    assert image.parts == (part("index", BOTH), *PARTS)
    (image,) = read(named("ghcr.io/team/app", BOTH, ONE, TWO, v1=BOTH))
    assert len(image.parts) == 6, "the config that both have counts once"


def test_an_untagged_manifest_is_an_image_by_digest():
    one, two = read(named("ghcr.io/team/app", ONE, TWO, v1=ONE))
    assert one.image == APP
    assert (two.image.tag, two.image.digest) == ("", digest_of(TWO))


def test_a_tag_whose_manifest_has_no_file_of_its_own_is_read_all_the_same():
    (image,) = read(named("ghcr.io/team/app", v1=ONE))
    assert image.parts == PARTS


def test_names_of_early_versions_are_read():
    path = f"manifests/ghcr.io/team/app/digest/{digest_of(ONE)}"
    (image,) = read({path: ONE})
    assert image.image.digest == digest_of(ONE)
    assert talos_image_cache.blob_digest(f"blob/{LAYER}") == LAYER
    assert talos_image_cache.blob_digest(f"blob/{LAYER.replace(':', '-')}") == LAYER


def test_a_manifest_that_was_changed_is_refused():
    files = named("ghcr.io/team/app", ONE)
    assert digest_of(TWO) in refused(dict.fromkeys(files, TWO))


@pytest.mark.parametrize("name", ["manifests/ghcr.io/x", "manifests/ghcr.io/app/digest/sha256-1"])
def test_a_file_of_another_name_is_refused(name):
    assert name in refused({name: ONE})


def test_a_blob_of_another_name_is_refused():
    with pytest.raises(ArchiveError, match="blob/other"):
        talos_image_cache.blob_digest("blob/other")


def test_what_is_not_a_manifest_is_refused():
    assert "not a manifest" in refused(named("ghcr.io/app", b"text", v1=b"text"))


def test_what_is_not_an_image_reference_is_refused():
    assert "ghcr.io/App" in refused(named("ghcr.io/App", ONE, v1=ONE))


@pytest.mark.parametrize("blobs", [{CONFIG: 2}, {CONFIG: 2, LAYER: 4}])
def test_an_image_without_one_of_its_blobs_is_refused(blobs):
    said = refused(named("ghcr.io/team/app", ONE, v1=ONE), blobs)
    assert f"{APP} is incomplete" in said
    assert f"layer {LAYER}" in said


def test_an_index_without_any_platform_is_refused():
    assert "no platform" in refused(named("ghcr.io/team/app", BOTH, v1=BOTH))


def test_nothing_at_all_is_refused():
    assert "no images" in refused({})


def test_indexes_may_be_nested_to_any_depth():
    """Each contains the next one twice: to visit every path would never end."""
    made = [ONE]
    for _ in range(2000):
        made.append(index(made[-1], made[-1]))
    (image,) = read(named("ghcr.io/team/app", *made, v1=made[-1]))
    assert [one.part for one in image.parts[-4:]] == ["index", "manifest", "config", "layer"]


def test_a_list_of_what_belongs_to_an_image_may_be_empty():
    tag = f"sha256-{'a' * 64}"
    (image,) = read(named("ghcr.io/team/app", **{tag: index()}))
    assert [one.part for one in image.parts] == ["index"]
    assert "no platform" in refused(named("ghcr.io/team/app", v1=index()))
