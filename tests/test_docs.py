"""Every place that repeats the configuration's keys and defaults agrees with plan/settings.py."""

import json
import re
from pathlib import Path

import pytest
import yaml

from plan.settings import DEFAULTS, REQUIRED, parse
from plan.upstreams import KNOWN

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "stacks" / "Pulumi.example.yaml"
README = ROOT / "README.md"

# Keys that may be absent: the engine would ask for them if Pulumi.yaml declared them.
UNDECLARED = {"cluster", "credentials"}
TYPES = {str: "string", bool: "boolean", int: "integer", tuple: "array"}
TOPS = list(dict.fromkeys(key.split(".")[0] for key in DEFAULTS))
# Lines of comments that are configuration and not prose: a key, or a key with a value.
COMMENTED_KEY = re.compile(
    r"^(?P<indent> *)# (?P<line>(talos-cache:)?[a-z][A-Za-z0-9.-]*:(?: (?P<value>[^ ].*))?)$"
)


def plain(value):
    """A default as YAML has it."""
    return list(value) if isinstance(value, tuple) else value


def flat(value, path=""):
    """Nested mappings -> dotted path and value of every leaf, empty mappings included."""
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from flat(item, f"{path}.{key}" if path else key)
    else:
        yield path, value


class TestPulumiYaml:
    declared = yaml.safe_load((ROOT / "Pulumi.yaml").read_text())["config"]

    def test_it_declares_every_key_but_those_that_may_be_absent(self):
        assert list(self.declared) == [key for key in TOPS if key not in UNDECLARED]

    @pytest.mark.parametrize("key", [key for key in DEFAULTS if "." not in key])
    def test_type_and_default_are_those_of_the_program(self, key):
        declared = self.declared[key]
        assert declared["type"] == TYPES[type(DEFAULTS[key])]
        assert declared["default"] == plain(DEFAULTS[key])

    def test_the_upstreams_are_the_known_ones(self):
        assert self.declared["upstreams"]["type"] == "object"
        assert self.declared["upstreams"]["default"] == {host: {} for host in KNOWN}

    def test_all_defaults_together_are_the_empty_stack(self):
        declared = {key: value["default"] for key, value in self.declared.items()}
        assert parse(declared) == parse({}), "declaring a default has changed what it is"

    def test_every_key_is_described(self):
        assert not [key for key, value in self.declared.items() if not value.get("description")]

    def test_the_cache_names_its_keys(self):
        description = self.declared["cache"]["description"]
        keys = [key.split(".")[1] for key in DEFAULTS if key.startswith("cache.")]
        assert description.endswith(", ".join(keys))


def uncommented():
    """The example with every commented key switched on; prose stays commented."""
    lines = []
    for line in EXAMPLE.read_text().splitlines():
        match = COMMENTED_KEY.match(line)
        lines.append(f"{match['indent']}{match['line']}" if match else line)
    return "\n".join(lines)


EXAMPLE_TEXT = EXAMPLE.read_text()
EXAMPLE_CONFIG = {
    key.removeprefix("talos-cache:"): value
    for key, value in yaml.safe_load(uncommented())["config"].items()
}


class TestExample:
    def test_nothing_in_it_is_switched_on(self):
        assert yaml.safe_load(EXAMPLE_TEXT) == {"config": None}

    @pytest.mark.parametrize("key", DEFAULTS)
    def test_it_has_every_key(self, key):
        group, _, name = key.rpartition(".<host>.")
        if group:
            assert any(name in (entry or {}) for entry in EXAMPLE_CONFIG[group].values())
        else:
            assert key in dict(flat(EXAMPLE_CONFIG))

    @pytest.mark.parametrize(
        "key", [key for key, value in DEFAULTS.items() if value not in (None, REQUIRED)]
    )
    def test_it_gives_the_right_default(self, key):
        group, _, name = key.rpartition(".<host>.")
        if group:
            given = [entry[name] for entry in EXAMPLE_CONFIG[group].values() if name in entry]
        else:
            given = [dict(flat(EXAMPLE_CONFIG))[key]]
        assert given == [plain(DEFAULTS[key])]
        line = rf"(?:talos-cache:)?{key.rpartition('.')[2]}: "
        marked = re.search(rf"# Default:\n(?: +# [^\n]*\n)*? +# {line}", EXAMPLE_TEXT)
        assert marked, "the key stands below a line that says it is the default"

    def test_switched_on_it_is_a_valid_stack(self):
        assert parse(EXAMPLE_CONFIG).cluster, "it has a wrong value, or a key that there is not"

    def test_its_list_of_defaults_is_the_table(self):
        flowing = " ".join(re.sub(r"\n *# ?", " ", EXAMPLE_TEXT).split())
        assert f"defaults ({', '.join(KNOWN)})" in flowing

    def test_required_keys_say_so(self):
        before_username = EXAMPLE_TEXT.split("# username:")[0].splitlines()[-2]
        assert "REQUIRED" in before_username
        for name in ("remoteUrl", "port"):
            comment = re.search(rf"((?: +# [^\n]*\n)+) +# {name}: ", EXAMPLE_TEXT)[1]
            assert "REQUIRED outside the six" in comment


def readme_rows():
    """The table of configuration keys: key -> the text of its default."""
    assert README.exists(), "README.md is not there"
    start, end = "<!-- config keys -->", "<!-- end of config keys -->"
    text = README.read_text()
    assert text.count(start) == text.count(end) == 1, (
        f"README.md needs its table of configuration keys between '{start}' and '{end}'"
    )
    table = text.split(start)[1].split(end)[0]
    rows = [line for line in table.splitlines() if line.startswith("| `")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in rows]
    return {row[0].strip("`"): row[1] for row in cells}, [row[0] for row in cells]


class TestReadme:
    def test_its_table_has_every_key_once_and_no_other(self):
        rows, names = readme_rows()
        assert len(names) == len(rows), "a key stands twice"
        assert set(rows) - {"upstreams"} == set(DEFAULTS)

    @pytest.mark.parametrize(
        "key", [key for key, value in DEFAULTS.items() if value not in (None, REQUIRED)]
    )
    def test_its_table_gives_the_right_default(self, key):
        default = readme_rows()[0].get(key, "")
        value = re.fullmatch("`(.*)`", default)
        assert value, f"the default of {key} stands between backticks; it reads {default!r}"
        found = yaml.safe_load(value[1])
        expected = plain(DEFAULTS[key])
        assert json.dumps(found) == json.dumps(expected), "also '0' and 0 differ"
