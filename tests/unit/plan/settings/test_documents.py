"""The documents generated from the table of keys are up to date, and match the program."""

import re

import pytest
import yaml

from plan.settings.cluster import ONLY
from plan.settings.documents import SCHEMA_LINE
from plan.settings.keys import KEYS
from plan.settings.stack import parse
from tests.write_documents import COMMAND, ROOT, made

SHIPPED = sorted((ROOT / "stacks").glob("Pulumi.*.yaml"))


@pytest.mark.parametrize("path", made(), ids=lambda path: path.name)
def test_a_document_is_generated_from_the_table(path):
    assert path.read_text() == made()[path], f"run {COMMAND}"


def test_all_defaults_together_are_the_empty_stack():
    declared = yaml.safe_load((ROOT / "Pulumi.yaml").read_text())["config"]
    defaults = {key: value["default"] for key, value in declared.items()}
    assert parse(defaults) == parse({}), "a declared default differs from the real one"


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_stack_refers_to_the_schema(path):
    assert path.read_text().startswith(SCHEMA_LINE)
    assert (path.parent / "schema.json").exists()


@pytest.mark.parametrize("key", ONLY)
def test_a_key_for_one_provisioner_says_so(key):
    start = {"docker": "Docker only", "qemu": "QEMU only"}[ONLY[key]]
    assert KEYS[f"cluster.{key}"].description.startswith(start)


@pytest.mark.parametrize("path", KEYS)
def test_a_pattern_matches_the_default_and_the_example(path):
    key = KEYS[path]
    written = yaml.safe_load(key.example) if key.example else key.default
    for text in (key.default, written):
        if key.pattern and isinstance(text, str) and text != "0":
            assert re.fullmatch(key.pattern, text)


def test_no_cell_of_the_page_contains_a_separator():
    rows = [line for line in made()[ROOT / "docs" / "configuration.md"].splitlines() if "`" in line]
    assert {row.count("|") for row in rows if row.startswith("| `")} == {7}
