"""What is written about the configuration is what plan/settings accepts."""

import re

import jsonschema
import pytest
import yaml

from plan.settings.cluster import ONLY, PROVISIONERS
from plan.settings.credentials import SECRET_KEYS
from plan.settings.harbor import KEYS_OF_AN_ADMIN
from plan.settings.keys import DEFAULTS
from plan.settings.stack import parse
from plan.settings.stack_schema import stack_schema
from tests.write_documents import ROOT

EXAMPLE = ROOT / "stacks" / "Pulumi.example.yaml"
VALIDATOR = jsonschema.Draft7Validator(stack_schema())

# Lines of comments that are configuration and not prose: a key, or a key with a value.
COMMENTED_KEY = re.compile(
    r"^(?P<indent> *)# (?P<line>(talos-cache:)?[a-z][A-Za-z0-9.-]*:(?: (?P<value>[^ ].*))?)$"
)


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


def in_the_file(config):
    return {f"talos-cache:{key}": value for key, value in config.items()}


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
        VALIDATOR.validate({"config": in_the_file(config)})
        assert parse(config).clusters, "it has a wrong value, or a key that there is not"


PRIVATE = (ROOT / "docs" / "private.md").read_text()
CONFIGURATION = (ROOT / "docs" / "configuration.md").read_text()


class TestPrivateGuide:
    recipes = tuple(re.findall(r"```yaml\n(.*?)```", PRIVATE + CONFIGURATION, re.DOTALL))

    @pytest.mark.parametrize("recipe", recipes)
    def test_every_recipe_is_a_valid_stack(self, recipe):
        config = yaml.safe_load(recipe)["config"]
        VALIDATOR.validate({"config": config})
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
