"""What a Harbor holds of an image, by the artifacts that it lists."""

import pytest

from plan import harbor_images
from plan.images import ImageReference, Platform
from plan.manifests import INDEX_TYPES, MANIFEST_TYPES
from plan.store import MISSING, Fault

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
        {"child_digest": "sha256:" + "c" * 64, "platform": None},
        {"child_digest": "sha256:" + "d" * 64, "platform": {"os": "linux", "architecture": "arm"}},
        {"child_digest": CHILD, "platform": {"os": "linux", "architecture": "amd64"}},
    ],
}


@pytest.mark.parametrize("kind", INDEX_TYPES)
def test_an_index_is_known_by_its_type(kind):
    assert harbor_images.is_index({"manifest_media_type": kind})
    assert not harbor_images.is_index(MANIFEST)
    assert not harbor_images.is_index({})


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
    assert harbor_images.child_digest(INDEX, platform) == digest


def test_an_index_may_refer_to_nothing():
    assert harbor_images.child_digest({**INDEX, "references": None}, AMD64) is None


@pytest.mark.parametrize(
    ("image", "artifact", "child", "held", "fault"),
    [
        (BY_TAG, MANIFEST, None, None, None),
        (BY_TAG, INDEX, CHILD, MANIFEST, None),
        (BY_TAG, None, None, None, ("tag", "")),
        (BY_DIGEST, None, None, None, ("manifest", INDEX_DIGEST)),
        (BY_TAG, INDEX, None, None, ("platform", "")),
        (BY_TAG, INDEX, CHILD, None, ("manifest", CHILD)),
    ],
)
def test_what_an_image_lacks(image, artifact, child, held, fault):
    expected = fault and Fault(part=fault[0], digest=fault[1], size=0, problem=MISSING)
    faults = harbor_images.faults(image, artifact, child, held)
    assert faults == ((expected,) if expected else ())


def test_sizes():
    assert harbor_images.size(MANIFEST) == 70
    assert harbor_images.size(None) == 0
