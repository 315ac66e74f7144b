"""What a Harbor stores of an image, according to the artifacts that it lists."""

import pytest

from plan.harbor import artifacts
from plan.harbor.artifacts import Delivered
from plan.images.manifests import INDEX_TYPES, MANIFEST_TYPES
from plan.images.reference import ImageReference, Platform
from plan.images.storage import MISSING, Fault

AMD64 = Platform(os="linux", architecture="amd64")
INDEX_DIGEST, CHILD = "sha256:" + "a" * 64, "sha256:" + "b" * 64
BY_TAG = ImageReference(host="quay.io", repository="team/app", tag="v1")
BY_DIGEST = ImageReference(host="quay.io", repository="team/app", digest=INDEX_DIGEST)
MANIFEST = {"manifest_media_type": MANIFEST_TYPES[0], "digest": CHILD, "size": 70}
INDEX = {
    "manifest_media_type": INDEX_TYPES[0],
    "digest": INDEX_DIGEST,
    "size": 7,
    "references": [
        {"child_digest": "sha256:" + "d" * 64, "platform": {"os": "linux", "architecture": "arm"}},
        {"child_digest": CHILD, "platform": {"os": "linux", "architecture": "amd64"}},
    ],
}


@pytest.mark.parametrize("kind", INDEX_TYPES)
def test_an_index_is_known_by_its_type(kind):
    assert artifacts.is_index({"manifest_media_type": kind})
    assert not artifacts.is_index(MANIFEST)
    assert not artifacts.is_index({})


@pytest.mark.parametrize(
    ("platform", "digest"),
    [
        (AMD64, CHILD),
        (Platform(os="linux", architecture="arm"), "sha256:" + "d" * 64),
        (Platform(os="linux", architecture="arm", variant="v7"), None),
        (Platform(os="linux", architecture="s390x"), None),
    ],
)
def test_the_manifest_for_a_platform(platform, digest):
    assert artifacts.child_digest(INDEX, platform) == digest


def test_an_entry_without_a_platform_is_for_any_other():
    first = {"child_digest": "sha256:" + "c" * 64, "platform": None}
    index = {**INDEX, "references": [first, *INDEX["references"]]}
    assert artifacts.child_digest(index, AMD64) == CHILD
    s390x = Platform(os="linux", architecture="s390x")
    assert artifacts.child_digest(index, s390x) == first["child_digest"]


@pytest.mark.parametrize("listed", [{"OsFeatures": None}, {}])
def test_empty_fields_are_a_platform_of_no_node(listed):
    """So Harbor lists an entry without a platform, and serves nodes two empty fields."""
    empty = {"child_digest": CHILD, "platform": listed}
    assert artifacts.child_digest({**INDEX, "references": [empty]}, AMD64) is None


def test_an_index_may_refer_to_nothing():
    assert artifacts.child_digest({**INDEX, "references": None}, AMD64) is None


@pytest.mark.parametrize(
    ("image", "artifact", "child", "listed", "fault"),
    [
        (BY_TAG, MANIFEST, None, None, None),
        (BY_TAG, INDEX, CHILD, MANIFEST, None),
        (BY_TAG, None, None, None, ("tag", "")),
        (BY_DIGEST, None, None, None, ("manifest", INDEX_DIGEST)),
        (BY_TAG, INDEX, None, None, ("platform", "")),
        (BY_TAG, INDEX, CHILD, None, ("manifest", CHILD)),
    ],
)
def test_what_is_missing_of_an_image(image, artifact, child, listed, fault):
    expected = fault and Fault(part=fault[0], digest=fault[1], size=0, problem=MISSING)
    faults = artifacts.faults(image, artifact, child, listed)
    assert faults == ((expected,) if expected else ())


def test_sizes():
    assert artifacts.size(MANIFEST) == 70
    assert artifacts.size(None) == 0


TAGGED = {**INDEX, "digest": "sha256:" + "e" * 64}


@pytest.mark.parametrize("tagged", [None, MANIFEST])
def test_what_is_missing_under_its_digest_may_be_an_index(tagged):
    why = artifacts.other_digest(tagged, AMD64)
    assert why.startswith("fetch it with warm")
    assert "index" in why


def test_an_index_that_has_another_digest_in_harbor():
    why = artifacts.other_digest(TAGGED, AMD64)
    assert f"another digest: {TAGGED['digest']}" in why
    assert why.endswith(f"the digest of linux/amd64: {CHILD}")


def test_it_may_not_have_the_platform():
    s390x = Platform(os="linux", architecture="s390x")
    assert artifacts.other_digest(TAGGED, s390x).endswith("pull by tag instead")


DELIVERED = Delivered(digest=INDEX_DIGEST, platforms=(CHILD,), chosen=CHILD)
NO_TAG = Fault(part="tag", digest="", size=0, problem=MISSING)
NO_PLATFORM = Fault(part="platform", digest="", size=0, problem=MISSING)


@pytest.mark.parametrize(
    ("fault", "what"),
    [(NO_TAG, "doesn't set the tag"), (NO_PLATFORM, "the tag's index has no linux/amd64")],
)
def test_what_harbor_never_stores_is_reported_with_the_command_that_helps(fault, what):
    why = artifacts.never_stored(BY_TAG, DELIVERED, AMD64, "proxy-quay.io/team/app", (fault,))
    assert f"but {what}: " in why
    keys = (
        f"cache:manifestlist:proxy-quay.io/team/app:{INDEX_DIGEST} "
        f"cache:trimmedmanifestlist:{INDEX_DIGEST}"
    )
    assert f"redis-cli del {keys} on" in why
    assert "for 7 days" in why
    assert "\n" not in why


def test_an_index_by_its_digest_is_never_stored():
    fault = Fault(part="manifest", digest=INDEX_DIGEST, size=0, problem=MISSING)
    why = artifacts.never_stored(BY_DIGEST, DELIVERED, AMD64, "x", (fault,))
    assert "another digest." in why
    assert why.endswith(f"the digest of linux/amd64: {CHILD}")


def test_what_is_not_stored_in_time():
    why = artifacts.not_stored((NO_TAG,), DELIVERED, 480)
    assert why.startswith("tag: delivered, but")
    assert "within 480 s: is the project's quota" in why
    partly = Delivered(digest=INDEX_DIGEST, platforms=(CHILD,), chosen=CHILD, left_out="no way")
    why = artifacts.not_stored((NO_PLATFORM,), partly, 480)
    assert why.endswith("another platform was not delivered, no way")


def test_images_to_store_are_counted_by_upstream():
    other = ImageReference(host="ghcr.io", repository="x", tag="v1")
    line = artifacts.awaited([BY_TAG, other, BY_DIGEST], 480)
    assert line.endswith(": 2 of quay.io, 1 of ghcr.io")
    assert "480 s" in line


def test_if_harbor_does_not_answer_its_error_says_why():
    assert artifacts.not_known("Harbor does not answer").endswith(": Harbor does not answer")
