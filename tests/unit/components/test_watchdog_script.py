"""The watchdog's script: upstreams that hang, and registries that it starts and ends."""

import os
import signal
import socket
import time

import pytest

from tests.unit.components.watchdog import (
    DOWNLOADING,
    FASTER,
    FOR_EVER,
    HELD,
    LOOK_UP,
    LOOK_UP_WAITING,
    OWN,
    PING,
    REFUSING,
    SECONDS,
    WAITING,
)


def test_an_upstream_that_never_answers_is_refused_until_it_does(watch):
    watch.wait_for(WAITING)
    watch.answer_after((PING, FOR_EVER))
    watch.start()
    watch.until_said(HELD)
    watch.until_started(2)
    assert "gives no answer" in watch.lines("state-trouble")[0]
    asked = len(watch.lines("questions"))
    watch.until_asked(asked + 2)
    assert watch.lines("starts") == [OWN, REFUSING]
    watch.answer_after((PING, 0.5))
    watch.until_said("is back")
    watch.until_started(3)
    assert watch.lines("starts") == [OWN, REFUSING, OWN]
    assert not watch.lines("state-trouble")


def test_an_upstream_that_hangs_only_on_tags_gets_a_request_for_a_tag(watch):
    watch.wait_for(LOOK_UP_WAITING)
    watch.answer_after((PING, 0.5), (LOOK_UP, FOR_EVER))
    watch.start()
    watch.until_said(HELD)
    watch.until_started(2)
    asked = len(watch.lines("questions"))
    watch.until_asked(asked + 2)
    assert watch.lines("starts") == [OWN, REFUSING]
    watch.answer_after((PING, 0.5), (LOOK_UP, 0.5))
    watch.until_said("is back")
    watch.until_started(3)
    assert watch.lines("starts") == [OWN, REFUSING, OWN]


@pytest.mark.parametrize(("prefix", "below"), [("", ""), ("team/cache", "team/cache/")])
def test_the_requested_tag_does_not_exist(watch, prefix, below):
    watch.wait_for(LOOK_UP_WAITING)
    watch.start(watch.text(prefix))
    watch.until_asked(1)
    assert watch.lines("questions") == [f"/v2/{below}talos-cache/question/manifests/none"]


def test_a_download_that_goes_on_is_not_broken_off(watch):
    (watch.folder / "downloading").touch()
    watch.wait_for(WAITING + DOWNLOADING)
    watch.answer_after((LOOK_UP, FOR_EVER))
    watch.start()
    watch.until_asked(3)
    assert watch.lines("starts") == [OWN]
    (watch.folder / "downloading").unlink()
    watch.until_said(HELD)


def test_a_request_that_got_lost_ends_with_its_registry(watch):
    watch.wait_for(WAITING)
    watch.start()
    watch.until_said("got lost")
    watch.until_started(2)
    assert watch.lines("starts") == [OWN, OWN]
    assert [line for line in watch.lines("said") if not line.startswith("talos-cache: ")] == []


def test_a_watch_that_is_killed_while_it_asks_asks_again(watch):
    watch.wait_for(WAITING)
    watch.answer_after((PING, FOR_EVER))
    # Long enough to be killed in time.
    text = watch.text()
    assert "\nsoon=6\n" in text
    watch.start(text.replace("\nsoon=6\n", "\nsoon=30\n"))
    watch.until_asked(1)
    watch.kill_the_one_that_watches()
    watch.until_said(HELD)
    watch.until_started(2)


def test_a_second_registry_that_takes_its_time_to_end_is_waited_for(watch):
    watch.wait_for(LOOK_UP_WAITING)
    watch.answer_after((PING, FOR_EVER))
    host, port = watch.addresses[2].split(":")
    with socket.create_server((host, int(port))) as old:
        watch.start()
        for _ in range(3):
            old.accept()[0].close()
    watch.until_said(HELD)
    assert watch.lines("pauses").count("1") < 30


def test_what_runs_is_what_the_entrypoint_started(watch):
    """A watch that is killed between two of its steps leaves no registry that refuses for good."""
    watch.wait_for(WAITING)
    watch.answer_after((PING, FOR_EVER))
    watch.start()
    watch.until_started(2)
    watch.until(lambda: (watch.folder / "state-held").exists())
    watch.write("state-again", "")
    os.kill(int((watch.folder / "state-pid").read_text()), signal.SIGTERM)
    watch.until_started(3)
    assert watch.lines("starts") == [OWN, REFUSING, OWN]
    watch.until(lambda: not (watch.folder / "state-held").exists())


def test_an_image_that_shows_no_goroutines_makes_no_noise(watch):
    (watch.folder / "no-debug").touch()
    watch.start()
    watch.until_started(1)
    time.sleep(5 / FASTER)
    assert watch.lines("said") == []


@pytest.mark.parametrize("first", ["instead=$(", "registry=$!"])
def test_told_to_end_while_no_registry_runs_it_ends(watch, first):
    text = watch.text()
    assert text.count(f"    {first}") == 1
    watch.start(text.replace(f"    {first}", f"    kill -TERM $$\n    {first}"))
    watch.process.wait(SECONDS)
    # Nothing goes on without it, as in a container.
    assert int((watch.folder / "state-pid").read_text()) not in watch.processes()
