"""Which patches a live node still needs, and what is reported if it can't have them."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import yaml

from ops.cluster import command, node_updates
from ops.cluster.folder import Folder
from ops.cluster.provisioner import Cluster
from ops.cluster.record import ClusterRecord
from ops.cluster.supervisor import Supervisor
from ops.cluster.talosctl import Talosctl
from ops.errors import OpsError
from plan.settings.patches import Patch
from plan.settings.stack import parse
from plan.talos.cluster import ClusterPlan
from plan.talos.mirrors import Mirror
from plan.talos.versions import Version

AUTH = "{kind: RegistryAuthConfig, name: registry.lan, password: hunter2}"
ENV = "machine: {env: {A: one}}"


def plan(*patches, provisioner="docker", allow_reboot=False):
    config = {
        "cluster": {
            "provisioner": provisioner,
            "patches": list(patches),
            "allowReboot": allow_reboot,
        }
    }
    return ClusterPlan(
        stack="mine",
        settings=parse(config).clusters[0],
        mirrors=(Mirror(host="docker.io", url="http://172.17.0.1:5000"),),
        sources=(("docker.io", "http://127.0.0.1:5000"),),
    )


def previous(of, version="v1.13.0"):
    return ClusterRecord(patches=node_updates.digests(of), node_version=version)


def test_a_patch_that_the_nodes_have_is_not_applied_again():
    both = plan(ENV, "machine: {env: {B: two}}")
    assert node_updates.changed_patches(both, previous(both)) == ()
    [changed] = node_updates.changed_patches(both, previous(plan(ENV)))
    assert "B" in changed.text


def test_the_same_text_for_other_nodes_is_another_patch():
    one = plan(ENV)
    workers = replace(one.settings, patches=(Patch(scope="workers", text=ENV),))
    assert node_updates.changed_patches(replace(one, settings=workers), previous(one))


def test_a_patch_that_was_removed_from_the_stack_is_noted(capfd):
    assert node_updates.changed_patches(plan(), previous(plan(ENV))) == ()
    assert "stays until it is set again" in capfd.readouterr().err


def test_what_is_recorded_of_a_patch_does_not_show_it():
    assert "hunter2" not in str(node_updates.digests(plan(AUTH)))


@pytest.mark.parametrize("whole", [True, False], ids=["text", "mapping"])
def test_the_config_is_read_as_any_talosctl_prints_it(whole):
    documents = [{"machine": {"type": "worker"}}, {"kind": "RegistryMirrorConfig", "name": "x"}]
    spec = yaml.safe_dump_all(documents) if whole else documents[0]
    printed = yaml.safe_dump({"node": "10.5.0.2", "metadata": {}, "spec": spec})
    assert node_updates.config_documents(printed) == (documents if whole else documents[:1])


def test_a_node_that_shows_no_config_is_an_error():
    with pytest.raises(OpsError, match="no machine config"):
        node_updates.config_documents("{}")


@pytest.fixture
def node(tmp_path):
    """A double of talosctl that only answers what the script says."""

    def made(script):
        program = tmp_path / "talosctl"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        return Talosctl(program=str(program), version=Version(1, 13, 0))

    folder = Folder(tmp_path / "private" / "mine" / "dev")
    folder.prepare("me")
    return made, folder


def bring_up_to_date(node, of, script, before=None):
    made, folder = node
    cluster = Cluster(of, folder, "me")
    node_updates.bring_up_to_date(cluster, made(script), before or previous(of), Supervisor())


HAS_NO_MIRROR = 'case "$*" in *get*) echo "spec: {machine: {}}";; *) echo "$*" >> %s/calls;; esac'


def test_every_node_is_patched_and_each_by_itself(node, tmp_path):
    bring_up_to_date(node, plan(), HAS_NO_MIRROR % tmp_path)
    calls = sorted((tmp_path / "calls").read_text().splitlines())
    assert len(calls) == 2
    assert all("--mode no-reboot" in call for call in calls)
    assert "--nodes 10.5.0.2 " in calls[0]
    assert "--nodes 10.5.0.3 " in calls[1]


def test_those_that_can_not_be_reached_are_named_and_the_others_are_patched(node, tmp_path):
    script = (
        f'case "$*" in *10.5.0.3*) echo "no route" >&2; exit 1;; esac\n{HAS_NO_MIRROR % tmp_path}'
    )
    with pytest.raises(OpsError) as caught:
        bring_up_to_date(node, plan(), script)
    assert "1 of 2 nodes could not be patched:\n  10.5.0.3: no route" in str(caught.value)
    assert "10.5.0.2" in (tmp_path / "calls").read_text()


def test_a_node_that_does_not_answer_is_not_waited_for(node, monkeypatch):
    monkeypatch.setattr(node_updates, "NODE_SECONDS", 0.2)
    with pytest.raises(OpsError, match=r"10\.5\.0\.2: no answer within 0\.2 s"):
        bring_up_to_date(node, plan(), "sleep 5")


def test_credentials_that_need_a_reboot_are_refused_before_any_node_is_touched(node, tmp_path):
    of = partial(plan, AUTH, provisioner="qemu")
    with pytest.raises(OpsError, match=r"cluster\.allowReboot: true") as caught:
        bring_up_to_date(node, of(), HAS_NO_MIRROR % tmp_path, previous(plan()))
    assert "hunter2" not in str(caught.value)
    assert not (tmp_path / "calls").exists()
    bring_up_to_date(node, of(allow_reboot=True), HAS_NO_MIRROR % tmp_path, previous(plan()))
    assert "--mode reboot" in (tmp_path / "calls").read_text()


def test_a_node_on_docker_is_never_rebooted_for_its_container_would_end(node, tmp_path):
    with pytest.raises(OpsError, match="A node on Docker can't reboot") as caught:
        bring_up_to_date(
            node, plan(AUTH, allow_reboot=True), HAS_NO_MIRROR % tmp_path, previous(plan())
        )
    assert "make cluster-down STACK=mine CLUSTER=talos-default, then" in str(caught.value)
    assert not (tmp_path / "calls").exists()
    of = plan(ENV, allow_reboot=True)
    bring_up_to_date(node, of, HAS_NO_MIRROR % tmp_path, previous(plan()))
    assert (tmp_path / "calls").read_text().count("--mode no-reboot") == 2, "and not `auto`"


# Nodes that reboot for every patch: away at first, then without etcd, then healthy.
REBOOTS = """
for word; do [ "$last" = --nodes ] && node=$word; last=$word; done
cd %s
case "$*" in
*get?machineconfig*) echo "spec: {machine: {}}" ;;
*boot_id*)
    if [ -e booted-$node ] && [ -e dies-$node ]; then exit 1; fi
    if [ -e away-$node ]; then rm away-$node; exit 1; fi
    if [ -e booted-$node ]; then echo second; else echo first; fi ;;
*get?services?etcd*)
    if [ -e ill-$node ]; then rm ill-$node; echo "spec: {running: true, healthy: false}"; exit; fi
    echo "healthy $node" >> calls
    echo "spec: {running: true, healthy: true}" ;;
*patch*)
    echo "patched $node" >> calls
    touch booted-$node away-$node ill-$node
    echo "Applied configuration with a reboot" >&2 ;;
*) exit 1 ;;
esac
"""
CONTROL_PLANES = ("10.5.0.2", "10.5.0.3", "10.5.0.4")
WORKERS = ("10.5.0.5", "10.5.0.6")


@pytest.fixture
def rebooting(node, tmp_path, monkeypatch):
    """Runs an update of three control planes and two workers that may reboot."""
    monkeypatch.setattr(node_updates, "POLL_SECONDS", 0.01)
    keys = {"provisioner": "qemu", "controlPlanes": 3, "workers": 2, "allowReboot": True}
    settings = parse({"cluster": {**keys, "patches": [AUTH]}}).clusters[0]
    of = replace(plan(), settings=settings, mirrors=())

    def update():
        try:
            bring_up_to_date(node, of, REBOOTS % tmp_path, previous(plan()))
        finally:
            events = (tmp_path / "calls").read_text().splitlines()
            (tmp_path / "calls").unlink()
            update.events = events

    return update


def test_control_planes_reboot_last_and_each_when_the_one_before_it_is_healthy(rebooting):
    rebooting()
    assert set(rebooting.events[:2]) == {f"patched {worker}" for worker in WORKERS}
    assert rebooting.events[2:] == [
        f"{what} {node}" for node in CONTROL_PLANES for what in ("patched", "healthy")
    ]


def test_no_further_control_plane_reboots_while_one_is_not_back(rebooting, tmp_path, monkeypatch):
    first, second, third = CONTROL_PLANES
    dies = tmp_path / f"dies-{second}"
    dies.touch()
    with monkeypatch.context() as patched:
        patched.setattr(node_updates, "REBOOT_SECONDS", 3)
        with pytest.raises(OpsError, match="2 of 5 nodes could not be patched") as caught:
            rebooting()
    assert f"{second}: patched, but not back" in str(caught.value)
    assert f"{third}: not patched" in str(caught.value)
    assert rebooting.events[-3:] == [f"patched {first}", f"healthy {first}", f"patched {second}"]
    dies.unlink()
    rebooting()
    assert rebooting.events == [f"patched {third}", f"healthy {third}"], "the others have it"


def test_a_patch_is_applied_to_a_node_once_though_the_run_failed_at_another(node, tmp_path):
    """A patch that appends to a list would do so again."""
    script, calls = HAS_NO_MIRROR % tmp_path, tmp_path / "calls"
    away = f'case "$*" in *10.5.0.3*) echo "no route" >&2; exit 1;; esac\n{script}'
    of = replace(plan(ENV), mirrors=())
    with pytest.raises(OpsError, match=r"1 of 2 nodes"):
        bring_up_to_date(node, of, away, previous(plan()))
    with pytest.raises(OpsError, match=r"1 of 2 nodes"):
        bring_up_to_date(node, of, away, previous(plan()))
    assert calls.read_text().count("--nodes 10.5.0.2 ") == 1
    bring_up_to_date(node, of, script, previous(plan()))
    assert calls.read_text().count("--nodes 10.5.0.2 ") == 1
    assert calls.read_text().count("--nodes 10.5.0.3 ") == 1
    other = replace(plan("machine: {env: {A: two}}"), mirrors=())
    bring_up_to_date(node, other, script, previous(of))
    assert calls.read_text().count("--nodes 10.5.0.2 ") == 2, "another patch is applied"


def test_an_update_that_the_engine_did_not_record_is_still_known_to_be_this_stacks(node, tmp_path):
    """Killed between patching and recording: the endpoint that it has set is this stack's."""
    unsaved = replace(plan(), mirrors=(Mirror(host="docker.io", url="http://172.17.0.1:5999"),))
    bring_up_to_date(node, unsaved, HAS_NO_MIRROR % tmp_path, previous(plan()))
    has_it = (
        "spec: {machine: {registries: {mirrors: "
        "{docker.io: {endpoints: [http://172.17.0.1:5999]}}}}}"
    )
    keep = f'case $word in @*) cat "${{word#@}}" >> {tmp_path}/sent;; esac'
    script = f'case "$*" in *get*) echo "{has_it}";; *) for word; do {keep}; done;; esac'
    bring_up_to_date(node, plan(), script, previous(plan(), version="v1.11.5"))
    sent = (tmp_path / "sent").read_text()
    assert "http://172.17.0.1:5000" in sent
    assert "5999" not in sent


def test_patches_reach_the_nodes_they_are_for(node, tmp_path):
    settings = parse({"cluster": {"workerPatches": [ENV]}}).clusters[0]
    of = replace(plan(), settings=settings, mirrors=())
    bring_up_to_date(node, of, HAS_NO_MIRROR % tmp_path, previous(plan()))
    assert "10.5.0.2" not in (tmp_path / "calls").read_text(), "the control plane"
    assert "10.5.0.3" in (tmp_path / "calls").read_text()


def test_machines_in_maintenance_are_not_patched_and_the_user_is_told(node, monkeypatch, capfd):
    made, folder = node
    config = {"provisioner": "qemu", "presets": ["iso", "maintenance"]}
    of = replace(plan(), settings=parse({"cluster": config}).clusters[0])
    monkeypatch.setattr(command.talosctl, "find", lambda: made("exit 1"))
    monkeypatch.setattr(command, "cluster_of", lambda plan: Cluster(plan, folder, "me"))
    with Path("/dev/zero").open() as engine:  # a pipe that stays open: the engine still waits
        monkeypatch.setattr(command, "STDIN", engine.fileno())
        done = command.update(of, previous(of))
    assert done.mirrors == {"docker.io": "http://172.17.0.1:5000"}
    assert "machines in maintenance" in capfd.readouterr().err


def test_a_program_that_can_not_be_run_is_not_a_silent_success(node, tmp_path):
    made, folder = node
    gone = replace(made("exit 0"), program=str(tmp_path / "nowhere"))
    with pytest.raises(FileNotFoundError):
        node_updates.bring_up_to_date(
            Cluster(plan(), folder, "me"), gone, previous(plan()), Supervisor()
        )
