"""The interface of what runs a cluster's nodes: Docker, or QEMU."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ops.cluster.folder import Folder, folder_of, owner_of
from ops.cluster.record import ClusterRecord
from ops.cluster.supervisor import Supervisor
from plan.talos.cluster import ClusterPlan
from plan.talos.versions import Version


@dataclass(frozen=True)
class Cluster:
    """A cluster of a stack on this machine.

    Attributes:
        plan: the cluster's.
        folder: its private folder, which need not exist.
        owner: see `folder.owner_of`.
    """

    plan: ClusterPlan
    folder: Folder
    owner: str

    def recorded(self) -> ClusterRecord | None:
        """The record in its folder; None if nothing has been made of it."""
        return self.folder.recorded(self.owner)

    @property
    def docker_ids(self) -> frozenset[str]:
        """Ids of its network and nodes in Docker that its folder says are its own."""
        recorded = self.recorded()
        return recorded.docker_ids if recorded else frozenset()


class Provisioner(Protocol):
    """One of the two ways to run nodes."""

    def conflicts(self, cluster: Cluster, *, of_others: bool) -> list[str]:
        """What is missing or in the way, one text each with what to do.

        Args:
            cluster: about to be created.
            of_others: leave out this stack's own clusters: the engine may be about to replace one.
        """

    def prepare(self, cluster: Cluster, version: Version, supervisor: Supervisor) -> None:
        """Make what a talosctl of this version needs before it runs, and record it."""

    def wrap(self, argv: Sequence[str]) -> list[str]:
        """The command line of talosctl, with the privileges that it needs."""

    def after_create(self, cluster: Cluster, record: ClusterRecord) -> ClusterRecord:
        """Take over what talosctl has made; returns the record with its ids."""

    def is_gone(self, record: ClusterRecord) -> bool:
        """Whether the cluster no longer exists, although nothing here removed it."""

    def containers(self, cluster: Cluster) -> Mapping[str, Mapping[str, Any]] | None:
        """Address -> what Docker says about a node; None if nodes are not containers."""

    def remove(self, cluster: Cluster, record: ClusterRecord, *, unfinished: bool) -> None:
        """Remove all of its nodes and networks; gone already is fine.

        Args:
            cluster: to be removed.
            record: what is known of it.
            unfinished: whether the talosctl that was creating it was stopped just now.
        """


def cluster_of(plan: ClusterPlan) -> Cluster:
    """The cluster of a plan."""
    return Cluster(plan, folder_of(plan.stack, plan.name), owner_of(plan.stack))
