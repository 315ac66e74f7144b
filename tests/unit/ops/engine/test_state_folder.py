"""Where state is kept, and what a killed engine leaves there."""

import json

import pytest

from host.pulumi_backend import file_url
from ops.engine import state_folder
from ops.errors import OpsError


@pytest.mark.parametrize("query", ["", "?metadata=skip"])
def test_the_folder_is_the_one_of_a_file_backend(monkeypatch, tmp_path, query):
    monkeypatch.setenv("PULUMI_BACKEND_URL", f"file://{tmp_path}{query}")
    assert state_folder.path() == tmp_path / ".pulumi"


def test_a_folder_with_a_name_that_means_something_in_a_url(monkeypatch, tmp_path):
    folder = tmp_path / "50% of a #1? & b"
    monkeypatch.setenv("PULUMI_BACKEND_URL", file_url(folder))
    assert state_folder.path() == folder / ".pulumi"


def test_the_folder_of_a_login_counts_too(monkeypatch, tmp_path):
    monkeypatch.delenv("PULUMI_BACKEND_URL", raising=False)
    monkeypatch.setenv("PULUMI_HOME", str(tmp_path))
    (tmp_path / "credentials.json").write_text(json.dumps({"current": "file:///one"}))
    assert str(state_folder.path()) == "/one/.pulumi"


def test_other_backends_have_no_folder_and_nothing_to_repair(monkeypatch):
    monkeypatch.setenv("PULUMI_BACKEND_URL", "s3://bucket")
    assert state_folder.path() is None
    assert state_folder.repair() == []


def test_only_empty_attributes_go(monkeypatch, tmp_path):
    monkeypatch.setenv("PULUMI_BACKEND_URL", f"file://{tmp_path}")
    stacks = tmp_path / ".pulumi" / "stacks" / "talos-cache"
    stacks.mkdir(parents=True)
    contents = {"a.json": "{}", "a.json.attrs": "", "b.json": "", "b.json.attrs": "{}"}
    for name, content in contents.items():
        (stacks / name).write_text(content)
    assert state_folder.repair() == [stacks / "a.json.attrs"]
    assert sorted(p.name for p in stacks.iterdir()) == ["a.json", "b.json", "b.json.attrs"]


@pytest.mark.parametrize(
    "name",
    [
        "meta.yaml",
        "locks/organization/talos-cache/dev/1.json",
        "history/talos-cache/dev/dev-1.json",
    ],
)
def test_they_go_wherever_the_engine_keeps_state(monkeypatch, tmp_path, name):
    monkeypatch.setenv("PULUMI_BACKEND_URL", f"file://{tmp_path}")
    attributes = tmp_path / ".pulumi" / f"{name}.attrs"
    attributes.parent.mkdir(parents=True)
    attributes.touch()
    assert state_folder.repair() == [attributes]


def test_plugins_in_the_same_home_are_not_looked_at(monkeypatch, tmp_path):
    monkeypatch.setenv("PULUMI_BACKEND_URL", f"file://{tmp_path}")
    plugin = tmp_path / ".pulumi" / "plugins" / "resource-docker-v5.2.0" / "empty.attrs"
    plugin.parent.mkdir(parents=True)
    plugin.touch()
    assert state_folder.repair() == []
    assert plugin.exists()


def test_a_folder_that_does_not_exist_yet_needs_no_repair(monkeypatch, tmp_path):
    monkeypatch.setenv("PULUMI_BACKEND_URL", f"file://{tmp_path / 'none'}")
    assert state_folder.repair() == []


@pytest.mark.parametrize("content", ["", "{", '{"version": 3, "check', "[]", "5", "[" * 99999])
def test_a_damaged_state_is_refused_with_the_line_that_restores_it(monkeypatch, tmp_path, content):
    monkeypatch.setenv("PULUMI_BACKEND_URL", f"file://{tmp_path}")
    stacks = tmp_path / ".pulumi" / "stacks" / "talos-cache"
    stacks.mkdir(parents=True)
    (stacks / "mine.json").write_text(content)
    (stacks / "other.json").write_text("{}")
    with pytest.raises(OpsError) as caught:
        state_folder.refuse_damaged("mine")
    assert f"cp {stacks}/mine.json.bak {stacks}/mine.json" in str(caught.value)
    state_folder.refuse_damaged("other")
    state_folder.refuse_damaged("new")


def test_the_home_of_an_unknown_user_is_refused(monkeypatch):
    monkeypatch.setenv("PULUMI_BACKEND_URL", "file://~nosuchuser/state")
    with pytest.raises(OpsError, match="no home folder for ~nosuchuser"):
        state_folder.path()
