"""What is a manifest, and which entry of an index a platform gets."""

import json
import math

import pytest

from plan.images import manifests
from plan.images.reference import Platform
from tests.unit.plan.images.shapes import IMAGE, MANIFEST, descriptor, digest_of, index


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"no json", "not JSON: "),
        (b"[]", "not a manifest of schema version 2"),
        (b'{"schemaVersion": 1}', "not a manifest of schema version 2"),
        (b"[" * 200_000, "not JSON: it is nested"),
        (b" " * manifests.MANIFEST_BYTES + IMAGE, "larger than any manifest: "),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_is_not_a_manifest_is_refused(content, why):
    with pytest.raises(manifests.ManifestError) as caught:
        manifests.parse(content)
    assert str(caught.value).startswith(why)


PART = {"mediaType": "x", "digest": "y", "size": 7}


def indexed(**changes):
    return {"manifests": [{**PART, **changes}]}


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
        ({"config": PART, "layers": [{"mediaType": 7}]}, "layers[0].mediaType is not a string"),
        ({"manifests": 7}, "manifests is not a list"),
        ({"manifests": ["x"]}, "manifests[0] is not an object"),
        (indexed(digest=None), "manifests[0].digest is not a string"),
        (indexed(size="z"), "manifests[0].size is not an integer"),
        (indexed(size=None), "manifests[0].size is not an integer"),
        (indexed(size=math.inf), "manifests[0].size is not an integer"),
        (indexed(platform=7), "manifests[0].platform is not an object"),
        (indexed(platform={"os": "linux"}), "manifests[0].platform has no architecture"),
    ],
    ids=str,
)
def test_the_missing_part_of_an_incomplete_manifest_is_named(content, why):
    with pytest.raises(manifests.ManifestError) as caught:
        manifests.parse(json.dumps({"schemaVersion": 2, **content}).encode())
    assert str(caught.value) == f"an incomplete manifest: {why}"


@pytest.mark.parametrize(("variant", "chosen"), [("", b"v6"), ("v7", b"v7"), ("v8", None)])
def test_a_variant_counts_only_if_requested(variant, chosen):
    arm = {"os": "linux", "architecture": "arm"}
    entries = [
        descriptor(each.encode(), MANIFEST, platform={**arm, "variant": each})
        for each in ("v6", "v7")
    ]
    found = manifests.for_platform(
        manifests.parse(index(*entries)), Platform(**arm, variant=variant)
    )
    assert (found and found.digest) == (chosen and digest_of(chosen))
