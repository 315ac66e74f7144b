"""Every place that repeats the configuration's keys and defaults agrees with plan/settings."""

import json
import re
from pathlib import Path

import pytest
import yaml

from plan.settings.cluster import ONLY, PROVISIONERS
from plan.settings.credentials import ENCRYPTED_KEY, SECRET_KEYS
from plan.settings.harbor import KEYS_OF_AN_ADMIN
from plan.settings.keys import DEFAULTS, REQUIRED
from plan.settings.stack import parse
from plan.upstreams import KNOWN

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "stacks" / "Pulumi.example.yaml"
README = ROOT / "README.md"

# Keys that may be absent: the engine would ask for them if Pulumi.yaml declared them.
UNDECLARED = {"upstreamProxy", "cluster", "harbor", *SECRET_KEYS}
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
    """Nested mappings -> dotted path and value of every leaf; empty ones, and secrets, are one."""
    if isinstance(value, dict) and value and set(value) != {ENCRYPTED_KEY}:
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


def without(config, paths):
    """The configuration without these keys, at the top or below one."""
    return {
        top: {key: item for key, item in value.items() if f"{top}.{key}" not in paths}
        if isinstance(value, dict)
        else value
        for top, value in config.items()
        if top not in paths
    }


CERTIFICATE = ["cache.certificate", "cache.key", "cache.ca"]
# Keys that exclude each other -> (what is left out, what is changed).
WAYS = {
    "a certificate made here, public projects": ([*CERTIFICATE, "harbor.robot", "harborLogin"], {}),
    "a given certificate, private projects": (
        ["harborLogin"],
        {"cache": {"tls": True}, "harbor": {"public": False}},
    ),
    "projects that others have made": (
        [*CERTIFICATE, "harborAdmin", *(f"harbor.{key}" for key in KEYS_OF_AN_ADMIN)],
        {"cache": {"tls": True}},
    ),
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

    @pytest.mark.parametrize("provisioner", PROVISIONERS)
    @pytest.mark.parametrize("way", WAYS)
    def test_switched_on_it_is_a_valid_stack(self, way, provisioner):
        cluster = {
            key: value
            for key, value in EXAMPLE_CONFIG["cluster"].items()
            if ONLY.get(key, provisioner) == provisioner
        }
        config = {**EXAMPLE_CONFIG, "cluster": {**cluster, "provisioner": provisioner}}
        left_out, changed = WAYS[way]
        config = without(config, left_out)
        for group, values in changed.items():
            config[group] = {**config[group], **values}
        assert parse(config).clusters, "it has a wrong value, or a key that there is not"

    @pytest.mark.parametrize("key", ONLY)
    def test_it_says_which_provisioner_a_key_is_for(self, key):
        section = EXAMPLE_TEXT.split("# talos-cache:cluster:")[1]
        comment = re.search(rf"((?: +# [^\n]*\n)+) +# {key}: ", section)[1]
        assert {"docker": "Docker only", "qemu": "QEMU only"}[ONLY[key]] in comment

    def test_its_list_of_defaults_is_the_table(self):
        flowing = " ".join(re.sub(r"\n *# ?", " ", EXAMPLE_TEXT).split())
        assert f"defaults ({', '.join(KNOWN)})" in flowing

    def test_required_keys_say_so(self):
        for key in (key for key, value in DEFAULTS.items() if value is REQUIRED):
            section = EXAMPLE_TEXT.split(f"# talos-cache:{key.split('.')[0]}:")[1]
            name = key.rpartition(".")[2]
            comment = re.search(rf"((?: +# [^\n]*\n)+) +# {name}: ", section)[1]
            assert "REQUIRED" in comment, f"{key} has to be there"
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


PRIVATE = (ROOT / "docs" / "private.md").read_text()


class TestPrivateGuide:
    recipes = tuple(re.findall(r"```yaml\n(.*?)```", PRIVATE, re.DOTALL))

    @pytest.mark.parametrize("recipe", recipes)
    def test_every_recipe_is_a_valid_stack(self, recipe):
        config = yaml.safe_load(recipe)["config"]
        assert parse({key.removeprefix("talos-cache:"): value for key, value in config.items()})

    def test_there_are_recipes(self):
        assert len(self.recipes) >= 5, "the pattern finds (nearly) none of them"

    def test_every_secret_that_it_has_set_is_one_of_the_program(self):
        set_there = re.findall(r"pulumi config set --secret --path '?([^'\s]+)'?", PRIVATE)
        keys = {re.sub(r'\["[^"]+"\]', ".<host>", key) for key in set_there}
        assert keys == {key for key, value in DEFAULTS.items() if is_secret(key)} - {
            "harborLogin.username",
            "harborLogin.password",
        }, "harborLogin is set as the others are, the guide says"


def is_secret(key):
    return key.partition(".")[0] in SECRET_KEYS
