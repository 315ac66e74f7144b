"""Private folders: whose they are, who can read them, and what stays when they are removed."""

import json

import pytest

from ops.cluster import folder as folders
from ops.cluster.folder import access, folder_of, owner_of
from ops.cluster.record import ClusterRecord

MADE = ClusterRecord(owner="me", network="n1")


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setenv("PULUMI_BACKEND_URL", "file:///one")
    return tmp_path


def mode(path):
    return path.stat().st_mode & 0o777


def test_everything_in_it_is_for_its_owner_only(home):
    folder = folder_of("mine", "dev")
    folder.prepare("someone")
    folder.write(folder.work / "patch.yaml", "secret")
    for path in (home / "talos-cache").rglob("*"):
        assert mode(path) == (0o700 if path.is_dir() else 0o600), path
    assert mode(home / "talos-cache") == 0o700


def test_a_file_that_others_could_read_is_replaced_by_a_private_one(home):
    folder = folder_of("mine", "dev")
    folder.prepare("someone")
    file = folder.work / "open"
    file.write_text("old")
    file.chmod(0o666)
    folder.write(file, "new")
    assert (file.read_text(), mode(file)) == ("new", 0o600)


def test_a_file_that_can_not_be_written_keeps_its_content(home):
    folder = folder_of("mine", "dev")
    folder.prepare("me")
    folder.record(MADE)
    before = sorted(folder.path.iterdir())
    with pytest.raises(UnicodeEncodeError):
        folder.write(folder.marker, '{"network": "' + "n" * 100_000 + "\udc80")
    assert folder.recorded("me") == MADE
    assert sorted(folder.path.iterdir()) == before, "and nothing half written beside it"


def test_stacks_of_one_name_whose_states_are_in_two_places_are_two_owners(
    home, monkeypatch, tmp_path
):
    owners, folders_of_dev = {owner_of("mine")}, {folder_of("mine", "dev").path}
    for url in ("file:///two", None):
        if url:
            monkeypatch.setenv("PULUMI_BACKEND_URL", url)
        else:  # as with `pulumi login`
            monkeypatch.delenv("PULUMI_BACKEND_URL")
            monkeypatch.setenv("PULUMI_HOME", str(tmp_path))
            current = json.dumps({"current": "https://elsewhere"})
            (tmp_path / "credentials.json").write_text(current)
        owners.add(owner_of("mine"))
        folders_of_dev.add(folder_of("mine", "dev").path)
    assert len(owners) == len(folders_of_dev) == 3


def test_the_record_is_only_its_owners(home):
    folder = folder_of("mine", "dev")
    assert folder.recorded("me") is None
    folder.prepare("me")
    folder.record(MADE)
    assert folder.recorded("me") == MADE
    assert folder.recorded("you") is None


def test_the_state_that_talosctl_deletes_holds_nothing_else(home):
    folder = folder_of("mine", "dev")
    folder.prepare("me")
    assert not folder.path.is_relative_to(folder.state)
    assert list(folder.state.iterdir()) == []
    assert folder.state != folder_of("mine", "other").state


def test_it_is_removed_with_the_folders_that_are_then_empty(home):
    one, two = folder_of("mine", "one"), folder_of("mine", "two")
    one.prepare("me")
    two.prepare("me")
    one.remove()
    assert not one.path.exists()
    assert not one.state.exists()
    assert two.marker.exists()
    two.remove()
    two.remove()  # gone already is fine
    assert list(home.iterdir()) == []


def test_the_shell_line_survives_spaces_in_paths(home, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", "/a home")
    assert access("mine", ["dev"])["dev"]["use"].startswith("export TALOSCONFIG='/a home/")


def test_what_clusters_share_outlives_them(home):
    assert folders.talos_home().parent.name == "talos-cache"
    assert not folders.talos_home().is_relative_to(home)
