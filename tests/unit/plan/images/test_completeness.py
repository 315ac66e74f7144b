"""Which images are complete, in the caches of shapes.py."""

import pytest

from plan.images.completeness import Result, everything, verified
from plan.images.reference import ImageReference
from plan.images.storage import ATTACHED, DAMAGED, EMPTY, LOOKED_AT, MISSING, Fault
from plan.images.storage import IMAGE as PULLED
from tests.unit.plan.images.shapes import ALL, AMD64, LAYER, WANTED, digest_of, held

ELSEWHERE = ImageReference(host="quay.io", repository="team/app", tag="v1")
STORES = {"ghcr.io": held(), "quay.io": EMPTY}


def test_everything_is_what_has_a_tag():
    assert everything(STORES) == (WANTED,)


def test_each_image_is_looked_for_in_its_own_cache_in_the_order_of_the_list():
    missing, whole = verified(STORES, [ELSEWHERE, WANTED], AMD64, {})
    assert (missing.image, whole.image) == (ELSEWHERE, WANTED)
    assert [fault.problem for fault in missing.faults] == [MISSING]
    assert (whole.faults, whole.size) == ((), sum(map(len, ALL)))


def test_damage_counts_in_its_own_cache_alone():
    layer = frozenset({digest_of(LAYER)})
    [here] = verified(STORES, [WANTED], AMD64, {"ghcr.io": layer})
    [there] = verified(STORES, [WANTED], AMD64, {"quay.io": layer})
    assert [fault.problem for fault in here.faults] == [DAMAGED]
    assert there.faults == ()


@pytest.mark.parametrize(
    ("kind", "problem", "aside"),
    [
        (LOOKED_AT, MISSING, True),
        (ATTACHED, MISSING, True),
        (LOOKED_AT, DAMAGED, False),
        (PULLED, MISSING, False),
    ],
)
def test_what_was_never_pulled_is_aside_unless_it_is_damaged(kind, problem, aside):
    fault = Fault(part="layer", digest=digest_of(LAYER), size=7, problem=problem)
    assert Result(image=WANTED, size=0, faults=(fault,), kind=kind).is_aside is aside
    assert not Result(image=WANTED, size=0, faults=(), kind=kind).is_aside
