"""Finds what stands in a cluster's way before anything is made."""

import functools
import sys
from collections.abc import Collection, Sequence
from pathlib import Path

from ops.cluster import (
    docker_provisioner,
    exposed_ports,
    node_updates,
    qemu_provisioner,
    talosctl,
)
from ops.cluster.folder import folder_of, owner_of
from ops.cluster.supervisor import say
from ops.docker import api
from ops.errors import OpsError
from plan.problems import SettingsError
from plan.talos.cluster import ClusterPlan
from plan.talos.unsupported import (
    all_refusals,
    refusals,
    waits_for_a_cni,
)
from plan.talos.versions import Version

# There while the kernel module br_netfilter is, or what it does is built in.
BRIDGE_FILTER = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")


def obstacles(plans: Sequence[ClusterPlan], known: Collection[str]) -> list[str]:
    """One text per obstacle, with what to do; empty where nothing is in the way.

    Args:
        plans: of the stack's clusters.
        known: names of those that its state knows.

    Raises:
        SettingsError: the installed talosctl can't do what a stack asks for.
        DockerUnavailableError: Docker does not answer.
    """
    if not plans:
        return []
    try:
        version = talosctl.find().version
    except OpsError as error:
        return [str(error)]
    if problems := all_refusals([plan.settings for plan in plans], version):
        raise SettingsError(problems)
    for plan in plans:
        _note_on_waiting(plan, version)
    found = [text for plan in plans for text in conflicts(plan, of_others=True)]
    found += [
        _unknown(plan)
        for plan in plans
        if plan.name not in known
        and folder_of(plan.stack, plan.name).is_whole(owner_of(plan.stack))
    ]
    return [*found, *filter(None, map(_login_obstacle, plans))]


def _unknown(plan: ClusterPlan) -> str:
    """Its create removes what a killed run has left; this is more, and may be in use."""
    return (
        f"The cluster {plan.name} is there already, made by this very stack, and its state does "
        "not know it: a killed run left it, or its state was lost. Either\n"
        f"  - clear what a killed run left: make up STACK={plan.stack}\n"
        f"  - have it made anew, on purpose: make adopt STACK={plan.stack} ARGS=--yes\n"
        "  - go on with it without this stack: take it out of the stack's file"
    )


def _login_obstacle(plan: ClusterPlan) -> str:
    noted = folder_of(plan.stack, plan.name).recorded(owner_of(plan.stack)) or {}
    return node_updates.login_obstacle(plan, noted)


def refuse(plan: ClusterPlan, version: Version) -> None:
    """Stop where this talosctl can't honour a key.

    Raises:
        SettingsError: names the keys.
    """
    if problems := refusals(plan.settings, version):
        raise SettingsError(problems)


def conflicts(plan: ClusterPlan, *, of_others: bool = False) -> list[str]:
    """Networks, nodes, ports and missing parts that would make this cluster's creation fail.

    Args:
        plan: of the cluster.
        of_others: leave out this stack's own clusters: the engine may be about to replace one.
    """
    owner = owner_of(plan.stack)
    folder = folder_of(plan.stack, plan.name)
    noted = folder.recorded(owner) or {}
    recorded = {str(noted["network"])} if noted.get("network") else set()
    client = api.connect()
    found = docker_provisioner.conflicts(client, plan, owner, recorded, of_others=of_others)
    if plan.settings.provisioner == "qemu":
        found += qemu_provisioner.conflicts(plan, folder, of_others=of_others)
        return found
    found += exposed_ports.conflicts(client, plan, owner, recorded, of_others=of_others)
    if sys.platform == "linux" and api.is_local(client):
        _note_on_bridge_filter(BRIDGE_FILTER)
        found += qemu_provisioner.network_conflicts(plan, folder, of_others=of_others)
    return found


def _note_on_waiting(plan: ClusterPlan, version: Version) -> None:
    """Not an obstacle: somebody may install a CNI while talosctl waits for one."""
    made = folder_of(plan.stack, plan.name).recorded(owner_of(plan.stack))
    if not made and (text := waits_for_a_cni(plan.settings, version)):
        say(f"note: {text}")


@functools.cache
def _note_on_bridge_filter(setting: Path) -> None:
    """Not an obstacle: another network than Flannel may do without."""
    if not setting.exists():
        say(
            "note: the kernel module br_netfilter is not loaded, which Flannel on nodes in Docker "
            "needs: sudo modprobe br_netfilter"
        )
