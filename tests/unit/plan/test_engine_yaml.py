"""This project reads YAML as the engine does: the fixture has the engine's own answers."""

import json

import pytest

from plan.engine_yaml import MOST_LEVELS, MOST_NODES, NotYamlError, documents, load
from plan.settings.config_keys import NoConfigError, in_file
from tests.engine_answers import SCALARS, contents, file_of, kept

TAKEN, REFUSED, FILES = (kept()[part] for part in ("taken", "refused", "files"))
# Files that the engine accepts, and that are refused here because it silently reads them in another
# way than they are meant.
STRICTER = {"other namespaces", "a key without a value"}


@pytest.mark.parametrize("text", TAKEN, ids=lambda text: text[:40])
def test_a_value_is_what_the_engine_reads(text):
    found = in_file(file_of([text]))["cluster"]["a0"]
    exact = not isinstance(found, (int, float)) or abs(found) < 2**53
    assert json.loads(json.dumps(found)) == (TAKEN[text] if exact else pytest.approx(TAKEN[text]))
    assert type(found) is type(TAKEN[text]) or isinstance(found, (int, float)), (
        "true is not 1, and text is not a number"
    )


@pytest.mark.parametrize("text", REFUSED, ids=lambda text: text[:40])
def test_what_the_engine_refuses_is_refused_in_one_line(text):
    with pytest.raises(NotYamlError) as caught:
        in_file(file_of([text]))
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("name", sorted(set(FILES) - STRICTER))
def test_a_file_is_what_the_engine_reads(name):
    content = contents()[name]
    if "refused" in FILES[name]:
        with pytest.raises((NotYamlError, NoConfigError)):
            in_file(content)
    else:
        found = {f"talos-cache:{key}": str(value) for key, value in in_file(content).items()}
        assert found == FILES[name]


def test_a_key_without_a_value_is_the_empty_text_that_the_engine_hands_over():
    name = "a key without a value"
    assert (
        in_file(contents()[name]) == {"prefix": FILES[name]["talos-cache:prefix"]} == {"prefix": ""}
    )


def test_the_fixture_is_complete():
    assert {*TAKEN, *REFUSED} == set(SCALARS)
    assert set(FILES) == set(contents())
    assert len(TAKEN) > 50
    assert len(REFUSED) > 15


def test_a_misspelt_config_key_is_reported():
    for name in ("cofnig", "Config", "configs"):
        for beside in ("", "config:\n", "config: {}\n"):
            with pytest.raises(NoConfigError, match=f"the key '{name}': did you mean 'config'"):
                in_file(f"{beside}{name}:\n  talos-cache:prefix: a\n".encode())
    assert in_file(b"anchors: &a {x: 1}\n") == {}


def test_an_error_has_its_line_and_not_the_text_around_it():
    with pytest.raises(NotYamlError) as caught:
        load("fine: 1\npassword: hunter2\nhunter3: [a\n")
    assert "(line 4)" in str(caught.value)
    assert "hunter" not in str(caught.value)


@pytest.mark.parametrize("value", ["*hunter2", "!hunter2", "!h!unter2", "!hunter2 [1]"])
def test_a_value_that_begins_with_a_special_character_is_not_shown(value):
    with pytest.raises(NotYamlError, match="quotes") as caught:
        load(f"password: {value}\n")
    assert "unter" not in str(caught.value)


@pytest.mark.parametrize("tag", ["str", "bool", "int", "float", "null", "timestamp", "merge"])
@pytest.mark.parametrize("value", ["[1]", "{a: 1}", "[]"])
def test_a_tag_of_single_values_is_refused_for_others(tag, value):
    with pytest.raises(NotYamlError, match="single value"):
        load(f"a: !!{tag} {value}")


@pytest.mark.parametrize("text", ['"\\ud83d\\ude00"', '"\\ud83d"', '{"\\ude00": 1}'])
def test_halves_of_a_surrogate_pair_are_refused_as_by_the_engine(text):
    with pytest.raises(NotYamlError, match="surrogate"):
        load(f"a: {text}")
    assert load('a: "\\U0001F600"') == {"a": "\U0001f600"}


@pytest.mark.parametrize("text", ["a\0b", "a: \x07"])
def test_characters_that_yaml_does_not_allow_are_reported(text):
    with pytest.raises(NotYamlError, match="not allowed"):
        load(text)


@pytest.mark.parametrize("opening", ["[", "{a: ", "- "])
def test_deep_nesting_is_refused_and_not_followed(opening):
    closing = {"[": "]", "{a: ": "}", "- ": ""}[opening]

    def nested(levels):
        return opening * levels + "1" + closing * levels

    assert load(nested(MOST_LEVELS - 1))
    for levels in (MOST_LEVELS, 5000):
        with pytest.raises(NotYamlError, match="levels deep"):
            load(nested(levels))


def test_aliases_that_multiply_are_refused_before_they_are_expanded():
    lines = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    with pytest.raises(NotYamlError, match=f"more than {MOST_NODES}"):
        load("\n".join(lines))


def test_a_tag_of_another_language_is_refused():
    with pytest.raises(NotYamlError, match="begins with"):
        load("a: !!python/object:os.system {}")


def test_several_documents_are_refused_if_one_is_expected():
    assert documents("a: 1\n---\n---\nb: 2\n") == [{"a": 1}, None, {"b": 2}]
    assert load("") is None
    with pytest.raises(NotYamlError, match="several documents"):
        load("a: 1\n---\nb: 2\n")
