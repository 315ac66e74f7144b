"""Keys with the project's namespace, with another one, and without."""

import pytest

from plan.problems import SettingsError
from plan.settings.config_keys import full_names, own
from plan.settings.stack import parse


@pytest.mark.parametrize(
    "namespace",
    ["talos_cache", "Talos-Cache", "taloscache", "talos-cach", "talos-caches", "talos cache"],
)
def test_a_namespace_that_looks_like_the_projects_is_reported(namespace):
    with pytest.raises(SettingsError) as caught:
        parse(own({f"{namespace}:prefix": "mine"}))
    (problem,) = caught.value.problems
    assert str(problem).startswith(f"{namespace}:prefix\n"), "as written in the file"
    assert problem.fix == "write talos-cache:prefix"


@pytest.mark.parametrize("namespace", ["talos", "docker", "command", "aws", "cache", "pulumi", ""])
def test_keys_of_other_programs_are_ignored(namespace):
    assert own({f"{namespace}:prefix": "theirs"}) == {}


def test_all_forms_of_a_key_are_the_same():
    for key in ("prefix", "talos-cache:prefix", "talos-cache:config:prefix"):
        assert own({key: "mine"}) == {"prefix": "mine"}


def test_two_forms_of_a_key_are_refused_because_the_engine_picks_one_at_random():
    both = {"prefix": "one", "talos-cache:prefix": "two"}
    for config in (both, dict(reversed(both.items()))):
        with pytest.raises(SettingsError, match="twice"):
            parse(own(config))


def test_a_key_that_is_not_text_is_reported_as_text():
    with pytest.raises(SettingsError, match="talos-cache:5\n"):
        parse(own({5: "x"}))


def test_a_namespace_that_may_contain_a_secret_is_masked():
    with pytest.raises(SettingsError) as caught:
        parse(own({"talos-cach:https://alice:hunter2@host": "x"}))
    assert "hunter2" not in str(caught.value)


def test_keys_of_all_namespaces_have_the_engines_names():
    written = b'config: {prefix: a, 5: b, talos-cache:config:basePort: 1, docker:host: x, ":a": c}'
    names = {"prefix", "5", "basePort"}
    assert full_names(written) == {f"talos-cache:{name}" for name in names} | {"docker:host", ":a"}
    assert full_names(b"") == frozenset()
