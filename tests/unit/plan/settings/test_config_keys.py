"""Keys with a namespace, with another one, and without."""

import pytest

from plan.problems import SettingsError
from plan.settings.config_keys import full_names, own
from plan.settings.stack import parse


@pytest.mark.parametrize(
    "namespace",
    ["talos_cache", "Talos-Cache", "taloscache", "talos-cach", "talos-caches", "talos cache"],
)
def test_a_namespace_that_looks_like_the_projects_is_told(namespace):
    with pytest.raises(SettingsError) as caught:
        parse(own({f"{namespace}:prefix": "mine"}))
    (problem,) = caught.value.problems
    assert str(problem).startswith(f"{namespace}:prefix\n"), "as it is written in the file"
    assert problem.fix == "write talos-cache:prefix"


@pytest.mark.parametrize("namespace", ["talos", "docker", "command", "aws", "cache", "pulumi", ""])
def test_keys_of_others_are_left_alone(namespace):
    assert own({f"{namespace}:prefix": "theirs"}) == {}


def test_all_forms_of_a_key_are_one():
    for key in ("prefix", "talos-cache:prefix", "talos-cache:config:prefix"):
        assert own({key: "mine"}) == {"prefix": "mine"}


def test_the_engine_chooses_by_chance_so_two_forms_of_a_key_are_told():
    both = {"prefix": "one", "talos-cache:prefix": "two"}
    for given in (both, dict(reversed(both.items()))):
        with pytest.raises(SettingsError, match="this key twice"):
            parse(own(given))


def test_a_key_that_is_no_text_is_told_as_the_text_that_it_is():
    with pytest.raises(SettingsError, match="talos-cache:5\n"):
        parse(own({5: "x"}))


def test_a_namespace_that_may_hold_a_secret_is_masked():
    with pytest.raises(SettingsError) as caught:
        parse(own({"talos-cach:https://alice:hunter2@host": "x"}))
    assert "hunter2" not in str(caught.value)


def test_keys_of_all_namespaces_have_the_names_that_the_engine_gives_them():
    written = b'config: {prefix: a, 5: b, talos-cache:config:basePort: 1, docker:host: x, ":a": c}'
    names = {"prefix", "5", "basePort"}
    assert full_names(written) == {f"talos-cache:{name}" for name in names} | {"docker:host", ":a"}
    assert full_names(b"") == frozenset()
