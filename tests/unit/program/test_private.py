"""The whole program with what is private: logins, certificates, and a Harbor."""

import json

import pulumi
import pytest
import yaml

from host import passphrases
from host.passphrases import PUBLIC_SALTS
from ops.harbor import drift
from plan.harbor.transport import REPAIRS_VARIABLE
from plan.settings.credentials import SECRET_KEYS as SECRETS
from plan.upstreams import KNOWN
from tests.unit.components.engine import CLUSTER, COMMAND, CONTAINER, Secret
from tests.unit.program.outside import CLUSTER_CONFIG, CREDENTIALS, run_with

LOGIN = {"username": "nodes", "password": "hunter2"}
PATCHES = ("machineConfigPatch", "legacyMachineConfigPatch")
SECRET_KEYS = {"secret_keys": [f"talos-cache:{key}" for key in ("cacheLogin", "harborLogin")]}


def test_a_renamed_stack_with_a_public_passphrase_refuses_secrets(outside, monkeypatch, tmp_path):
    """As after `pulumi stack rename docker mine`: the salt in its file is the one of docker."""
    config = {"upstreams": {"docker.io": {}}, "credentials": CREDENTIALS}
    monkeypatch.setattr(passphrases, "STACKS", tmp_path)
    assert run_with(config, stack="mine").resources
    (tmp_path / "Pulumi.mine.yaml").write_text(f"encryptionsalt: {min(PUBLIC_SALTS)}\n")
    with pytest.raises(pulumi.RunError, match="passphrase"):
        run_with(config, stack="mine")


def test_no_secret_is_exported(outside):
    record = run_with({"credentials": CREDENTIALS})
    assert "hunter2" not in json.dumps(record.outputs, default=str)


def test_patch_files_are_read_and_never_shown(outside, tmp_path):
    file = tmp_path / "patch.yaml"
    file.write_text("machine: {env: {TOKEN: hunter2}}\n")
    record = run_with({"cluster": {"patches": [f"@{file}"]}})
    inputs = record.one(COMMAND).inputs
    assert isinstance(inputs["stdin"], Secret)
    assert "hunter2" in inputs["stdin"].value
    assert "hunter2" not in json.dumps(inputs["environment"])
    assert "hunter2" not in json.dumps(record.outputs, default=str)


@pytest.mark.parametrize(
    ("config", "has_login"),
    [
        ({}, False),
        ({"cacheLogin": LOGIN}, True),
        ({"cache": {"tls": True}}, False),
        ({"cache": {"tls": True}, "cacheLogin": LOGIN}, True),
        ({"backend": "harbor", "harbor": {"url": "https://harbor.example.com"}}, False),
        (
            {
                "backend": "harbor",
                "harbor": {"url": "https://harbor.example.com"},
                "harborLogin": LOGIN,
            },
            True,
        ),
    ],
    ids=["none", "login", "tls", "both", "harbor", "harbor with a login"],
)
def test_the_patches_are_secret_if_and_only_if_there_is_a_login(config, has_login, outside, state):
    exports = run_with(config, **SECRET_KEYS).exports
    hidden = {name for name, value in exports.items() if isinstance(value, Secret)}
    assert hidden == (set(PATCHES) if has_login else set()), (
        "people read their outputs, which must not show a password"
    )
    for name in hidden:
        assert "hunter2" in exports[name].value, "nodes need it"
    assert "hunter2" not in json.dumps({k: v for k, v in exports.items() if k not in hidden})


def test_a_warning_about_a_login_without_tls(outside, state):
    (warning,) = run_with({"cacheLogin": LOGIN}, **SECRET_KEYS).warnings
    assert "cache.tls: true" in warning
    assert run_with({"cacheLogin": LOGIN, "cache": {"tls": True}}, **SECRET_KEYS).warnings == []


def test_a_certificate_is_made_once_and_its_key_is_secret_and_never_exported(outside, state):
    first, second = (run_with({"cache": {"tls": True}}) for _ in range(2))
    inputs = [record.one(CONTAINER, "quay-io-container").inputs for record in (first, second)]
    assert inputs[0] == inputs[1], "another certificate at every run would replace every container"
    (key,) = (upload["content"] for upload in inputs[0]["uploads"] if "key" in upload["file"])
    assert isinstance(key, Secret)
    assert "PRIVATE KEY" in key.value
    assert "PRIVATE KEY" not in json.dumps(first.outputs, default=str)
    exports = first.exports
    for urls in (exports["endpoints"], exports["localEndpoints"]):
        assert all(url.startswith("https://") for url in urls.values())
    documents = list(yaml.safe_load_all(exports["machineConfigPatch"]))
    cas = {doc["ca"] for doc in documents if doc["kind"] == "RegistryTLSConfig"}
    assert len(cas) == 1
    assert "BEGIN CERTIFICATE" in cas.pop()


def test_two_stacks_have_two_cas(outside, state):
    mine, yours = (run_with({"cache": {"tls": True}}, stack=s).exports for s in ("mine", "yours"))
    assert mine["machineConfigPatch"] != yours["machineConfigPatch"], (
        "anyone with the key of one could impersonate the other"
    )


def test_upstreams_behind_harbor_are_exported_with_their_projects(outside, state):
    harbor = {"url": "https://harbor.example.com"}
    config = {"harbor": harbor, "upstreams": {"docker.io": {"backend": "harbor"}, "quay.io": {}}}
    record = run_with(config)
    assert record.exports["harbor"] == {"docker.io": f"{harbor['url']}/v2/proxy-docker.io"}
    assert list(record.exports["caches"]) == ["quay.io"]
    documents = list(yaml.safe_load_all(record.exports["machineConfigPatch"]))
    assert [document["name"] for document in documents] == ["docker.io", "quay.io"]


WITH_ADMIN = {"backend": "harbor", "harbor": {"url": "https://harbor.lan"}, "harborAdmin": LOGIN}
OF_ADMIN = {"secret_keys": ["talos-cache:harborAdmin"]}


def projects_of(record):
    return record.one(COMMAND, "harbor-command").inputs["environment"]


@pytest.mark.parametrize("preview", [True, False], ids=["preview", "update"])
def test_harbor_is_looked_at_before_the_command_is_declared(preview, outside, state):
    first = projects_of(run_with(WITH_ADMIN, preview=preview, **OF_ADMIN))
    made = {"environment": first, "stdout": "{}"}
    kept = {"urn:harbor-command": {"type": COMMAND, "outputs": made}}
    outside.seen = drift.Look(repairs=1, warning="the project proxy-quay.io is not there")
    record = run_with(WITH_ADMIN, preview=preview, state=kept, **OF_ADMIN)
    assert record.warnings == ["the project proxy-quay.io is not there"]
    drifted = projects_of(record)
    assert {key for key in drifted if drifted[key] != first.get(key)} == {REPAIRS_VARIABLE}
    (_, unmade), (plan, recorded) = outside.looked
    assert unmade is None
    assert recorded.is_of(plan)


@pytest.mark.parametrize("config", [WITH_ADMIN, {**WITH_ADMIN, "harborAdmin": {}}])
def test_an_update_fails_if_nodes_may_not_pull_from_harbor(config, outside, state):
    outside.access_report = "Harbor does not know harborLogin: pulumi config set ..."
    run_with(config, preview=True, **OF_ADMIN)
    assert outside.mirrors == [], "a preview does not pull"
    with pytest.raises(pulumi.RunError, match="does not know harborLogin"):
        run_with(config, **OF_ADMIN)
    with pytest.raises(pulumi.RunError, match="does not know harborLogin"):
        run_with({**config, **CLUSTER_CONFIG}, **OF_ADMIN)
    outside.access_report = None
    record = run_with({**config, **CLUSTER_CONFIG}, **OF_ADMIN)
    assert len(record.of(CLUSTER)) == 1
    assert [mirror.host for mirror in outside.mirrors[-1]] == sorted(KNOWN)


def test_without_harbor_there_is_no_request_to_it(outside):
    run_with()
    assert (outside.looked, outside.mirrors) == ([], [])


@pytest.mark.parametrize(
    "secret",
    [*({key: LOGIN} for key in SECRETS), {"credentials": {"docker.io": LOGIN}}],
    ids=lambda secret: next(iter(secret)),
)
def test_what_is_not_stored_as_a_secret_is_refused(secret, outside):
    config = {"backend": "harbor", "harbor": {"url": "https://harbor.lan"}, **secret}
    with pytest.raises(pulumi.RunError, match="plain text") as caught:
        run_with(config, secret_keys=[])
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "left",
    [*({key: {}} for key in SECRETS), {"credentials": {"docker.io": {}}}],
    ids=str,
)
def test_what_is_left_of_removed_secrets_is_not_plain_text(left, outside, state):
    assert run_with(left, secret_keys=[], preview=True).of(CONTAINER)
