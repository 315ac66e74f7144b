"""Creates, updates and deletes one cluster; prints what it made, as JSON, on standard output.

A create that fails, is interrupted or takes too long removes everything it has made, then reports
why. A later run recognises what a killed one has left by the owner's marker and labels.
"""

import os
import shlex
import sys
from collections.abc import Callable

from docker.errors import DockerException
from msgspec.structs import replace
from requests import RequestException

from host.locks import only_one
from ops.cluster import kubeconfig, node_updates, provisioners, talosctl
from ops.cluster.folder import know, lock_of, talos_home
from ops.cluster.preflight import refuse
from ops.cluster.provisioner import Cluster, cluster_of
from ops.cluster.record import ClusterRecord, RecordError, decode, printed
from ops.cluster.supervisor import Supervisor, run, say
from ops.docker import api
from ops.errors import OpsError
from plan.problems import SettingsError
from plan.settings.nodes import MAINTENANCE
from plan.talos import cluster_transport
from plan.talos.cluster import ClusterPlan
from plan.talos.create_flags import create_argv
from plan.talos.mirrors import documents_patch, legacy_patch
from plan.talos.versions import node_version

PREVIOUS_VARIABLE = "PULUMI_COMMAND_STDOUT"
STDIN = 0
# Failures that are not bugs of this program: reported in one line.
FAILURES = (
    OpsError,
    api.DockerUnavailableError,
    DockerException,
    RequestException,
    OSError,
)


def main(command: str) -> int:
    """Run one command; returns the exit status."""
    secrets = sys.stdin.buffer.readline().decode()
    plan = cluster_transport.read(os.environ, secrets)
    if plan.identity:
        know(plan.stack, plan.identity)
    try:
        with only_one(lock_of(plan.stack, plan.name)):
            record = COMMANDS[command](plan, _previous())
    except (SettingsError, *FAILURES) as error:
        say(f"{command} of the cluster {plan.name} failed: {error}")
        return 1
    if record:
        print(printed(record))
    return 0


def create(plan: ClusterPlan, previous: ClusterRecord | None) -> ClusterRecord:
    """Create the cluster and wait until it is ready."""
    del previous  # a create has none
    supervisor = Supervisor(
        plan.create_seconds,
        limit=f"cluster.createTimeout, {plan.settings.create_timeout}",
        pipe=STDIN,
    )
    cluster = cluster_of(plan)
    installed = talosctl.find()
    refuse(plan, installed.version)
    if conflicts := provisioners.of(plan).conflicts(cluster, of_others=False):
        raise OpsError("\n".join(conflicts))
    # What a killed run of this stack may have left.
    _remove(cluster, None, unfinished=True)
    cluster.folder.prepare(cluster.owner)
    try:
        record = _created(cluster, installed, supervisor)
    except BaseException as error:
        say(f"removing the unfinished cluster, because: {error}")
        _remove_after(error, cluster)
        raise
    say(f"created the cluster {plan.name}; its access files are in {cluster.folder.path}")
    return record


def update(plan: ClusterPlan, previous: ClusterRecord | None) -> ClusterRecord:
    """Bring the live nodes' mirrors and patches up to date, without a reboot."""
    if previous is None:
        raise OpsError(
            f"the stack's state has no record of the cluster. Recreate it: {plan.made_anew}"
        )
    supervisor = Supervisor(pipe=STDIN)
    cluster = cluster_of(plan)
    installed = talosctl.find()
    refuse(plan, installed.version)
    if provisioners.of(plan).is_gone(previous):
        raise OpsError(
            f"it is gone, but this stack did not remove it. Recreate it: {plan.made_anew}"
        )
    if MAINTENANCE in plan.settings.presets:
        say(
            "note: machines in maintenance mode accept no mirrors and no patches. Put the output "
            "machineConfigPatch into the machine config that you apply to them"
        )
    else:
        node_updates.bring_up_to_date(cluster, installed, previous, supervisor)
    merged = kubeconfig.follow(plan, cluster.folder, previous.merged_kubeconfig)
    return replace(_applied(previous, plan), merged_kubeconfig=merged)


def delete(plan: ClusterPlan, previous: ClusterRecord | None) -> None:
    """Remove the cluster, or whatever is left of it."""
    _remove(cluster_of(plan), previous)


COMMANDS: dict[str, Callable[[ClusterPlan, ClusterRecord | None], ClusterRecord | None]] = {
    "create": create,
    "update": update,
    "delete": delete,
}


def _previous() -> ClusterRecord | None:
    """The record that the last run of this command printed."""
    content = os.environ.get(PREVIOUS_VARIABLE)
    fix = "Restore an earlier state of the stack"
    return decode(content, "its record in the stack's state", fix) if content else None


def _created(
    cluster: Cluster, installed: talosctl.Talosctl, supervisor: Supervisor
) -> ClusterRecord:
    plan, folder = cluster.plan, cluster.folder
    provisioner = provisioners.of(plan)
    kubeconfig.check_mergeable(plan)
    provisioner.prepare(cluster, installed.version, supervisor)
    talos_home().mkdir(parents=True, exist_ok=True)
    place = talosctl.place(installed, folder, _patch_files(cluster, installed))
    argv = provisioner.wrap(create_argv(plan.settings, plan.mirrors, installed.version, place))
    say(f"running: {shlex.join(argv)}")
    run(argv, talosctl.environment(folder), folder.work, supervisor)
    of_talosctl = ClusterRecord(
        owner=cluster.owner,
        name=plan.name,
        provisioner=plan.settings.provisioner,
        talosctl=str(installed.version),
        node_version=str(node_version(plan.settings, installed.version)),
    )
    record = provisioner.after_create(cluster, _applied(of_talosctl, plan))
    private = node_updates.marked(record, plan)
    if plan.settings.merge_kubeconfig:  # recorded first: a kill may come before the merge
        private = replace(private, merged_kubeconfig=str(kubeconfig.users_own()))
    folder.record(private)
    return replace(record, merged_kubeconfig=kubeconfig.follow(plan, folder, None))


def _patch_files(cluster: Cluster, installed: talosctl.Talosctl) -> tuple[tuple[str, str], ...]:
    """Write patches into the private folder: the user's, and mirrors that flags can't express."""
    plan, folder = cluster.plan, cluster.folder
    special = [mirror for mirror in plan.mirrors if not mirror.is_plain]
    texts = [(patch.scope, patch.text) for patch in plan.settings.patches]
    if special:
        documents = node_version(plan.settings, installed.version).reads_documents
        texts.append(("all", (documents_patch if documents else legacy_patch)(special)))
    files = [(scope, folder.work / f"patch-{index}.yaml") for index, (scope, _) in enumerate(texts)]
    for (_, text), (_, file) in zip(texts, files, strict=True):
        folder.write(file, text)
    return tuple((scope, str(file)) for scope, file in files)


def _applied(record: ClusterRecord, plan: ClusterPlan) -> ClusterRecord:
    """The record with what the nodes have now, for the next update to compare with."""
    mirrors = {mirror.host: mirror.url for mirror in plan.mirrors}
    return replace(record, mirrors=mirrors, patches=node_updates.digests(plan))


def _remove_after(error: BaseException, cluster: Cluster) -> None:
    """Remove what a failed create has made; if that fails too, the cause still comes first."""
    try:
        _remove(cluster, None, unfinished=True)
    except FAILURES as second:
        raise OpsError(f"{error}; removing the unfinished cluster failed too: {second}") from error


def _remove(cluster: Cluster, previous: ClusterRecord | None, *, unfinished: bool = False) -> None:
    """Remove everything that belongs to this stack's cluster, and nothing else.

    Raises:
        OpsError: it is removed, but is still in the user's kubeconfig.
    """
    record = _known(cluster, previous)
    merged = record.merged_kubeconfig
    try:
        if merged:
            kubeconfig.take_out(merged, cluster.folder)
    except FAILURES as error:
        _remove_nodes(cluster, record, unfinished=unfinished)
        raise OpsError(
            f"it is removed, but its entries are still in {merged}: {error}. Remove them by hand, "
            "then run this again"
        ) from error
    _remove_nodes(cluster, record, unfinished=unfinished)


def _known(cluster: Cluster, previous: ClusterRecord | None) -> ClusterRecord:
    """The engine's record, which is newer, with the folder's containers; or else the folder's."""
    if previous is None:
        return cluster.recorded() or ClusterRecord()
    try:
        recorded = cluster.recorded() or ClusterRecord()
    except RecordError as error:  # the engine's record is enough to remove the cluster
        say(f"note: {error}")
        return previous
    ids = recorded.docker_ids | previous.docker_ids
    return replace(previous, containers=tuple(sorted(ids - {previous.network})))


def _remove_nodes(cluster: Cluster, record: ClusterRecord, *, unfinished: bool) -> None:
    provisioners.of(cluster.plan).remove(cluster, record, unfinished=unfinished)
    cluster.folder.remove()
