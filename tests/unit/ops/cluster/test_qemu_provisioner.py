"""Clusters of QEMU machines: as which user they are removed, and who has their files; no QEMU.

Doubles, named as such: `sudo` (which runs commands as root or refuses, as a test says), and a
talosctl that never ends. All else is real.
"""

import os
import subprocess
import time

import pytest

from ops.cluster import command, qemu_cleanup, qemu_host, qemu_provisioner
from ops.cluster.folder import folder_of, talos_home
from ops.cluster.qemu_provisioner import QemuProvisioner
from ops.cluster.record import ClusterRecord
from ops.errors import OpsError
from tests.fakes.programs import program
from tests.unit.ops.cluster.qemu import (
    NAME,
    NOBODY,
    STACK,
    as_root,
    cluster_in,
    give_to_user,
    is_alive,
    plan_of,
    remove_by_hand,
    unprivileged,
)


@pytest.fixture
def user(place):
    """Everything in the test is done by an unprivileged user (who may be one anyway)."""
    if os.geteuid() == 0:
        give_to_user(place)
    with unprivileged():
        yield


def put_first(monkeypatch, place, name, script):
    """A double in front of everything else on PATH."""
    path = program(place / "bin", name, script)
    monkeypatch.setenv("PATH", f"{path.parent}:{os.environ['PATH']}")


@pytest.fixture
def put_sudo(place, monkeypatch):
    """Puts a double of `sudo` on PATH, and returns its log; a shell script starts as root."""

    def put(script):
        asked = place / "sudo.asked"
        put_first(monkeypatch, place, "sudo", f'echo "$@" >> {asked}\n{script}')
        return asked

    return put


ADVICE = "ALL=(root) NOPASSWD: ALL"
REFUSES = "echo 'sudo: a password is required' >&2; exit 1"
LETS = 'while [ "${1#-}" != "$1" ]; do shift; done; exec "$@"'


@as_root
def test_a_talosctl_that_never_ends_its_destroy_is_not_waited_for(
    folder, place, monkeypatch, capfd
):
    (folder.state / NAME / "state.yaml").touch()
    script = 'case "$*" in *version*) echo v1.13.0;; *) sleep 60;; esac'
    put_first(monkeypatch, place, "talosctl", script)
    monkeypatch.setattr(qemu_provisioner, "DESTROY_SECONDS", 0.5)
    started = time.monotonic()
    command.delete(plan_of(), None)
    assert time.monotonic() - started < 30
    assert "not done within 0.5 s" in capfd.readouterr().err
    assert not folder.path.exists()
    assert not folder.state.exists()


@as_root
def test_root_needs_no_sudo():
    assert QemuProvisioner().wrap(["/x/talosctl", "cluster"]) == ["/x/talosctl", "cluster"]


def test_sudo_keeps_the_variables_of_talosctls_folders_and_never_prompts(user):
    argv = QemuProvisioner().wrap(["/x/talosctl", "cluster"])
    kept = "--preserve-env=HOME,TALOS_HOME,TALOSCONFIG,KUBECONFIG"
    assert argv[:2] == ["sudo", "-n"]
    assert argv[2].startswith(kept)
    assert argv[3:] == ["/x/talosctl", "cluster"]


@pytest.mark.parametrize(
    ("sudo", "why"),
    [(REFUSES, "sudo: a password is required"), (None, "no command sudo"), (LETS, None)],
    ids=["that would prompt", "missing", "that does not prompt"],
)
def test_a_sudo_that_is_no_help_is_found_before_anything_is_made(
    user, place, monkeypatch, put_sudo, sudo, why
):
    if sudo:
        asked = put_sudo(sudo)
    else:
        monkeypatch.setenv("PATH", str(place))
    texts = qemu_host.conflicts(plan_of(), folder_of(STACK, NAME))
    assert [why in text for text in texts if ADVICE in text] == ([True] if why else [])
    assert not any("ended with" in text for text in texts)
    assert sudo is None or asked.exists()


@pytest.fixture
def roots_files(folder):
    """What talosctl leaves when it runs as root."""
    (folder.state / NAME / "x.disk").write_text("disk")
    folder.talosconfig.write_text("secret")
    folder.talosconfig.chmod(0o644)
    (folder.work / "controlplane.yaml").write_text("secret")
    (talos_home() / ".talos" / "cache").mkdir(parents=True)
    in_private = (folder.state / NAME, folder.talosconfig, folder.work / "controlplane.yaml")
    return (*in_private, talos_home() / ".talos")


@as_root
def test_files_that_root_made_are_handed_over(place, folder, roots_files, put_sudo):
    asked = put_sudo(LETS)
    give_to_user(place, roots_files)
    with unprivileged():
        QemuProvisioner().after_create(cluster_in(folder), ClusterRecord())
    files = [*folder.path.rglob("*"), *folder.state.rglob("*")]
    assert {path.lstat().st_uid for path in files} == {NOBODY}
    assert asked.read_text().count("chown") == 1


@as_root
def test_sudo_is_not_called_if_everything_is_the_users(place, folder, put_sudo):
    asked = put_sudo(LETS)
    give_to_user(place)
    with unprivileged():
        qemu_provisioner.hand_over(folder)
        (folder.state / NAME).rmdir()
        remove_by_hand(folder)
    assert not asked.exists()


def test_access_is_the_users_only(folder):
    files = folder.talosconfig, folder.kubeconfig
    for file in files:
        file.write_text("secret")
        file.chmod(0o644)
    qemu_provisioner.hand_over(folder)
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}


@as_root
def test_what_root_made_is_removed_by_one_call_of_sudo(
    place, folder, roots_files, bridge, started, put_sudo
):
    log = (folder.state / NAME / "lb.log").open("w")
    balancer = started("/opt/talosctl", "-F", "/dev/null", stdout=log)
    asked = put_sudo(LETS)
    give_to_user(place, roots_files)
    with unprivileged():
        remove_by_hand(folder)
        folder.remove()
    assert not is_alive(balancer)
    assert not qemu_cleanup.has_interface(bridge)
    assert not folder.path.exists()
    assert asked.read_text().count("qemu_cleanup") == 1
    shared = {path.lstat().st_uid for path in talos_home().rglob("*")}
    assert shared == {NOBODY}, "boot images stay, and are the user's"


@as_root
def test_what_stays_without_root_is_named_with_the_command_that_removes_it(
    place, folder, roots_files, bridge, put_sudo
):
    put_sudo(REFUSES)
    give_to_user(place, roots_files)
    with unprivileged(), pytest.raises(OpsError) as refused:
        remove_by_hand(folder)
    text = str(refused.value)
    assert f"network interface {bridge}" in text
    assert str(folder.state) in text
    assert folder.marker.exists(), "the next try still knows whose it is"
    line = text.rpartition("remove it now: ")[2].replace("sudo ", "")
    subprocess.run(line, shell=True, check=True)
    assert not qemu_cleanup.has_interface(bridge)
    assert not folder.state.exists()
