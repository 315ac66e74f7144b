"""stacks/schema.json accepts every valid stack file, and refuses what a schema can refuse."""

import json

import jsonschema
import pytest

from plan import engine_yaml
from plan.problems import PROJECT, text
from plan.settings.credentials import ENCRYPTED_KEY, NAMES, SECRET_KEYS
from plan.settings.documents import tops
from tests.plan.shapes import INVALID, VALID
from tests.write_documents import ROOT

SCHEMA = json.loads((ROOT / "stacks" / "schema.json").read_text())
VALIDATOR = jsonschema.Draft7Validator(SCHEMA)
SHIPPED = sorted((ROOT / "stacks").glob("Pulumi.*.yaml"))

# Wrong files that the schema accepts, by what it would have to do to refuse them.
BEYOND_A_SCHEMA = {
    # compare one key with another
    "addressing-a-host-name-without-bind-addresses",
    "backend-harbor-without-harbor",
    "certificate-without-key",
    "certificate-without-tls",
    "cluster-merged-in-maintenance",
    "cluster-merged-without-waiting",
    "clusters-on-the-bridge-of-the-first",
    "credentials-for-an-unknown-upstream",
    "credentials-from-docker-on-an-exposed-cache",
    "credentials-from-two-places",
    "credentials-on-a-cache-bound-to-every-address",
    "credentials-that-harbor-is-not-told",
    "harbor-ca-with-http",
    "harbor-keys-of-an-admin-without-one",
    "harbor-login-beside-an-admin",
    "harbor-login-beside-an-admin-of-private-projects",
    "harbor-logins-without-harbor",
    "harbor-nobody-uses",
    "harbor-robot-on-public-projects",
    "offline-with-everything-behind-harbor",
    "remote-url-missing-behind-harbor",
    # find two values that clash
    "bind-addresses-twice",
    "clashing-slugs",
    "clusters-of-one-name",
    "clusters-on-networks-that-leave-none",
    "clusters-on-one-network",
    "clusters-that-expose-taken-ports",
    "host-that-is-a-number",
    "key-twice-with-and-without-namespace",
    "port-of-the-table-taken",
    # calculate with a number in a text
    "cluster-cidr-too-small-for-the-nodes",
    "cluster-cidr-with-host-bits",
    "cluster-exposed-ports-with-a-bad-address",
    "cluster-exposed-ports-with-a-port-that-there-is-not",
    "cluster-memory-too-small",
    "harbor-url-with-a-port-that-there-is-not",
    "host-with-a-port-that-there-is-not",
    "remote-url-with-a-bad-port",
    # decrypt
    "cache-login-too-long",
    "cache-login-with-a-colon",
    # read a file, or YAML and JSON in a text, or know Talos's machine config
    "cluster-patch-file-empty",
    "cluster-patch-no-yaml",
    "cluster-patch-that-mirrors-a-cached-registry",
    "cluster-patch-that-mirrors-cached-registries-in-the-old-format",
    "cluster-patch-with-a-login-of-a-cache",
    "cluster-patch-without-the-sign-of-a-file",
    "cluster-with-patches-in-a-broken-text",
    "clusters-with-patches-of-cached-registries",
    # guess what a namespace was meant to be
    "namespace-misspelt",
}


def as_an_editor_reads_it(content):
    """A stack file with text for keys, and with its secrets as `pulumi config set` leaves them."""
    whole = with_text_for_keys(engine_yaml.load(content))
    for key, value in ((whole or {}).get("config") or {}).items():
        if key.removeprefix(f"{PROJECT}:") in SECRET_KEYS and isinstance(value, dict):
            whole["config"][key] = encrypted(value)
    return whole


def with_text_for_keys(value):
    if isinstance(value, dict):
        return {text(key): with_text_for_keys(item) for key, item in value.items()}
    return [with_text_for_keys(item) for item in value] if isinstance(value, list) else value


def encrypted(value, name=""):
    if isinstance(value, dict):
        return {key: encrypted(item, key) for key, item in value.items()}
    is_secret = name in NAMES and isinstance(value, str) and value
    return {ENCRYPTED_KEY: "v1:abc:def"} if is_secret else value


def test_the_schema_is_one():
    jsonschema.Draft7Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("path", [*VALID, *SHIPPED], ids=lambda path: path.stem)
def test_a_valid_stack_file_is_accepted(path):
    VALIDATOR.validate(as_an_editor_reads_it(path.read_bytes()))


@pytest.mark.parametrize("path", INVALID, ids=lambda path: path.stem)
def test_a_wrong_stack_file_is_refused_if_a_schema_can_tell(path):
    accepted = VALIDATOR.is_valid(as_an_editor_reads_it(path.read_bytes()))
    assert accepted == (path.stem in BEYOND_A_SCHEMA), "the list names what the schema can't refuse"


def test_every_file_in_the_list_is_there():
    assert {path.stem for path in INVALID} >= BEYOND_A_SCHEMA


def test_an_editor_proposes_every_key_with_its_namespace():
    config = SCHEMA["properties"]["config"]["properties"]
    assert list(config) == [f"{PROJECT}:{top}" for top in tops()]
