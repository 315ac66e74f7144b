"""Stack files, and the files that they name: every mistake is reported before anything is made."""

import shutil

import pytest

from host import passphrases
from ops.errors import OpsError
from ops.stack import stack_files
from ops.stack.stack_files import named_files
from plan.problems import SettingsError
from plan.settings.documents import SCHEMA_LINE
from plan.settings.stack import parse

PEM = "-----BEGIN CERTIFICATE-----\nabc\n-----END CERTIFICATE-----\n"
KEY = "-----BEGIN PRIVATE KEY-----\nabc\n-----END PRIVATE KEY-----\n"
DER = b"0\x82\x03\x9d0\x82\x02\x85\xa0\xff"


@pytest.fixture
def folder(tmp_path):
    for name in ("cache.pem", "ca.pem", "upstream.pem", "harbor.pem"):
        (tmp_path / name).write_text(PEM)
    (tmp_path / "cache.key").write_text(KEY)
    (tmp_path / "patch.yaml").write_text("machine: {type: worker}\n")
    return tmp_path


def settings_in(folder):
    """A stack that names a file of each kind."""
    return parse(
        {
            "cache": {
                "tls": True,
                "certificate": f"@{folder}/cache.pem",
                "key": f"@{folder}/cache.key",
                "ca": f"@{folder}/ca.pem",
            },
            "harbor": {"url": "https://harbor.lan", "ca": f"@{folder}/harbor.pem"},
            "upstreams": {
                "docker.io": {"ca": f"@{folder}/upstream.pem"},
                "quay.io": {"backend": "harbor"},
            },
            "cluster": {"patches": [f"@{folder}/patch.yaml"]},
        }
    )


def problems_in(folder):
    with pytest.raises(SettingsError) as caught:
        named_files(settings_in(folder))
    return {problem.path: problem for problem in caught.value.problems}


def test_every_file_that_a_stack_names_is_read(folder):
    texts = named_files(settings_in(folder))
    assert {path.removeprefix(f"{folder}/"): text for path, text in texts.items()} == {
        "cache.pem": PEM,
        "cache.key": KEY,
        "ca.pem": PEM,
        "harbor.pem": PEM,
        "upstream.pem": PEM,
        "patch.yaml": "machine: {type: worker}\n",
    }


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("cache.pem", "cache.certificate"),
        ("cache.key", "cache.key"),
        ("ca.pem", "cache.ca"),
        ("harbor.pem", "harbor.ca"),
        ("upstream.pem", "upstreams.docker.io.ca"),
        ("patch.yaml", "cluster.patches"),
    ],
)
def test_a_missing_file_is_reported_by_the_key_that_names_it(name, key, folder):
    (folder / name).unlink()
    found = problems_in(folder)
    assert list(found) == [key]
    assert found[key].found == f"@{folder}/{name}"
    assert "No such file" in found[key].rule


def test_every_file_with_a_mistake_is_reported_at_once(folder):
    (folder / "cache.pem").unlink()
    (folder / "ca.pem").write_text(KEY)
    (folder / "patch.yaml").unlink()
    assert set(problems_in(folder)) == {
        "cache.certificate",
        f"cache.ca ({folder}/ca.pem)",
        "cluster.patches",
    }


def test_a_certificate_in_the_other_format_is_reported_with_the_command_that_converts_it(folder):
    (folder / "upstream.pem").write_bytes(DER)
    (problem,) = problems_in(folder).values()
    assert problem.path == f"upstreams.docker.io.ca ({folder}/upstream.pem)"
    assert "openssl x509 -inform der" in problem.fix


def test_a_patch_that_is_not_text_is_reported(folder):
    (folder / "patch.yaml").write_bytes(DER)
    assert "can't decode" in problems_in(folder)["cluster.patches"].rule


def test_no_message_shows_the_content_of_a_key_file(folder):
    (folder / "cache.pem").write_text(KEY)
    assert "PRIVATE KEY" not in str(problems_in(folder))


@pytest.fixture
def stack(tmp_path, monkeypatch):
    """Writes the file of the stack `mine`, and checks it."""
    monkeypatch.setattr(stack_files, "FOLDER", tmp_path)
    monkeypatch.setattr(stack_files, "ROOT", tmp_path)

    def check(content):
        written = content if isinstance(content, bytes) else content.encode()
        (tmp_path / "Pulumi.mine.yaml").write_bytes(written)
        return stack_files.check("mine")

    return check


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("config: [a]\n", "'config:' .*mapping"),
        ("- a\n", "mapping"),
        ("cofnig:\n  talos-cache:prefix: a\n", "did you mean 'config'?"),
        ("config:\n\ttalos-cache:prefix: a\n", "is not readable as YAML: .*line 2"),
        ("config:\n  a: 1\n  a: 2\n", "key 'a' .*twice"),
        ("config:\n  talos-cache:basePort: !!int abc\n", "this is not a !!int"),
        (f"config:\n  talos-cache:cluster: {'[' * 300}{']' * 300}\n", "100 levels deep"),
        (b"config:\n  talos-cache:prefix: \xe4\n", "is not readable as YAML"),
    ],
)
def test_what_is_not_a_stack_file_is_reported_in_a_line(stack, content, text):
    with pytest.raises(OpsError, match=text) as caught:
        stack(content)
    assert "Pulumi.mine.yaml" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("content", ["", "config:\n", "encryptionsalt: v1:x\n"])
def test_a_stack_file_without_configuration_means_the_defaults(stack, content):
    assert stack(content).prefix == "registry"


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_stack_file_of_notepad_or_powershell_is_read(stack, encoding):
    text = "config:\r\n  talos-cache:prefix: mine\r\n"
    assert stack(text.encode(encoding)).prefix == "mine"


@pytest.mark.parametrize(
    ("value", "found"),
    [("2020-13-45", '"2020-13-45"'), ("5" * 5000, '"5555'), ("27:40", '"27:40"'), ("yes", '"yes"')],
)
def test_a_value_that_is_text_to_the_engine_is_reported_as_text(stack, value, found):
    with pytest.raises(SettingsError) as caught:
        stack(f"config:\n  talos-cache:cluster: {{workers: {value}}}\n")
    assert f"found: {found}" in str(caught.value)


@pytest.mark.parametrize("name", ["~nosuchuser/x", "a\\0b", "."])
@pytest.mark.parametrize(
    "key", ["cluster: {patches: [%s]}", "cluster: {warm: %s}", "cache: {tls: true, ca: %s}"]
)
def test_a_file_with_an_impossible_name_is_reported(stack, name, key):
    with pytest.raises(SettingsError):
        stack("config:\n  talos-cache:" + key % f'"@{name}"' + "\n")


def test_a_stack_file_that_can_not_be_read_is_reported(stack, tmp_path):
    (tmp_path / "Pulumi.mine.yaml").mkdir()
    with pytest.raises(OpsError, match="can't be read"):
        stack_files.check("mine")


@pytest.mark.parametrize("source", sorted(passphrases.PUBLIC_STACKS))
def test_a_copy_names_the_schema_that_is_beside_it(source, tmp_path, monkeypatch):
    shutil.copy(stack_files.path_of(source), tmp_path)
    monkeypatch.setattr(stack_files, "FOLDER", tmp_path)
    monkeypatch.setattr(stack_files, "ROOT", tmp_path)
    assert stack_files.copy("mine", source).read_text().startswith(SCHEMA_LINE)
    assert stack_files.check("mine"), "the line changes nothing for the program"


def test_an_unknown_stack_is_told_which_there_are_without_the_example():
    with pytest.raises(OpsError, match=r"no stack file stacks/Pulumi\.nowhere\.yaml") as caught:
        stack_files.path_of("nowhere")
    assert "docker, docker-cluster" in str(caught.value)
    assert "example" not in str(caught.value)
