"""The watchdog's script: upstreams that are slow and answer."""

import pytest

from tests.unit.components.watchdog import (
    CONNECT,
    FOR_EVER,
    HELD,
    LOOK_UP,
    LOOK_UP_WAITING,
    OWN,
    PING,
    REFUSING,
    TOKEN,
    WAITING,
)


def test_a_look_up_that_waits_while_others_are_answered_costs_few_questions(watch):
    watch.wait_for(LOOK_UP_WAITING)
    watch.start()
    watch.until_asked(2)
    assert watch.lines("pauses").count("1") > 30
    assert watch.lines("starts") == [OWN]
    # What begins to wait after that is asked about as soon as ever.
    looks = watch.lines("pauses").count("1")
    watch.answer_after((LOOK_UP, FOR_EVER))
    watch.wait_for(LOOK_UP_WAITING + "\n" + LOOK_UP_WAITING.replace("goroutine 1 ", "goroutine 2 "))
    watch.until_said(HELD)
    assert watch.lines("pauses").count("1") < looks + 30


@pytest.mark.parametrize(
    "steps",
    [
        # A token on top of a slow answer.
        [(PING, 0.9), (TOKEN, 0.9), (LOOK_UP, 0.4)],
        # Half a second for every packet's way there and back.
        [(CONNECT, 2), (PING, 0.5), (CONNECT, 2), (TOKEN, 0.5), (LOOK_UP, 0.5)],
        # A HEAD, and a GET after it because there is no such tag.
        [(PING, 1.5), (TOKEN, 1.5), (LOOK_UP, 2), (LOOK_UP, 2)],
    ],
)
def test_one_that_is_slow_in_every_step_is_left_alone(watch, steps):
    watch.wait_for(LOOK_UP_WAITING)
    watch.answer_after(*steps)
    watch.start()
    watch.until_asked(2)
    assert watch.lines("said") == []
    assert watch.lines("starts") == [OWN]


def test_look_ups_that_end_while_it_asks_were_only_slow(watch):
    watch.wait_for(WAITING.replace("0x2", "{asked}"))
    watch.answer_after((PING, FOR_EVER))
    watch.start()
    watch.until_asked(3)
    assert watch.lines("starts") == [OWN]


def test_one_that_answers_late_is_held_once(watch):
    watch.wait_for(WAITING)
    watch.answer_after((PING, 4.5))
    watch.start()
    watch.until_said("is back")
    asked = len(watch.lines("questions"))
    watch.until_asked(asked + 2)
    assert watch.lines("starts")[:3] == [OWN, REFUSING, OWN]
    assert REFUSING not in watch.lines("starts")[3:]
