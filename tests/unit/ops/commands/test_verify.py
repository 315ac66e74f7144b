"""What `verify` concludes; tests/real/offline has real caches."""

import json
from dataclasses import replace

import pytest

from ops.commands import verify
from plan.images.completeness import Result
from plan.images.reference import ImageReference, Platform
from plan.images.storage import ATTACHED, DAMAGED, LOOKED_AT, MISSING, Fault
from plan.images.storage import IMAGE as PULLED

IMAGE = ImageReference(host="docker.io", repository="team/a", tag="v1")
WHOLE = Result(image=IMAGE, size=5, faults=())
LACKING = Result(
    image=IMAGE, size=5, faults=(Fault(part="tag", digest="", size=0, problem=MISSING),)
)
PLATFORM = Platform(os="linux", architecture="amd64")
STRAY = ("docker.io", f"sha256:{'a' * 64}")


def complete(results, strays=()):
    return json.loads(verify._as_json(results, strays, (), PLATFORM, deep=False))["complete"]


def test_every_image_must_be_complete():
    assert complete([WHOLE, WHOLE]) is True
    assert complete([WHOLE, LACKING]) is False
    assert complete([WHOLE], [STRAY]) is False


def test_empty_caches_prove_nothing():
    assert complete([]) is False
    first, last = verify._table([], [], []).splitlines()
    assert "no images" in first
    assert last == "0 of 0 images are complete (0.0 MB)"


def test_what_to_do_about_an_image_in_harbor_takes_the_place_of_warm_and_repair():
    known = Result(image=IMAGE, size=0, faults=LACKING.faults, advice="name it by its tag")
    first, second, last = verify._table([known], [], ()).splitlines()
    assert first.startswith("missing     docker.io/team/a:v1")
    assert second.strip() == "name it by its tag"
    assert last == "0 of 1 images are complete (0.0 MB)", "and no word of warm or repair"
    assert verify._table([known, LACKING], [], ()).endswith("repair")
    [image] = json.loads(verify._as_json([known], [], (), PLATFORM, deep=False))["images"]
    assert image["advice"] == "name it by its tag"


def of_kind(kind, problem=MISSING):
    fault = Fault(part="layer", digest=f"sha256:{'b' * 64}", size=1, problem=problem)
    return replace(LACKING, kind=kind, faults=(fault,))


@pytest.mark.parametrize("kind", [LOOKED_AT, ATTACHED])
def test_what_was_never_pulled_does_not_count(kind):
    assert of_kind(kind).is_aside
    assert not of_kind(kind, DAMAGED).is_aside, "what is damaged is repaired, whatever it is"
    assert not replace(WHOLE, kind=kind).is_aside
    assert not of_kind(PULLED).is_aside


def test_what_does_not_count_is_reported():
    tag = f"sha256-{'c' * 64}.sig"
    signature = replace(of_kind(ATTACHED), image=replace(IMAGE, tag=tag))
    first, second, last = verify._table([WHOLE], [], [of_kind(LOOKED_AT), signature]).splitlines()
    assert first.startswith("not counted: docker.io/team/a:v1: only its manifest")
    assert second.startswith(f"not counted: docker.io/team/a:{tag}: belongs to sha256:{'c' * 64}")
    assert last == "1 of 1 images are complete (0.0 MB)"
