"""Checking and comparing inputs, without an engine."""

import pytest

from toolchain.fallback_plugins.docker.container_fields import FIELDS
from toolchain.fallback_plugins.docker.image import RemoteImage
from toolchain.fallback_plugins.docker.volume import Volume
from toolchain.fallback_plugins.protocol.schema import Change, changes, problems, with_defaults
from toolchain.fallback_plugins.protocol.values import UNKNOWN, Secret

# The inputs that the official plugin changes in place, as far as the fallback has them.
OFFICIAL_IN_PLACE = {
    "containerReadRefreshTimeoutMilliseconds",
    "destroyGraceSeconds",
    "healthcheck",
    "maxRetryCount",
    "memory",
    "memorySwap",
    "mustRun",
    "removeVolumes",
    "restart",
    "start",
    "tmpfs",
    "waitTimeout",
}


def problems_of(inputs):
    return list(problems(FIELDS, {"name": "n", "image": "i", **inputs}, "Container"))


def test_only_what_the_official_plugin_changes_in_place_does_not_replace():
    assert {key for key, spec in FIELDS.items() if spec.in_place} == OFFICIAL_IN_PLACE


def test_everything_about_volumes_replaces():
    assert not [key for key, spec in Volume.fields.items() if spec.in_place]


def test_only_how_an_image_is_removed_changes_in_place():
    in_place = {key for key, spec in RemoteImage.fields.items() if spec.in_place}
    assert in_place == {"keepLocally", "forceRemove"}


@pytest.mark.parametrize(
    ("key", "items"),
    [
        ("envs", ["A=1", "B=2"]),
        ("dnsOpts", ["ndots:1", "debug"]),
        ("labels", [{"label": "a", "value": "1"}, {"label": "b", "value": "2"}]),
        ("volumes", [{"containerPath": "/a"}, {"containerPath": "/b", "readOnly": True}]),
        ("uploads", [{"file": "/a", "content": "x"}, {"file": "/b", "content": "y"}]),
    ],
)
def test_the_order_of_a_set_is_no_change(key, items):
    assert changes(FIELDS, {key: items}, {key: items[::-1]}) == {}


def test_the_order_of_a_command_is_a_change():
    changed = changes(FIELDS, {"command": ["a", "b"]}, {"command": ["b", "a"]})
    assert changed == {"command": Change("UPDATE", replaces=True)}


@pytest.mark.parametrize("key", ["command", "envs", "labels", "user", "healthcheck", "logDriver"])
def test_an_input_that_is_left_out_stays_as_it_is(key):
    before = {
        "command": ["a"],
        "envs": ["A=1"],
        "labels": [{"label": "a", "value": "1"}],
        "user": "1",
        "healthcheck": {"tests": ["CMD", "true"]},
        "logDriver": "none",
    }
    assert changes(FIELDS, before, {k: v for k, v in before.items() if k != key}) == {}


def test_each_part_of_a_map_or_list_that_differs_is_reported():
    old = {"logOpts": {"a": "1", "b": "1", "c-d": "1"}, "dnsOpts": ["a", "b", "c"]}
    new = {"logOpts": {"a": "1", "b": "2", "e": "1"}, "dnsOpts": ["a", "d"]}
    assert {path: change.kind for path, change in changes(FIELDS, old, new).items()} == {
        "logOpts.b": "UPDATE",
        'logOpts["c-d"]': "DELETE",
        "logOpts.e": "ADD",
        "dnsOpts[1]": "UPDATE",
        "dnsOpts[2]": "DELETE",
    }
    assert changes(FIELDS, {}, {"dnsOpts": ["a"]})["dnsOpts"].kind == "ADD"
    assert changes(FIELDS, {"dnsOpts": ["a"]}, {})["dnsOpts"].kind == "DELETE"


def test_defaults_are_filled_in_also_inside():
    inputs = {"image": "i", "ports": [{"internal": 1}, UNKNOWN], "healthcheck": Secret({})}
    filled = with_defaults(FIELDS, inputs)
    assert filled["ports"] == [
        {"internal": 1, "ip": "0.0.0.0", "protocol": "tcp"},
        UNKNOWN,
    ]
    assert filled["healthcheck"].value["interval"] == "0s"
    assert (filled["restart"], filled["mustRun"]) == ("no", True)
    assert "user" not in filled


def test_two_ports_that_differ_only_in_ip_are_two_ports():
    one = {"internal": 5000, "external": 5000, "ip": "127.0.0.1"}
    other = {**one, "ip": "172.17.0.1"}
    assert changes(FIELDS, {"ports": [one]}, {"ports": [one, other]})


@pytest.mark.parametrize(
    ("key", "default"),
    [
        ("mustRun", True),
        ("restart", "no"),
        ("memory", 0),
        ("networkMode", "bridge"),
        ("envs", []),
        ("labels", []),
        ("waitTimeout", 60),
        ("user", ""),
    ],
)
def test_a_default_counts_as_absent(key, default):
    assert changes(FIELDS, {}, {key: default}) == {}
    assert changes(FIELDS, {key: default}, {}) == {}


def test_a_default_inside_an_object_counts_as_absent():
    plain = {"internal": 80, "external": 80}
    with_defaults_in = {**plain, "protocol": "tcp", "ip": "0.0.0.0"}
    assert changes(FIELDS, {"ports": [plain]}, {"ports": [with_defaults_in]}) == {}


def test_a_change_says_whether_a_value_was_added_removed_or_changed():
    assert changes(FIELDS, {}, {"user": "1"})["user"].kind == "ADD"
    assert changes(FIELDS, {"memory": 1}, {})["memory"].kind == "DELETE"
    assert changes(FIELDS, {"user": "1"}, {"user": "2"})["user"].kind == "UPDATE"


def test_an_unknown_is_a_change():
    assert changes(FIELDS, {"image": "a"}, {"image": UNKNOWN})["image"].replaces


def test_a_secret_mark_alone_is_no_change():
    assert changes(FIELDS, {"envs": ["A=1"]}, {"envs": [Secret("A=1")]}) == {}


def test_an_unknown_nested_property_is_refused_by_name_even_in_a_secret():
    (problem,) = problems_of({"uploads": Secret([{"file": "/a", "content": "x", "owner": "1"}])})
    assert problem.path == "uploads[0].owner"


@pytest.mark.parametrize(
    ("inputs", "path"),
    [
        ({"ports": [{"external": 5000}]}, "ports[0].internal"),
        ({"ports": [{"internal": "80"}]}, "ports[0].internal"),
        ({"uploads": [{"file": "/a", "permissions": "600"}]}, "uploads[0].permissions"),
        ({"uploads": [{"file": "/a", "permissions": ""}]}, "uploads[0].permissions"),
        ({"restart": "sometimes"}, "restart"),
        ({"envs": "A=1"}, "envs"),
        ({"memory": -1}, "memory"),
        ({"memory": 1.5}, "memory"),
        ({"mustRun": "yes"}, "mustRun"),
        ({"logOpts": {"max-size": 1}}, "logOpts[max-size]"),
        ({"image": None}, "image"),
    ],
)
def test_a_value_of_the_wrong_kind_is_refused_with_its_path(inputs, path):
    assert [problem.path for problem in problems_of(inputs)] == [path]


def test_an_unknown_fits_everywhere():
    assert problems_of({"ports": UNKNOWN, "envs": [UNKNOWN], "memory": UNKNOWN}) == []
