"""Creates, updates and deletes one cluster; what it makes is told as JSON on standard output.

A create that fails, is interrupted or takes too long removes everything it has made before it says
so. A later run recognises what even a killed one has left by the owner's marker and labels.
"""

import json
import os
import shlex
import sys
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from docker.errors import DockerException
from requests import RequestException

from host.locks import only_one
from ops.cluster import (
    docker_provisioner,
    kubeconfig,
    node_updates,
    qemu_provisioner,
    talosctl,
)
from ops.cluster.folder import (
    Folder,
    folder_of,
    image_lock,
    know,
    lock_of,
    owner_of,
    talos_home,
)
from ops.cluster.preflight import conflicts, refuse
from ops.cluster.supervisor import Lifeline, run, say
from ops.docker import api
from ops.errors import OpsError
from plan.problems import SettingsError
from plan.settings.nodes import MAINTENANCE
from plan.talos import cluster_transport
from plan.talos.cluster import ClusterPlan
from plan.talos.create_flags import create_argv, destroy_argv
from plan.talos.images import node_image
from plan.talos.mirrors import documents_patch, legacy_patch
from plan.talos.versions import node_version

# Where the cluster is merged, in what was made of it.
MERGED = "mergedKubeconfig"
PREVIOUS_VARIABLE = "PULUMI_COMMAND_STDOUT"
STDIN = 0
# What a run can meet with that is no mistake of this program: told in a line.
FAILURES = (
    OpsError,
    api.DockerUnavailableError,
    DockerException,
    RequestException,
    OSError,
)
# For talosctl's own destroy; what it leaves is removed by hand.
DESTROY_SECONDS = 60
Made = dict[str, Any]


def main(command: str) -> int:
    """Run one command; returns the exit status."""
    secrets = sys.stdin.buffer.readline().decode()
    plan = cluster_transport.read(os.environ, secrets)
    if plan.identity:
        know(plan.stack, plan.identity)
    previous: Made = json.loads(os.environ.get(PREVIOUS_VARIABLE) or "{}")
    try:
        with only_one(lock_of(plan.stack, plan.name)):
            made = COMMANDS[command](plan, previous)
    except (SettingsError, *FAILURES) as error:
        say(f"{command} of the cluster {plan.name} failed: {error}")
        return 1
    if made:
        print(json.dumps(made))
    return 0


def create(plan: ClusterPlan, previous: Made) -> Made:
    """Make the cluster and wait until it is ready."""
    del previous  # a create never has any
    lifeline = Lifeline(
        plan.create_seconds,
        limit=f"cluster.createTimeout, {plan.settings.create_timeout}",
        pipe=STDIN,
    )
    folder = folder_of(plan.stack, plan.name)
    found = talosctl.find()
    refuse(plan, found.version)
    if in_the_way := conflicts(plan):
        raise OpsError("\n".join(in_the_way))
    # What a killed run of this very stack has left.
    _remove(plan, folder, {}, unfinished=True)
    folder.prepare(owner_of(plan.stack))
    try:
        made = _created(plan, folder, found, lifeline)
    except BaseException as error:
        say(f"removing what was made of the cluster, because: {error}")
        _remove_after(error, plan, folder)
        raise
    say(f"the cluster {plan.name} is there; access: {folder.path}")
    return made


def update(plan: ClusterPlan, previous: Made) -> Made:
    """Bring the live nodes' mirrors and patches up to date, without a reboot."""
    lifeline = Lifeline(pipe=STDIN)
    folder = folder_of(plan.stack, plan.name)
    found = talosctl.find()
    refuse(plan, found.version)
    if previous.get("network") and not _network_is_there(previous):
        raise OpsError(
            f"it is gone, though this stack did not remove it. Make it anew: {plan.made_anew}"
        )
    if MAINTENANCE in plan.settings.presets:
        say(
            "note: machines in maintenance take no mirrors and no patches. Put the output "
            "machineConfigPatch into the machine config that you apply to them"
        )
    else:
        node_updates.bring_up_to_date(plan, folder, found, previous, lifeline)
    merged = kubeconfig.follow(plan, folder, previous.get(MERGED))
    return {**previous, **_applied(plan), MERGED: merged}


def delete(plan: ClusterPlan, previous: Made) -> None:
    """Remove the cluster, whatever there still is of it."""
    _remove(plan, folder_of(plan.stack, plan.name), previous)


COMMANDS: dict[str, Callable[[ClusterPlan, Made], Made | None]] = {
    "create": create,
    "update": update,
    "delete": delete,
}


def _created(
    plan: ClusterPlan, folder: Folder, found: talosctl.Talosctl, lifeline: Lifeline
) -> Made:
    kubeconfig.check_mergeable(plan)
    network = _prepared_docker(plan, folder, found, lifeline)
    talos_home().mkdir(parents=True, exist_ok=True)
    place = talosctl.place(found, folder, _patch_files(plan, folder, found))
    argv = create_argv(plan.settings, plan.mirrors, found.version, place)
    if plan.settings.provisioner == "qemu":
        argv = qemu_provisioner.privileged(argv)
    say(f"running: {shlex.join(argv)}")
    run(argv, talosctl.environment(folder), folder.work, lifeline)
    if plan.settings.provisioner == "qemu":
        qemu_provisioner.hand_over(folder)
    made: Made = {
        "name": plan.name,
        "provisioner": plan.settings.provisioner,
        "talosctl": str(found.version),
        "nodeVersion": str(node_version(plan.settings, found.version)),
        **_applied(plan),
    }
    if network:
        nodes = docker_provisioner.own(api.connect(), plan, owner_of(plan.stack), {network})
        made |= {"network": network, "containers": list(nodes.containers)}
    noted = {**made, **node_updates.marks(plan)}
    if plan.settings.merge_kubeconfig:  # before it is: a kill may come in between
        noted[MERGED] = str(kubeconfig.users_own())
    folder.record(owner_of(plan.stack), noted)
    return {**made, MERGED: kubeconfig.follow(plan, folder, None)}


def _prepared_docker(
    plan: ClusterPlan, folder: Folder, found: talosctl.Talosctl, lifeline: Lifeline
) -> str:
    """Node image and network, for a cluster on Docker; returns the network's id."""
    if plan.settings.provisioner != "docker":
        return ""
    client = api.connect()
    image = node_image(plan.settings, found.version)
    with only_one(image_lock()):  # the clusters of a stack are made side by side
        docker_provisioner.ensure_image(client, image, _sources(plan), lifeline)
    network = docker_provisioner.make_network(client, plan, owner_of(plan.stack))
    folder.record(owner_of(plan.stack), {"network": network})
    return network


def _sources(plan: ClusterPlan) -> dict[str, docker_provisioner.Source]:
    logins = {mirror.host: asdict(mirror.login) for mirror in plan.mirrors if mirror.login}
    return {
        host: docker_provisioner.Source(url=url, login=logins.get(host, {}))
        for host, url in plan.sources
    }


def _patch_files(
    plan: ClusterPlan, folder: Folder, found: talosctl.Talosctl
) -> tuple[tuple[str, str], ...]:
    """Write the patches into the private folder: the user's, and mirrors that no flag can say."""
    special = [mirror for mirror in plan.mirrors if not mirror.is_plain]
    texts = [(patch.scope, patch.text) for patch in plan.settings.patches]
    if special:
        documents = node_version(plan.settings, found.version).reads_documents
        texts.append(("all", (documents_patch if documents else legacy_patch)(special)))
    files = [(scope, folder.work / f"patch-{index}.yaml") for index, (scope, _) in enumerate(texts)]
    for (_, text), (_, file) in zip(texts, files, strict=True):
        folder.write(file, text)
    return tuple((scope, str(file)) for scope, file in files)


def _applied(plan: ClusterPlan) -> Made:
    """What the nodes have now, for the next update to compare with."""
    return {
        "mirrors": {mirror.host: mirror.url for mirror in plan.mirrors},
        "patches": node_updates.digests(plan),
    }


def _remove_after(error: BaseException, plan: ClusterPlan, folder: Folder) -> None:
    """Remove what a failed create has made; what is left is told behind the cause, not instead."""
    try:
        _remove(plan, folder, {}, unfinished=True)
    except FAILURES as left:
        raise OpsError(f"{error}; and not all that it made could be removed: {left}") from error


def _network_is_there(previous: Made) -> bool:
    networks = api.connect().api.networks()
    return previous["network"] in {network["Id"] for network in networks}


def _remove(plan: ClusterPlan, folder: Folder, previous: Made, *, unfinished: bool = False) -> None:
    """Remove everything of this stack's cluster, and nothing of anybody else's.

    Raises:
        OpsError: it is removed, but is still in the user's kubeconfig.
    """
    noted = {**(folder.recorded(owner_of(plan.stack)) or {}), **previous}
    try:
        if noted.get(MERGED):
            kubeconfig.take_out(noted[MERGED], folder)
    except FAILURES as error:
        _remove_nodes(plan, folder, noted, unfinished=unfinished)
        raise OpsError(
            f"it is removed, but its entries stay in {noted[MERGED]}, for: {error}. Take them out "
            "by hand; then run this again"
        ) from error
    _remove_nodes(plan, folder, noted, unfinished=unfinished)


def _remove_nodes(plan: ClusterPlan, folder: Folder, noted: Made, *, unfinished: bool) -> None:
    owner = owner_of(plan.stack)
    if plan.settings.provisioner == "qemu":
        _remove_vms(plan, folder)
    else:
        recorded = {noted.get("network"), *(noted.get("containers") or [])} - {None, ""}
        client = api.connect()
        docker_provisioner.remove(client, plan, owner, recorded, unfinished=unfinished)
    folder.remove()


def _remove_vms(plan: ClusterPlan, folder: Folder) -> None:
    """Have talosctl destroy them where it can, and end what is left."""
    if (folder.state / plan.name / "state.yaml").exists():
        try:
            found = talosctl.find()
            place = talosctl.place(found, folder)
            argv = qemu_provisioner.privileged(destroy_argv(plan.settings, found.version, place))
            lifeline = Lifeline(DESTROY_SECONDS, f"{DESTROY_SECONDS} s")
            run(argv, talosctl.environment(folder), folder.work, lifeline)
        except OpsError as error:
            say(f"  talosctl could not destroy it ({error}); removing it by hand")
    qemu_provisioner.remove(plan, folder)
