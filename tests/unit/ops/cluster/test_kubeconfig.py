"""`mergeKubeconfig`: into the user's own file and out again; everything else stays as it was."""

import shlex
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from ops.cluster import command, kubeconfig
from ops.cluster.folder import Folder, access
from ops.cluster.provisioner import Cluster
from ops.cluster.record import ClusterRecord
from ops.errors import OpsError
from plan.settings.stack import parse
from plan.talos.cluster import ClusterPlan

ADDED = {
    "apiVersion": "v1",
    "kind": "Config",
    "clusters": [{"name": "dev", "cluster": {"server": "https://127.0.0.1:1"}}],
    "users": [{"name": "admin@dev", "user": {"token": "hunter2"}}],
    "contexts": [{"name": "admin@dev", "context": {"cluster": "dev", "user": "admin@dev"}}],
    "current-context": "admin@dev",
}
OWN = {
    "apiVersion": "v1",
    "kind": "Config",
    "clusters": [{"name": "work", "cluster": {"server": "https://work"}}],
    "users": [{"name": "me", "user": {}}],
    "contexts": [{"name": "work", "context": {"cluster": "work", "user": "me"}}],
    "current-context": "work",
    "preferences": {"colors": True},
}


@pytest.fixture
def own(tmp_path, monkeypatch):
    path = tmp_path / "kube" / "config"
    monkeypatch.setenv("KUBECONFIG", f"{path}:/elsewhere")
    return path


@pytest.fixture
def folder(tmp_path):
    made = Folder(tmp_path / "private" / "mine" / "dev")
    made.path.mkdir(parents=True)
    made.kubeconfig.write_text(yaml.safe_dump(ADDED))
    return made


def plan(*, merge=True):
    settings = parse({"cluster": {"name": "dev", "mergeKubeconfig": merge}}).clusters[0]
    return ClusterPlan(stack="mine", settings=settings, mirrors=(), sources=())


def write(path, content):
    path.parent.mkdir(exist_ok=True)
    path.write_text(yaml.safe_dump(content))


def read(path):
    return yaml.safe_load(path.read_text())


def test_without_the_key_nothing_is_touched(own, folder):
    assert kubeconfig.follow(plan(merge=False), folder, None) is None
    assert not own.exists()


def test_a_first_kubeconfig_is_made_for_its_owner_only(own, folder):
    assert kubeconfig.follow(plan(), folder, None) == str(own)
    assert read(own) == ADDED
    assert own.stat().st_mode & 0o777 == 0o600


def test_merged_and_taken_out_leaves_the_rest_as_it_was(own, folder):
    write(own, OWN)
    merged = kubeconfig.follow(plan(), folder, None)
    both = read(own)
    assert [entry["name"] for entry in both["clusters"]] == ["work", "dev"]
    assert both["current-context"] == "admin@dev"
    assert both["preferences"] == OWN["preferences"]
    kubeconfig.take_out(merged, folder)
    assert read(own) == {**OWN, "current-context": ""}


def test_a_context_that_the_user_chose_since_stays(own, folder):
    write(own, OWN)
    merged = kubeconfig.follow(plan(), folder, None)
    write(own, {**read(own), "current-context": "work"})
    kubeconfig.take_out(merged, folder)
    assert read(own) == OWN


def test_what_was_changed_since_is_not_ours_any_more(own, folder):
    merged = kubeconfig.follow(plan(), folder, None)
    changed = read(own)
    changed["clusters"][0]["cluster"]["server"] = "https://elsewhere"
    write(own, changed)
    kubeconfig.take_out(merged, folder)
    assert read(own)["clusters"] == changed["clusters"]


def test_another_cluster_of_that_name_keeps_its_context(own, folder):
    other = [{"name": "dev", "cluster": {"server": "https://another"}}]
    write(own, {**ADDED, "clusters": other})
    before = own.read_bytes()
    kubeconfig.take_out(str(own), folder)
    assert own.read_bytes() == before


def test_a_second_update_merges_nothing_twice(own, folder):
    merged = kubeconfig.follow(plan(), folder, None)
    assert kubeconfig.follow(plan(), folder, merged) == merged
    assert read(own) == ADDED


def test_switching_it_off_takes_it_out(own, folder):
    merged = kubeconfig.follow(plan(), folder, None)
    assert kubeconfig.follow(plan(merge=False), folder, merged) is None
    assert read(own)["clusters"] == []


def test_another_cluster_of_that_name_is_found_before_anything_is_created(own, folder):
    write(own, {**OWN, "contexts": [{"name": "admin@dev", "context": {}}]})
    with pytest.raises(OpsError, match=rf"{own} already has admin@dev"):
        kubeconfig.check_mergeable(plan())
    kubeconfig.check_mergeable(plan(merge=False))


@pytest.mark.parametrize("text", ["{", "- a list", "\0", "a: 2020-13-45", "a: " + "[" * 600])
def test_a_file_that_is_not_a_kubeconfig_is_left_alone(own, folder, text):
    own.parent.mkdir()
    own.write_text(text)
    with pytest.raises(OpsError, match="kubeconfig"):
        kubeconfig.follow(plan(), folder, None)
    assert own.read_text() == text


def test_a_link_stays_a_link(own, folder, tmp_path):
    real = tmp_path / "real"
    write(real, OWN)
    own.parent.mkdir()
    own.symlink_to(real)
    kubeconfig.follow(plan(), folder, None)
    assert own.is_symlink()
    assert len(read(real)["clusters"]) == 2


def test_the_kubeconfig_of_one_of_our_clusters_is_not_the_users_own(tmp_path, monkeypatch):
    """After `export KUBECONFIG=...` of the outputs; merging a file into itself would fail."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setenv("HOME", "/home/someone")
    used = shlex.split(access(plan().stack, ["dev"])["dev"]["use"])[-1].partition("=")[2]
    monkeypatch.setenv("KUBECONFIG", used)
    assert kubeconfig.users_own() == Path("/home/someone/.kube/config")
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "talos-cache-of-mine"))
    assert kubeconfig.users_own() == tmp_path / "talos-cache-of-mine"


def test_entries_that_can_not_be_removed_are_reported(own, folder, capfd):
    kubeconfig.follow(plan(), folder, None)
    folder.kubeconfig.unlink()
    kubeconfig.take_out(str(own), folder)
    assert f"the cluster's entries stay in {own}" in capfd.readouterr().err
    assert read(own) == ADDED


def test_a_broken_file_does_not_keep_the_cluster(own, folder, monkeypatch):
    """With only the folder to remove: of Docker there is nothing here."""
    monkeypatch.setattr(command, "cluster_of", lambda plan: Cluster(plan, folder, "me"))
    monkeypatch.setattr(command, "_remove_nodes", lambda cluster, *_, **__: cluster.folder.remove())
    previous = ClusterRecord(merged_kubeconfig=kubeconfig.follow(plan(), folder, None))
    own.write_text("{")
    with pytest.raises(OpsError, match=rf"it is removed, .*{own} can't be read as a kubeconfig"):
        command.delete(plan(), previous)
    assert not folder.path.exists()
    assert own.read_text() == "{"
    command.delete(plan(), previous)  # the next one has nothing to do any more


def test_what_a_killed_run_has_merged_goes_with_what_it_has_left(own, folder, monkeypatch):
    """The state does not know it; the next create would take the entries for another cluster's."""
    monkeypatch.setattr(command, "_remove_nodes", lambda cluster, *_, **__: cluster.folder.remove())
    write(own, OWN)
    folder.record(ClusterRecord(owner="me", merged_kubeconfig=str(own)))
    kubeconfig.follow(plan(), folder, None)
    command._remove(Cluster(plan(), folder, "me"), None, unfinished=True)
    kubeconfig.check_mergeable(plan())
    assert read(own) == {**OWN, "current-context": ""}


def test_nothing_is_removed_from_a_file_that_is_gone(own, folder):
    kubeconfig.take_out(str(own), folder)
    assert not own.exists()


def test_without_kubernetes_there_is_nothing_to_merge(own, folder):
    folder.kubeconfig.unlink()
    not_waiting = replace(plan(), settings=replace(plan().settings, wait=False))
    with pytest.raises(OpsError, match="no kubeconfig to merge"):
        kubeconfig.follow(not_waiting, folder, None)


def test_a_record_that_can_not_be_read_does_not_keep_a_cluster_that_the_state_knows(
    own, folder, monkeypatch, capfd
):
    removed = []
    monkeypatch.setattr(command, "cluster_of", lambda plan: Cluster(plan, folder, "me"))
    monkeypatch.setattr(command, "_remove_nodes", lambda _, record, **__: removed.append(record))
    folder.marker.write_text("cut sho")
    known = ClusterRecord(network="n1", containers=("c1",))
    command.delete(plan(), known)
    assert removed == [known]
    assert f"note: {folder.marker} can't be read" in capfd.readouterr().err
    with pytest.raises(OpsError, match="JSON is malformed"):
        command.delete(plan(), None)
