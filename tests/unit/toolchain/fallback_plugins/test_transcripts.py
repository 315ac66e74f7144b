"""How recorded answers are kept and compared, without a plugin."""

import json
import re

import pytest

from host.paths import ROOT
from tests.real.fallback_plugins import transcripts
from tests.real.fallback_plugins.known_differences import KNOWN
from tests.real.fallback_plugins.plugin_driver import filled, normalised
from tests.real.fallback_plugins.scenarios import SCENARIOS, TABLES
from tests.real.fallback_plugins.transcripts import Known, Place, differences, kind_of

WORDS = {"name": "fallback-test-1", "port": 15400, "folder": "/tmp/a b"}
ID = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (f"sha256:{ID}fallback-test-1:1", "sha256:<id>{name}:1"),
        ("thing01234567", "thing<id>"),
        ("thing-0123abc", "thing-<random>"),
        ("0123456789ab", "<short id>"),
        ("172.17.0.12/16", "<address>/16"),
        ("02:42:ac:11:00:02", "<mac>"),
        ("/var/lib/docker/volumes/fallback-test-1/_data", "<docker>/volumes/{name}/_data"),
        ("127.0.0.1:15400 in /tmp/a b/x", "127.0.0.1:{port} in {folder}/x"),
        (15400, "{port}"),
        (15400.0, "{port}"),
        (1.0, 1),
        (True, True),
        (1.5, 1.5),
        ({"external": 32770, "b": None}, {"external": "<a port that Docker chose>"}),
        ({"external": 8080}, {"external": 8080}),
        ({"__meta": "{}"}, {"__meta": "..."}),
        ({"repoDigest": ""}, {"repoDigest": "<as Docker has it>"}),
        ({"repoDigest": f"a@sha256:{ID}"}, {"repoDigest": "<as Docker has it>"}),
        ({"repoDigest": "other"}, {"repoDigest": "other"}),
        ({"labels": [{"b": 1}, {"a": 1}]}, {"labels": [{"a": 1}, {"b": 1}]}),
        ({"ports": [{"b": 1}, {"a": 1}]}, {"ports": [{"b": 1}, {"a": 1}]}),
    ],
)
def test_what_differs_from_run_to_run_is_replaced_and_nothing_else(value, expected):
    found = normalised(value, WORDS)
    assert found == expected
    assert type(found) is type(expected)


def test_words_are_filled_in_and_keep_their_type_when_alone():
    given = {"a": ["{port}", "x{port}{other}"], "b": True}
    assert filled(given, WORDS) == {"a": [15400, "x15400{other}"], "b": True}


LEFT = {"a": 1, "c": 2, "d": 3, "e": 4, "f": 5, "g": 6}
RECORDS = [
    {"call": "Check", "asked": {"news": {"a": 1}}, "answered": {"inputs": {"a": 1, "b": [1, 2]}}},
    {
        "call": "Create",
        "asked": {"properties": {"a": 1, "b": [1, 2]}},
        "failed": "port is already allocated",
        "left": {"id": "<id>", "properties": LEFT, "reasons": ["x"]},
    },
    {"run": "docker rm", "printed": ["gone"]},
    {
        "call": "Read",
        "asked": {"properties": LEFT},
        "answered": {"properties": {**{key: LEFT[key] for key in "cdfg"}, "e": 5}, "inputs": {}},
    },
]


def test_what_is_written_is_read_back(tmp_path, monkeypatch):
    monkeypatch.setattr(transcripts, "FOLDER", tmp_path)
    transcripts.write("x:Thing", {"docker": "1"}, {"first": RECORDS, "second": RECORDS})
    text = (tmp_path / "Thing.json").read_text()
    assert '{"like": "<1.properties>", "a": null, "e": 5}' in text
    assert '"properties": "<0.inputs>"' in text
    assert '"<usual 1.properties>"' in text
    assert transcripts.read("x:Thing") == {"first": RECORDS, "second": RECORDS}
    assert json.loads(text)["recorded with"] == {"docker": "1"}


def changed(index, **parts):
    return [*RECORDS[:index], {**RECORDS[index], **parts}, *RECORDS[index + 1 :]]


@pytest.mark.parametrize(
    ("other", "paths"),
    [
        (RECORDS, []),
        (changed(1, failed="address already in use"), []),
        (changed(1, failed="No such image"), ["1 Create.failed"]),
        (changed(2, printed=[]), ["2 (docker rm).printed"]),
        (
            changed(0, answered={"inputs": {"a": True, "b": [1, 3]}}),
            ["0 Check.answered.inputs.a", "0 Check.answered.inputs.b[1]"],
        ),
        (changed(0, answered={"inputs": {"a": 1, "b": [1]}}), ["0 Check.answered.inputs.b"]),
        (changed(3, answered={"inputs": {}}), ["3 Read.answered.properties"]),
        (RECORDS[:-1], ["calls"]),
    ],
)
def test_every_difference_is_told_by_its_place(other, paths):
    assert [place.path for place in differences(RECORDS, other)] == paths


def diff(kinds, **more):
    detailed = {path: {"kind": kind} if kind else {} for path, kind in kinds.items()}
    return [{"call": "Diff", "answered": {"detailedDiff": detailed, **more}}]


def test_diffs_are_compared_by_property_and_kind():
    official = diff({"ports[0].ip": "UPDATE_REPLACE", "ports[1]": "ADD_REPLACE", "envs": ""})
    assert not differences(
        official, diff({"ports[1]": "UPDATE_REPLACE", "ports[2]": "ADD_REPLACE", "envs": "ADD"})
    )
    assert differences(official, diff({"ports": "UPDATE_REPLACE", "envs": "ADD"}))
    replaces = diff({}, replaces=["ports", "ports"])
    assert not differences(replaces, diff({}, replaces=["ports[0]"]))
    assert differences(replaces, diff({}, replaces=["envs"]))


def test_failures_of_a_check_are_compared_by_property():
    def failures(*found):
        return [{"call": "Check", "answered": {"failures": list(found), "inputs": {"a": 1}}}]

    official = failures({"reason": "'600' is bad. Examine values at 'thing.uploads'."})
    ours = {"property": "uploads[0].permissions", "reason": "other words"}
    assert not differences(official, failures(ours))
    assert differences(official, failures({"property": "ports", "reason": ""}))
    assert differences(official, failures(ours, ours))


def test_each_recorded_error_is_of_a_known_kind():
    texts = [
        record["failed"]
        for table in TABLES
        for records in transcripts.read(table).values()
        for record in records
        if "failed" in record
    ]
    assert len(texts) > 10
    assert not [text for text in texts if kind_of(text) == transcripts.NO_KIND]


def test_each_scenario_is_recorded_and_nothing_else():
    for table, scenarios in TABLES.items():
        assert list(transcripts.read(table)) == list(scenarios)


def test_recordings_say_with_what_they_were_made_and_hold_nothing_of_one_run():
    for table in TABLES:
        text = (transcripts.FOLDER / f"{table.rpartition(':')[2]}.json").read_text()
        versions = json.loads(text)["recorded with"]
        assert all(re.match(r"\d+\.\d+", version) for version in versions.values())
        assert {"docker", f"pulumi-resource-{table.partition(':')[0]}"} == set(versions)
        assert not re.search(r"[0-9a-f]{40}|fallback-test|/tmp/tmp|/root|154\d\d", text)


def test_a_known_difference_explains_its_place_and_is_missed_where_it_must_be():
    scenario = SCENARIOS[0]
    known = Known(types=(scenario.type,), path=r"\d+ Diff\.x", reason="", seen_in=scenario.name)
    here = Place(path="1 Diff.x", official=1, other=2)
    other = Place(path="1 Diff.xy", official=1, other=2)
    assert transcripts.sorted_out([here, other], [known], scenario) == ([other], [])
    assert transcripts.sorted_out([], [known], scenario) == ([], [known])
    elsewhere = Known(types=("x",), path=".*", reason="", seen_in=scenario.name)
    assert transcripts.sorted_out([here], [elsewhere], scenario) == ([here], [])


def test_the_documentation_prints_the_known_differences():
    text = (ROOT / "docs" / "fallback-plugins.md").read_text()
    printed = text.partition("<!-- known differences -->\n")[2].partition("<!-- end -->")[0]
    assert printed == "".join(f"- {known.reason}\n" for known in KNOWN)
    names = {scenario.name for scenario in SCENARIOS}
    assert {known.seen_in for known in KNOWN} <= names
