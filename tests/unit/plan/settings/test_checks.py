"""The messages of mistakes, and what is masked in them."""

import pytest

from plan.network import ip_address
from plan.problems import (
    MASK,
    Problem,
    SettingsError,
    text,
)
from plan.settings.checks import Checks, number_in
from plan.settings.keys import KEYS
from plan.settings.stack import parse
from tests.unit.plan.shapes import planned


def problem(path="cache.ttl", found="7 days"):
    check = Checks(KEYS)
    check.add(path, found, "rule", "fix")
    return check.problems[0]


def test_a_problem_reads_path_found_rule_fix():
    ttl = Problem(path="cache.ttl", found='"7 days"', rule="a duration", fix="write 168h")
    assert str(ttl).splitlines() == [
        "talos-cache:cache.ttl",
        '    found: "7 days"',
        "    rule:  a duration",
        "    fix:   write 168h",
    ]


def test_one_mistake_is_singular():
    assert str(SettingsError((problem(),))).startswith("1 mistake in")


@pytest.mark.parametrize(
    "value",
    [
        "https://alice:hunter2@host",
        "https://alice:hun/ter2@host",
        "https://alice:hun@ter2@host",
        "https://alice:hun ter2@host",
        "https://alice:hunter2\n@host",
        "https://alice:ftp://hunter2@host",
        "alice:hunter2@host",
        "alice@x://hunter2@host",
        {"docker.io": "https://alice:hunter2@host"},
        ["alice:hunter2@host"],
    ],
    ids=str,
)
def test_whatever_may_be_a_password_is_masked(value):
    found = problem(found=value).found
    assert "hunter2" not in found
    assert "ter2" not in found
    assert MASK in found
    assert "host" in found, "the rest is shown, so that the user knows which it is"


def test_a_password_in_a_key_is_masked_and_the_rest_is_not():
    masked = problem(path="upstreams.https://alice:hunter2@host.port")
    assert masked.path == f"upstreams.https://{MASK}@host.port"


def test_quotes_and_line_breaks_in_a_value_are_visible():
    assert problem(found='a "b"\n').found == '"a \\"b\\"\\n"'
    assert problem(found="größe").found == '"größe"', "letters of other languages are not escaped"


@pytest.mark.parametrize(
    ("written", "meant"),
    [("yes", "true"), ("TRUE", "true"), ("off", "false"), (0, "false"), ("?", "true or false")],
)
def test_words_for_true_and_false_are_understood_in_the_fix(written, meant):
    check = Checks(KEYS)
    check.boolean("exposeToLan", {"exposeToLan": written})
    assert check.problems[0].fix == f"write {meant}"


def test_for_a_wrong_value_the_default_is_returned_so_that_reading_goes_on():
    check = Checks(KEYS)
    assert check.integer("basePort", {"basePort": "x"}) == 5000
    assert check.duration("cluster.createTimeout", {"createTimeout": "x"}) == "25m"
    assert check.boolean("exposeToLan", {"exposeToLan": "x"}) is False


@pytest.mark.parametrize(
    ("key", "meant"), [("BASEPORT", "basePort"), ("bind-addresses", "bindAddresses")]
)
def test_an_unknown_key_that_is_nearly_right_gets_a_suggestion(key, meant):
    check = Checks(KEYS)
    assert check.mapping("", {key: 1}, "") == {}
    assert check.problems[0].fix == f"did you mean {meant}?"


def test_an_address_with_a_zone_is_not_an_address():
    assert ip_address("fe80::1%eth0") is None, "Docker can't publish on it"
    assert str(ip_address("fe80::1")) == "fe80::1"


def test_text_of_anything():
    assert text(5) == "5"
    assert "thousands" in text(16**6000)


def test_the_path_of_a_file_is_shown_and_what_may_be_a_user_name_is_not():
    check = Checks({})
    check.add("cache.ca", "@certs/ca.pem", "r", "f")
    check.add("cache.ca", "@alice:hunter2@certs/ca.pem", "r", "f")
    check.missing("cache.ca", "r", "ask alice:hunter2@host, or write ", '"@certs/ca.pem"')
    path, user, example = check.problems
    assert path.found == '"@certs/ca.pem"', "its only @ is the sign of a file"
    assert "hunter2" not in user.found
    assert example.fix == '********@host, or write "@certs/ca.pem"', "our own words are shown"


def test_of_many_mistakes_the_first_are_shown_and_all_are_counted():
    with pytest.raises(SettingsError) as caught:
        parse({f"key{number}": 1 for number in range(2_000)})
    message = str(caught.value)
    assert message.startswith("2000 mistakes")
    assert message.count("an unknown key") == 20
    assert message.endswith("  and 1980 more like these")
    assert len(caught.value.problems) == 2_000


def test_if_all_are_shown_there_are_no_more():
    with pytest.raises(SettingsError) as caught:
        parse({f"key{number}": 1 for number in range(20)})
    assert "more like these" not in str(caught.value)


@pytest.mark.parametrize(
    "config",
    [
        {"x" * 100_000: 1},
        {"prefix": "-" * 100_000},
        {"upstreams": {"x" * 100_000: {}}},
        {"upstreams": {"x." * 50_000 + "X": {}}},
        {"cluster": {"patches": [{"op": "add", "path": f"/machine/{'x' * 100_000}"}]}},
    ],
)
def test_a_value_that_no_one_could_read_is_cut(config):
    with pytest.raises(SettingsError) as caught:
        planned(config)
    assert len(str(caught.value)) < 5_000


@pytest.mark.parametrize(
    ("written", "number"),
    [
        ("1.5", 1.5),
        ("2.0", 2),
        ("0", 0),
        ("10", 10),
        ("05", "05"),
        ("+5", "+5"),
        ("1e3", "1e3"),
        ("0x10", "0x10"),
        ("1_000", "1_000"),
        ("5 ", "5 "),
        ("", ""),
        ("9" * 5000, "9" * 5000),
        (True, True),
        (7, 7),
        (None, None),
    ],
)
def test_a_number_in_quotes_is_the_number_if_it_can_be_nothing_else(written, number):
    assert number_in(written) == number
    assert type(number_in(written)) is type(number)
