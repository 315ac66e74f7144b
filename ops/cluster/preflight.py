"""Finds what is in a cluster's way, before anything is created."""

from collections.abc import Collection, Sequence

from ops.cluster import node_updates, provisioners, talosctl
from ops.cluster.provisioner import cluster_of
from ops.cluster.supervisor import say
from ops.errors import OpsError
from plan.problems import SettingsError
from plan.talos.cluster import ClusterPlan
from plan.talos.unsupported import (
    all_refusals,
    refusals,
    waits_for_a_cni,
)
from plan.talos.versions import Version


def preflight_errors(plans: Sequence[ClusterPlan], known: Collection[str]) -> list[str]:
    """One text per problem, with what to do; empty if nothing is in the way.

    Args:
        plans: of the stack's clusters.
        known: names of those that the stack's state knows.

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
    texts: list[str | None] = []
    for plan in plans:
        texts += provisioners.of(plan).conflicts(cluster_of(plan), of_others=True)
    for plan in plans:
        recorded = cluster_of(plan).recorded()
        if recorded and recorded.is_complete and plan.name not in known:
            texts.append(_unknown(plan))
    texts += [node_updates.login_obstacle(plan, cluster_of(plan).recorded()) for plan in plans]
    return [text for text in texts if text]


def _unknown(plan: ClusterPlan) -> str:
    """A create removes what a killed run has left; this one is complete, and may be in use."""
    return (
        f"The cluster {plan.name} already exists. This stack made it, but the stack's state does "
        "not know it: a run was killed, or the state was lost. Either\n"
        f"  - clean up after a killed run: make up STACK={plan.stack}\n"
        f"  - recreate it on purpose: make adopt STACK={plan.stack} ARGS=--yes\n"
        "  - keep it without this stack: remove it from the stack's file"
    )


def refuse(plan: ClusterPlan, version: Version) -> None:
    """Stop if this talosctl can't honour a key.

    Raises:
        SettingsError: names the keys.
    """
    if problems := refusals(plan.settings, version):
        raise SettingsError(problems)


def _note_on_waiting(plan: ClusterPlan, version: Version) -> None:
    """Not an error: the user may install a CNI while talosctl waits for one."""
    if not cluster_of(plan).recorded() and (text := waits_for_a_cni(plan.settings, version)):
        say(f"note: {text}")
