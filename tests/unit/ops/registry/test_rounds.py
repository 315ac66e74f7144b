"""Many requests to registries: which are made again, after which wait, and what is given up."""

import pytest

from ops.registry import rounds
from ops.registry.fetch import FetchError
from ops.registry.rounds import Tries
from plan import patience

BUSY = FetchError("503", status=503)
SLOW_DOWN = FetchError("429 slow down", status=429, retry_after="70")
BROKEN = FetchError("peer closed connection", is_broken_off=True)


@pytest.fixture
def waits(monkeypatch):
    """Seconds of each wait; no test really waits."""
    seen = []
    monkeypatch.setattr(rounds, "_sleep", seen.append)
    return seen


def numbered(count):
    return [(("docker.io", str(number)), number) for number in range(count)]


def refusing(*errors):
    """Work that fails with each of these, and then gives its item."""
    left = list(errors)

    def work(item):
        if left:
            raise left.pop(0)
        return item

    return work


def refuses(bad, **more):
    """Work that is done but for these items."""

    def work(item):
        if item in bad:
            raise FetchError("503 busy", status=503, **more)
        return item

    return work


def test_an_upstream_is_waited_for_as_long_as_it_asks(waits, capsys):
    doing = Tries(parallel=1)
    assert rounds.in_parallel(doing, "blobs", numbered(2), refusing(SLOW_DOWN)) == [0, 1]
    assert (waits, doing.said) == ([70], {})
    assert "docker.io is busy (429 slow down): trying again in 70 s" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("errors", "outcome", "waited"),
    [
        ([SLOW_DOWN] * 9, None, [70] * 4),
        ([BROKEN] * 2, 0, [2] * 2),
        ([BROKEN] * 3, None, [2] * 2),
        ([BUSY] * 5 + [BROKEN] * 2, 0, [2, 4, 8, 16, 32, 2, 2]),
    ],
    ids=[
        "all waits together are limited",
        "a truncated answer is fetched again twice",
        "and no third time",
        "also after other refusals",
    ],
)
def test_how_often_one_is_tried(waits, errors, outcome, waited):
    doing = Tries(parallel=1)
    assert rounds.in_parallel(doing, "blobs", numbered(1), refusing(*errors)) == [outcome]
    assert waits == waited
    assert doing.said == ({} if outcome == 0 else {("docker.io", "0"): str(errors[-1])})


def test_one_that_asks_for_too_much_is_given_up_and_the_others_are_not(waits, capsys):
    doing = Tries(parallel=1)
    errors = {"docker.io": FetchError("429", status=429, retry_after="3600"), "quay.io": BUSY}

    def work(host):
        if error := errors.get(host):
            if host == "quay.io":
                del errors[host]
            raise error
        return host

    items = [((host, "a"), host) for host in ("docker.io", "quay.io")]
    assert rounds.in_parallel(doing, "blobs", items, work) == [None, "quay.io"]
    assert (waits, doing.said) == ([2], {("docker.io", "a"): "429"})
    assert "docker.io is busy and asks to wait 3600 s: " in capsys.readouterr().err


@pytest.mark.parametrize("parallel", [1, 4])
@pytest.mark.parametrize(
    "bad", [{0}, {199}, {0, 1, 2}, {100, 101}, set(range(0, 200, 10)), set(range(0, 200, 2))]
)
def test_what_is_refused_for_good_keeps_nothing_else_from_coming(waits, bad, parallel):
    doing = Tries(parallel=parallel)
    found = rounds.in_parallel(doing, "blobs", numbered(200), refuses(bad))
    assert found == [None if number in bad else number for number in range(200)]
    assert doing.said == {("docker.io", str(number)): "503 busy" for number in bad}
    assert sum(waits) <= patience.TOTAL_SECONDS


def test_where_one_asks_for_too_much_and_others_come_it_alone_is_given_up(waits, capsys):
    work = refuses({0, 5}, retry_after="3600")
    found = rounds.in_parallel(Tries(parallel=1), "blobs", numbered(9), work)
    assert found == [None, 1, 2, 3, 4, None, 6, 7, 8]
    assert waits == []
    assert "docker.io keeps refusing some of its blobs" in capsys.readouterr().err


def test_a_host_that_is_away_is_not_asked_for_one_thing_after_the_other(waits):
    asked = []

    def work(item):
        asked.append(item)
        raise BUSY

    found = rounds.in_parallel(Tries(parallel=1), "blobs", numbered(200), work)
    assert found == [None] * 200
    assert len(asked) <= 12
    assert sum(waits) == patience.TOTAL_SECONDS


def test_a_limit_that_lasts_for_hours_is_not_waited_for(waits, capsys):
    asked = []
    limit = "429 You have reached your unauthenticated pull rate limit."

    def work(item):
        asked.append(item)
        if item >= 30:
            raise FetchError(limit, status=429)
        return item

    doing = Tries(parallel=1)
    found = rounds.in_parallel(doing, "images", numbered(40), work)
    assert found == [*range(30), *[None] * 10]
    assert (len(asked), waits) == (31, [])
    assert doing.said["docker.io", "39"] == f"not requested, because of {limit}"
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("docker.io delivers no more images for hours")
    assert 'credentials["docker.io"]' in line
    assert line.endswith(f"({limit})")
