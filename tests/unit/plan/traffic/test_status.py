"""What a cache's container shows, as it is read and printed."""

import json

import pytest

from plan.caches.upstream_watchdog import AWAY_NOTICE
from plan.traffic import status, status_page
from plan.traffic.counters import Count, Counters
from plan.traffic.status import AWAY, OFFLINE, THROUGH, CacheStatus, Held, Inside
from tests.unit.plan.traffic.test_counters import CACHE

NOW = 1_000_000.0
SEEN = f"""\
room 1000 4096
blobs 12 2000000
tags 3
resolv 999000 nameserver 10.0.0.1
metrics
{CACHE}"""


def test_a_cache_that_reaches_its_upstream():
    inside = status.read(SEEN, offline=False)
    assert inside.held == Held(images=3, size=2_000_000, room=4_096_000)
    assert (inside.mode, inside.since, inside.why) == (THROUGH, None, "")
    assert inside.counters.blobs.hits == 3


@pytest.mark.parametrize(
    ("old", "new", "since", "why"),
    [
        ("nameserver 10.0.0.1", AWAY_NOTICE, 999_000, "its upstream does not answer"),
        (
            "metrics\n",
            "trouble 999500 its upstream gives no answer\nmetrics\n",
            999_500,
            "its upstream gives no answer",
        ),
    ],
)
def test_one_that_its_watchdog_has_cut_off(old, new, since, why):
    inside = status.read(SEEN.replace(old, new, 1), offline=False)
    assert (inside.mode, inside.since, inside.why) == (AWAY, since, why)


def test_one_without_an_upstream():
    assert status.read(SEEN, offline=True).mode == OFFLINE


def test_one_whose_registry_does_not_answer_still_shows_what_it_holds():
    inside = status.read(SEEN.partition("metrics")[0] + "metrics\n", offline=False)
    assert inside.counters is None
    assert inside.held.images == 3


@pytest.mark.parametrize(
    ("printed", "held"),
    [
        ("", None),
        ("room 5 10\n", Held(images=0, size=0, room=50)),
        ("room 5 10\nblobs 0 0\ntags 0\n", Held(images=0, size=0, room=50)),
    ],
)
def test_an_empty_volume(printed, held):
    assert status.read_held(printed) == held


def row(host="docker.io", **more):
    counted = Counters(
        since="9e5",
        manifests=Count(hits=8, misses=2, fetched=1_000, served=5_000),
        blobs=Count(hits=30, misses=10, fetched=1_000_000, served=4_000_000),
    )
    held = Held(images=3, size=2_000_000, room=5_000_000_000)
    inside = Inside(held=held, mode=THROUGH, counters=counted)
    given = {"health": "healthy", "inside": inside, "held": held, **more}
    return CacheStatus(host=host, name=f"registry-{host}", **given)


def test_the_table_has_a_row_for_each_cache_and_one_for_all():
    head, first, second, total = status_page.as_text([row(), row("quay.io")], NOW, 200).splitlines()
    assert head.split("  ")[0] == "cache"
    assert first.split() == [
        *("docker.io", "healthy", "through", "3", "2.0", "MB", "5.00", "GB"),
        *("50", "38", "4.0", "MB", "1.0", "MB", "75%", "-"),
    ]
    assert total.split() == ["all", "6", "4.0", "MB", "100", "76", "8.0", "MB", "2.0", "MB", "75%"]
    assert len(second) == len(first)


def test_what_is_not_known_is_not_a_zero():
    text = status_page.as_text([row(inside=None, held=None, health="not up")], NOW, 200)
    assert text.splitlines()[1].split() == ["docker.io", "not", "up", *["-"] * 10]


def test_on_a_narrow_terminal_each_cache_is_a_card_that_fits():
    lines = status_page.as_text([row(), row("registry.k8s.io")], NOW, 40).splitlines()
    assert lines[0] == "docker.io"
    assert "  saved      75%" in lines
    assert max(map(len, lines)) <= 40


def test_an_upstream_that_is_away_is_explained_below():
    inside = Inside(held=None, mode=AWAY, since=int(NOW) - 600, why="its upstream does not answer")
    text = status_page.as_text([row(inside=inside)], NOW, 200)
    assert text.splitlines()[-1] == (
        "docker.io: its upstream does not answer, for 10 min; it serves what it holds"
    )


def test_clusters_and_their_last_pulls_are_below():
    rows = [
        row(clusters=("dev",), pulls={"dev-worker-1": NOW - 30}),
        row("quay.io", clusters=("dev",), pulls={"dev-worker-1": NOW - 300}),
        row("ghcr.io"),
    ]
    text = status_page.as_text(rows, NOW, 200)
    assert "cluster dev pulls through the caches of docker.io, quay.io\n" in text
    assert "dev-worker-1 last pulled 30 s ago, from the cache of docker.io" in text
    assert text.splitlines()[1].endswith("30 s ago")


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0 s ago"),
        (119, "119 s ago"),
        (120, "2 min ago"),
        (7200, "2 h ago"),
        (200_000, "2 d ago"),
    ],
)
def test_how_long_ago(seconds, shown):
    assert status_page.ago(NOW - seconds, NOW) == shown
    assert status_page.ago(None, NOW) == "-"


def test_markdown_is_a_table():
    lines = status_page.as_markdown([row()], NOW).splitlines()
    assert {line.count("|") for line in lines} == {len(status_page.COLUMNS) + 1}
    assert lines[1].startswith("| --- | --- | --- | ---: |")


def test_a_line_for_a_log_leaves_out_what_is_not_known():
    [line] = status_page.as_lines([row(inside=None, held=None, health="exited")])
    assert line == "docker.io, exited"
    [line] = status_page.as_lines([row()])
    assert line.startswith("docker.io, healthy, through, images 3, held 2.0 MB")
    assert "last pull" not in line, "it changes by itself"
    assert "room left" not in line


def test_json_has_every_figure_by_kind():
    [cache] = json.loads(status_page.as_json([row(pulls={"a": NOW})]))["caches"]
    assert cache["manifests"] == {
        "requests": 10,
        "hits": 8,
        "misses": 2,
        "servedBytes": 5_000,
        "fetchedBytes": 1_000,
    }
    assert cache["countingSince"] == "1970-01-11T10:00:00Z"
    assert cache["lastPulls"] == {"a": "1970-01-12T13:46:40Z"}
    assert cache["savedShare"] == pytest.approx(0.75, abs=0.001)
    [away] = json.loads(status_page.as_json([row(inside=None, held=None)]))["caches"]
    assert (away["mode"], away["images"], away["blobs"]) == (None, None, None)


def test_nothing_was_served_is_no_share():
    assert status.saved(0, 0) is None
    assert status.saved(30, 20) == 0, "of an image that nobody got to the end of"
