"""The recording engine itself: a test that can't fail proves nothing."""

import asyncio

import pulumi
import pytest

from tests.unit.components.engine import run


class Thing(pulumi.CustomResource):
    def __init__(self, name):
        super().__init__("test:index:Thing", name, {})


def test_a_failing_assertion_in_an_apply_fails_the_run():
    def program():
        pulumi.Output.from_input(1).apply(lambda one: pytest.fail(f"asserted on {one}"))

    with pytest.raises(pytest.fail.Exception, match="asserted on 1"):
        run(program)


def test_an_apply_on_a_resource_has_run_when_the_run_is_over():
    seen = []
    record = run(lambda: Thing("one").id.apply(seen.append))
    assert seen == ["one-id"]
    assert record.one("test:index:Thing").name == "one"


def test_one_run_knows_nothing_of_another():
    run(lambda: pulumi.export("first", 1))
    assert run(lambda: pulumi.export("second", 2)).exports == {"second": 2}


def test_a_run_leaves_no_event_loop_open(monkeypatch):
    made = []
    new_loop = asyncio.new_event_loop

    def noted():
        made.append(new_loop())
        return made[-1]

    monkeypatch.setattr(asyncio, "new_event_loop", noted)

    run(lambda: Thing("one"))
    assert made
    assert all(loop.is_closed() for loop in made)
