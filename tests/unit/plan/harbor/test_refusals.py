"""What a stack must not change in Harbor, and what Harbor accepts from it."""

from dataclasses import replace

import pytest

from plan.harbor import desired, refusals
from tests.unit.plan.harbor.shapes import (
    HUB,
    PLAN,
    THERE,
    WITH_ROBOT,
    WITH_USER,
    found,
    on,
    registry,
    robot,
    theirs,
)

OTHER_PREFIX = found(prefix="bot-")
BY_ANOTHER_STACK = registry(description="made by talos-cache, stack x (y)")
PUBLIC = {"metadata": {"public": "true"}}


@pytest.mark.parametrize(
    ("host", "url", "endpoint"),
    [
        ("docker.io", "https://registry-1.docker.io", ("docker-hub", HUB)),
        ("docker.io", "https://mirror.test", ("docker-registry", "https://mirror.test")),
        ("ghcr.io", "https://ghcr.io", ("github-ghcr", "https://ghcr.io")),
        ("gcr.io", "https://gcr.io", ("docker-registry", "https://gcr.io")),
        ("quay.io", "https://quay.io", ("docker-registry", "https://quay.io")),
        ("mine.test", "https://ghcr.io", ("docker-registry", "https://ghcr.io")),
    ],
)
def test_the_endpoint_of_an_upstream(host, url, endpoint):
    assert desired.upstream_endpoint(host, url) == endpoint


def test_a_mirror_has_the_whole_path():
    assert desired.mirror_url("https://harbor.test/", "proxy") == "https://harbor.test/v2/proxy"


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ("Abcdefg1", True),
        ("Abcdef1", False),
        ("abcdefg1", False),
        ("ABCDEFG1", False),
        ("Abcdefgh", False),
        ("Aa1" + "x" * 125, True),
        ("Aa1" + "x" * 126, False),
    ],
)
def test_harbors_rule_for_a_robots_secret(text, good):
    assert desired.is_robot_secret(text) is good


@pytest.mark.parametrize(
    ("plan", "state"),
    [
        (PLAN, found()),
        (PLAN, THERE),
        (PLAN, found(registries=[registry()])),
        (PLAN, on(theirs(url=f"{HUB}/"))),
        # Whose login the endpoint has does not matter to a stack that has none.
        (PLAN, on(theirs(credential={"access_key": "bob"}))),
        (replace(PLAN, projects=(WITH_USER,)), on(theirs(credential={"access_key": "alice"}))),
        (WITH_ROBOT, found(robots=[robot()])),
        (WITH_ROBOT, found(robots=[robot(name="robot$other", description="")])),
        (replace(WITH_ROBOT, robot="bot-talos"), OTHER_PREFIX),
    ],
)
def test_what_a_stack_may_use_is_not_refused(plan, state):
    assert refusals.refusals(plan, state) == ()


@pytest.mark.parametrize(
    ("plan", "state", "text"),
    [
        (PLAN, found(registries=[theirs()]), "registry endpoint endpoint"),
        (PLAN, found(registries=[BY_ANOTHER_STACK]), "(made by talos-cache, stack x (y))"),
        # 0 if it never had an endpoint; another number if that is gone.
        (PLAN, on(registry(), registry_id=0), "not a proxy cache"),
        (PLAN, on(registry(), registry_id=9), "not a proxy cache"),
        (PLAN, on(theirs(url="https://x.test")), f"https://x.test, not {HUB}"),
        (PLAN, on(theirs(), **PUBLIC), "it is public, not private"),
        (PLAN, on(theirs(url="https://x.test"), **PUBLIC), f"{HUB}; it is public"),
        (replace(PLAN, public=True), on(theirs(), metadata={}), "it is private, not public"),
        (
            replace(PLAN, projects=(WITH_USER,)),
            on(theirs(credential={"access_key": "bob"})),
            "as another user",
        ),
        (PLAN, on(registry(type="docker-registry")), "of type docker-registry, not docker-hub"),
        (WITH_ROBOT, found(robots=[robot(description="")]), "(harbor.robot)"),
        (WITH_ROBOT, OTHER_PREFIX, "bot-NAME"),
        (WITH_ROBOT, OTHER_PREFIX, "harbor.robot: bot-talos"),
        (replace(WITH_ROBOT, robot="robot$A B"), found(), "harbor.robot: robot$talos-mine"),
    ],
)
def test_a_refusal_names_the_difference_and_the_way_out(plan, state, text):
    (refusal,) = refusals.refusals(plan, state)
    assert text in refusal


def test_all_refusals_are_reported_at_once():
    state = found(registries=[theirs()], robots=[robot(description="")])
    assert len(refusals.refusals(WITH_ROBOT, state)) == 2
