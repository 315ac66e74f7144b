"""Wrong stack files: each stands beside the whole message that its user reads."""

import pytest

from plan.checks import SettingsError
from plan.settings import decode
from tests.plan.shapes import HERE, INVALID, as_the_engine_hands_it_over, config_of, planned

# Wrong file -> (what stands in it, what its message says to write instead).
PROPOSED = {
    "addressing-misspelt": ("docker_bridge", "docker-bridge"),
    "bind-addresses-not-a-list": ("192.168.1.10", '["192.168.1.10"]'),
    "base-port-too-high": ("basePort: 65530", "basePort: 5000"),
    "cluster-cidr-with-host-bits": ("10.5.0.1/24", "10.5.0.0/24"),
    "cluster-name-a-number": ("42", '"42"'),
    "cluster-talos-version-a-number": ("1.13", '"v1.13.0"'),
    "cluster-kubernetes-version-latest": ("latest", '"v1.36.0"'),
    "cluster-unknown-provisioner": ("quemu", "qemu"),
    "cluster-create-timeout-soon": ("createTimeout: soon", "createTimeout: 20m"),
    "docker-io-as-in-its-config-file": ("https://index.docker.io/v1/", "docker.io"),
    "docker-io-as-index": ("index.docker.io", "docker.io"),
    "expose-to-lan-as-text": ('"yes"', "true"),
    "host-in-upper-case": ("Quay.IO", "quay.io"),
    "host-with-a-path": ("ghcr.io/siderolabs", "ghcr.io"),
    "host-with-a-scheme": ("https://quay.io", "quay.io"),
    "host-with-a-port-that-there-is-not": ("registry.lan:70000", "registry.lan"),
    "image-version-2": ("registry:2", "registry:3.1.1"),
    "on-destroy-misspelt": ("deleted", "delete"),
    "port-as-text": ('port: "5000"', "port: 5000"),
    "port-missing-where-few-are-left": ("    registry.example.com:\n", "port: 1024"),
    "port-of-the-table-taken": ("port: 5002", "port: 5007"),
    "prefix-a-number": ("2024", '"2024"'),
    "remote-url-that-is-a-list": (
        "[https://registry-1.docker.io]",
        '"https://registry-1.docker.io"',
    ),
    "remote-url-with-a-broken-ipv6-address": (
        '"https://[fd00::1"',
        '"https://registry.example.com"',
    ),
    "remote-url-with-a-path": (
        "https://registry.example.com/v2/library",
        '"https://registry.example.com"',
    ),
    "remote-url-without-scheme": (
        "registry.example.com:8443",
        '"https://registry.example.com:8443"',
    ),
    "ttl-in-days": ("ttl: 7 days", "ttl: 168h"),
    "wait-seconds-as-text": ('waitSeconds: "60"', "waitSeconds: 60"),
}
SECRETS = ("hunter2", "hunter/2", "er2", "hunter3", "12345", "alice:", "bob:")


@pytest.mark.parametrize("path", INVALID, ids=lambda path: path.stem)
def test_a_wrong_stack_file_gets_exactly_its_message(path):
    with pytest.raises(SettingsError) as caught:
        planned(config_of(path))
    assert f"{caught.value}\n" == path.with_suffix(".txt").read_text()


@pytest.mark.parametrize("path", INVALID, ids=lambda path: path.stem)
def test_every_problem_says_where_what_why_and_what_to_do(path):
    with pytest.raises(SettingsError) as caught:
        planned(config_of(path))
    for problem in caught.value.problems:
        parts = (problem.path, problem.found, problem.rule, problem.fix)
        assert all(parts), f"a part of the problem with {problem.path} is empty"


@pytest.mark.parametrize("path", INVALID, ids=lambda path: path.stem)
def test_no_message_shows_a_secret(path):
    message = path.with_suffix(".txt").read_text()
    assert not [secret for secret in SECRETS if secret in message]


# Lost on the way through the engine, so that only the check of the file itself can report them: a
# number in place of text is handed over as that text, a key that is a number as its text.
MENDED_BY_THE_ENGINE = {"prefix-a-number", "host-that-is-a-number"}


@pytest.mark.parametrize("path", INVALID, ids=lambda path: path.stem)
def test_the_engine_hides_no_mistake(path):
    config = decode(as_the_engine_hands_it_over(config_of(path)))
    if path.stem in MENDED_BY_THE_ENGINE:
        assert planned(config).caches, "what arrives is what the user meant"
    else:
        with pytest.raises(SettingsError):
            planned(config)


@pytest.mark.parametrize("name", PROPOSED)
def test_doing_what_the_message_says_mends_the_file(name, tmp_path):
    wrong, right = PROPOSED[name]
    message = (HERE / "invalid" / f"{name}.txt").read_text()
    assert right in message.split("fix:")[1], "the fix that this test applies is the proposed one"

    text = (HERE / "invalid" / f"{name}.yaml").read_text()
    assert wrong in text, "the file holds the mistake that its name says"
    if wrong.endswith(":\n"):  # something is missing below this key
        right = f"{wrong}      {right}\n"
    mended = tmp_path / "mended.yaml"
    mended.write_text(text.replace(wrong, right, 1))
    assert planned(config_of(mended)).caches


def test_several_missing_ports_are_proposed_different_ones():
    message = (HERE / "invalid" / "ports-missing-twice.txt").read_text()
    assert "port: 5008" in message
    assert "port: 5009" in message, "two proposals of one port would be the next mistake"
    assert "port: 5007" not in message, "an upstream of this stack has asked for 5007"


def test_every_wrong_file_has_its_message_and_every_message_its_file():
    stems = {path.stem for path in INVALID}
    assert stems == {path.stem for path in (HERE / "invalid").glob("*.txt")}


def test_there_is_a_file_for_every_mistake_that_people_make():
    assert len(INVALID) >= 40, "the glob found (nearly) nothing: are the files where they were?"
