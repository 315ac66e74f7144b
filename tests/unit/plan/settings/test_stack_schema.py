"""stacks/schema.json accepts every valid stack file, and rejects what a schema can reject."""

import json

import jsonschema
import pytest

from plan import engine_yaml
from plan.problems import PROJECT, SettingsError, text
from plan.settings.credentials import ENCRYPTED_KEY, NAMES, SECRET_KEYS
from plan.settings.documents import tops
from plan.settings.key import ANY_HOST
from plan.settings.keys import KEYS
from plan.settings.stack import parse
from tests.unit.plan.shapes import INVALID, VALID
from tests.write_documents import ROOT

SCHEMA = json.loads((ROOT / "stacks" / "schema.json").read_text())
VALIDATOR = jsonschema.Draft7Validator(SCHEMA)
SHIPPED = sorted((ROOT / "stacks").glob("Pulumi.*.yaml"))

# Wrong files that the schema accepts, by what it would have to do to reject them.
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
    # calculate with a number in text
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
    # read a file, or YAML or JSON in text, or know Talos's machine config
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
    """A stack file with text for keys, and with secrets as `pulumi config set` writes them."""
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


def test_the_schema_is_valid():
    jsonschema.Draft7Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("path", [*VALID, *SHIPPED], ids=lambda path: path.stem)
def test_a_valid_stack_file_is_accepted(path):
    VALIDATOR.validate(as_an_editor_reads_it(path.read_bytes()))


@pytest.mark.parametrize("path", INVALID, ids=lambda path: path.stem)
def test_a_wrong_stack_file_is_rejected_if_a_schema_can_tell(path):
    accepted = VALIDATOR.is_valid(as_an_editor_reads_it(path.read_bytes()))
    assert accepted == (path.stem in BEYOND_A_SCHEMA), "the list has what the schema can't reject"


# Right for some keys and wrong for most, with odd spellings that a pattern may miss.
VALUES = (
    *(None, True, "true", 0, 1, 2048, 1.5, "", "0", "1", "1.0", "0.5", "[]", "{}", "A", "a", "a-b"),
    *("local", "delete", "docker-config", "qemu", "auto", "iso", "1.13.0", "v1.13.0-beta.1"),
    *("1ns", "0.5h", "1h30m", "512MiB", "1TiB", "10.0.0.1", "127.0.0.1", "::1", "FD00::1", "::"),
    *("::ffff:10.0.0.1", "1::", "10.0.0.0/8", "10.0.0.1/8", "10.0.0.0/255.0.0.0", "fd00::/8"),
    *("10.5.0.0/29", "0.0.0.0/0", "*", ".lan", "*.lan:80", "a.lan", "a_b", "a..b", "a/b", "v2a"),
    *("http://a/", "https://[fd00::1]:80", "http://a_b:080", "http://10.0.0.1:1/", "@a", "@ a"),
    *("registry:3", "a/registry:22", "registry:2-a", "localhost/a:1", "a.b:5/c/d:1.2", "a:v3"),
    *(f"a@sha256:{'a' * 64}", f"a.b/c:latest@sha256:{'0' * 64}", "a" * 64, "0" * 64, "robot$a+b"),
    *("1:2/tcp", "10.0.0.1:8080:80/udp", "virtio:1MiB", "nvme:010GiB", {"machine": {}}, {}, []),
)
# What a key needs besides it to be right.
NEEDED = {
    "addressing": {"bindAddresses": ["10.0.0.1"]},
    "cache": {"cache": {"tls": True, "certificate": "@a", "key": "@b"}},
    "cluster": {"cluster": {"provisioner": "qemu"}},
    "cluster.image": {"cluster": {"provisioner": "docker"}},
    "cluster.exposedPorts": {"cluster": {"provisioner": "docker"}},
    "upstreamProxy": {"upstreamProxy": {"url": "http://proxy.lan:3128"}},
    "harbor": {
        "backend": "harbor",
        "harbor": {"url": "https://harbor.lan", "public": False},
        "harborAdmin": {"secure": "v1:a"},
    },
}


@pytest.mark.parametrize("path", [key for key in KEYS if key.split(".")[0] not in SECRET_KEYS])
def test_what_the_checks_accept_the_schema_accepts(path):
    stacks = [stack_with(path, value) for value in (*VALUES, *([value] for value in VALUES))]
    right = [config for config in stacks if is_right(config)]
    assert right, "none of the values is right for this key"
    assert not [config for config in right if not VALIDATOR.is_valid({"config": config})]


def stack_with(path, value):
    top, *below = path.split(".")
    needed = NEEDED.get(path, NEEDED.get(top, {}))
    if not below:
        return {**needed, top: value}
    if below[0] == ANY_HOST:
        return {**needed, top: {"docker.io": {below[1]: value}}}
    return {**needed, top: {**needed.get(top, {}), below[0]: value}}


def is_right(config):
    try:
        # As `config_keys.in_file` hands over a key without a value.
        parse({key: "" if value is None else value for key, value in config.items()})
    except SettingsError:
        return False
    return True


def test_every_file_in_the_list_exists():
    assert {path.stem for path in INVALID} >= BEYOND_A_SCHEMA


def test_an_editor_proposes_every_key_with_its_namespace():
    config = SCHEMA["properties"]["config"]["properties"]
    assert list(config) == [f"{PROJECT}:{top}" for top in tops()]
