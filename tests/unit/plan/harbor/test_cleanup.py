"""What a stack removes from Harbor, and what stays."""

from dataclasses import replace

import pytest

from plan.harbor import cleanup
from tests.unit.plan.harbor.shapes import PLAN, THERE, found, on, project, registry, theirs


def removals(state, *, wanted=(), known=("proxy",), **changes):
    return cleanup.removals(replace(PLAN, **changes), state, wanted, known)


def test_an_endpoint_is_removed_after_its_projects():
    (removal,) = removals(THERE)
    assert (removal.projects, removal.stays) == ((project(),), None)


def test_an_endpoint_without_projects_is_removed():
    (removal,) = removals(found(registries=[registry(), theirs(id=9)]))
    assert (removal.registry["id"], removal.projects, removal.stays) == (1, (), None)


def test_what_is_wanted_and_what_belongs_to_another_user_stays():
    assert removals(THERE, wanted=["proxy"]) == ()
    assert removals(on(theirs())) == ()


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("proxy", ["proxy"]),
        # What was kept once is known by its endpoint's name.
        ("endpoint", []),
    ],
)
def test_a_project_with_images_is_kept_with_its_endpoint_unless_they_may_go(name, known):
    state = on(registry(), name=name, repo_count=3)
    (removal,) = removals(state, known=known)
    assert removal.projects == ()
    assert f"{name} contains images" in removal.stays
    (removal,) = removals(state, known=known, keep_data=False)
    assert (removal.projects, removal.stays) == (state.projects, None)


def test_what_another_user_created_there_stays():
    kept, foreign = project(repo_count=3), project(name="x", project_id=9)
    for own, images in ((project(), False), (kept, True)):
        (removal,) = removals(found(registries=[registry()], projects=[own, foreign]))
        assert removal.projects == (() if images else (own,))
        assert "another user created the project x" in removal.stays
        assert ("proxy contains images" in removal.stays) is images


def test_credentials_that_stay_with_an_endpoint_are_reported():
    credential = {"type": "basic", "access_key": "alice", "access_secret": "*****"}
    for changes, stays in (({}, False), ({"credential": credential}, True)):
        (removal,) = removals(on(registry(**changes), repo_count=3))
        assert removal.told.startswith("the registry endpoint endpoint stays")
        assert ("with the credentials" in removal.told) is stays


def test_what_no_longer_has_the_mark_is_given_up():
    given_up = on(registry(description="ours now"))
    assert cleanup.given_up(PLAN, given_up, ["proxy", "gone"]) == ("proxy",)
    assert cleanup.given_up(PLAN, given_up, []) == ()
    assert cleanup.given_up(PLAN, THERE, ["proxy"]) == ()
