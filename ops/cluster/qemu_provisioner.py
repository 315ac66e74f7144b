"""Runs the nodes of a cluster as QEMU machines on this host."""

import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from host.paths import ROOT
from ops.cluster import docker_nodes, qemu_cleanup, qemu_host, talosctl
from ops.cluster.folder import Folder, talos_home
from ops.cluster.provisioner import Cluster
from ops.cluster.record import ClusterRecord
from ops.cluster.root_rights import privileged, run_as_root
from ops.cluster.supervisor import Supervisor, run, say
from ops.docker import api
from ops.errors import OpsError
from plan.talos.create_flags import destroy_argv
from plan.talos.versions import Version

# For talosctl's own destroy; what it leaves is removed here.
DESTROY_SECONDS = 60


class QemuProvisioner:
    """See `Provisioner`."""

    def conflicts(self, cluster: Cluster, *, of_others: bool) -> list[str]:
        """Networks of Docker and of this machine, and what QEMU needs but is missing here."""
        client = api.connect()
        return [
            *docker_nodes.network_conflicts(
                client, cluster.plan, cluster.owner, of_others=of_others
            ),
            *qemu_host.conflicts(cluster.plan, cluster.folder, of_others=of_others),
        ]

    def prepare(self, cluster: Cluster, version: Version, supervisor: Supervisor) -> None:
        """Do nothing: talosctl makes the network itself."""

    def wrap(self, argv: Sequence[str]) -> list[str]:
        """The same, as root."""
        return privileged(argv)

    def after_create(self, cluster: Cluster, record: ClusterRecord) -> ClusterRecord:
        """Take over the files that root has written."""
        hand_over(cluster.folder)
        return record

    def is_gone(self, record: ClusterRecord) -> bool:
        """Always false: machines that are down look the same as machines that are gone."""
        return False

    def containers(self, cluster: Cluster) -> Mapping[str, Mapping[str, Any]] | None:
        """None: nodes are virtual machines."""
        return None

    def remove(self, cluster: Cluster, record: ClusterRecord, *, unfinished: bool) -> None:
        """Have talosctl destroy them if it can, and remove what is left.

        Raises:
            OpsError: something is left; names it and the command that removes it.
        """
        plan, folder = cluster.plan, cluster.folder
        if (folder.state / plan.name / "state.yaml").exists():
            try:
                installed = talosctl.find()
                place = talosctl.place(installed, folder)
                argv = privileged(destroy_argv(plan.settings, installed.version, place))
                supervisor = Supervisor(DESTROY_SECONDS, f"{DESTROY_SECONDS} s")
                run(argv, talosctl.environment(folder), folder.work, supervisor)
            except OpsError as error:
                say(f"  talosctl could not destroy it ({error}); removing it without talosctl")
        remove_by_hand(cluster)


def remove_by_hand(cluster: Cluster) -> None:
    """End the processes of the cluster, remove its bridge, rule and state; gone already is fine.

    Raises:
        OpsError: something is left; names it and the command that removes it.
    """
    name, folder = cluster.plan.name, cluster.folder
    if not cluster.recorded() and not qemu_cleanup.processes(folder.state):
        return  # a bridge of that name, if there is one, is not this stack's
    home = talos_home() / ".talos"
    if os.geteuid() == 0:
        qemu_cleanup.sweep(folder, name, home)
    elif left := qemu_cleanup.left(folder, name):
        sweep = [sys.executable, "-B", "-m", "ops.cluster.qemu_cleanup"]
        line = [*sweep, str(folder.path), name, str(home)]
        try:
            run_as_root(line)
        except OpsError as error:
            by_hand = f"cd {shlex.quote(str(ROOT))} && sudo {shlex.join(line)}"
            raise OpsError(
                f"this is left of the cluster {name}: {', '.join(left)}. It can't be removed: "
                f"{str(error).rstrip('.')}. Then run this again, or remove it now: {by_hand}"
            ) from error
    hand_over(folder)


def hand_over(folder: Folder) -> None:
    """Give the files that root made to the user, and keep others from reading them.

    Raises:
        OpsError: there are some, and their owner can't be changed.
    """
    foreign = [path for path in (folder.path, folder.state, talos_home()) if _has_foreign(path)]
    if foreign and os.geteuid() != 0:
        user = f"{os.geteuid()}:{os.getegid()}"
        run_as_root(["chown", "--recursive", "--no-dereference", user, *map(str, foreign)])
    for file in (folder.talosconfig, folder.kubeconfig):
        if file.exists():
            file.chmod(0o600)


def _has_foreign(path: Path) -> bool:
    """Whether something there belongs to another user."""
    if not path.exists():
        return False
    inside = (
        Path(folder, name)
        for folder, folders, files in os.walk(path)
        for name in (*folders, *files)
    )
    return any(item.lstat().st_uid != os.geteuid() for item in (path, *inside))
