"""What the command of a cluster needs of that which runs its nodes: Docker, or QEMU."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ops.cluster.folder import Folder, folder_of, owner_of
from ops.cluster.record import ClusterRecord
from ops.cluster.supervisor import Lifeline
from plan.talos.cluster import ClusterPlan
from plan.talos.versions import Version


@dataclass(frozen=True)
class Cluster:
    """A cluster of a stack on this machine.

    Attributes:
        plan: of the cluster.
        folder: its private folder, there or not.
        owner: of what is made of it, see `folder.owner_of`.
    """

    plan: ClusterPlan
    folder: Folder
    owner: str

    def recorded(self) -> ClusterRecord | None:
        """What its folder says has been made of it; None if nothing has."""
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
            cluster: that is about to be made.
            of_others: leave out this stack's own clusters: the engine may be about to replace one.
        """

    def prepare(self, cluster: Cluster, version: Version, lifeline: Lifeline) -> None:
        """Make what has to be there before a talosctl of this version runs, and record it."""

    def wrap(self, argv: Sequence[str]) -> list[str]:
        """The line of talosctl with the rights that it needs."""

    def after_create(self, cluster: Cluster, record: ClusterRecord) -> ClusterRecord:
        """Take over what talosctl has made; returns the record with what it is."""

    def is_gone(self, record: ClusterRecord) -> bool:
        """Whether a cluster that was made is there no more, though nothing here removed it."""

    def containers(self, cluster: Cluster) -> Mapping[str, Mapping[str, Any]] | None:
        """Address -> what Docker says of a node; None for nodes that are not containers."""

    def remove(self, cluster: Cluster, record: ClusterRecord, *, unfinished: bool) -> None:
        """Remove all of its nodes and networks; gone already is fine.

        Args:
            cluster: to be removed.
            record: what is known of it.
            unfinished: whether a talosctl that was making it was ended just now.
        """


def cluster_of(plan: ClusterPlan) -> Cluster:
    """The cluster that a plan speaks of."""
    return Cluster(plan, folder_of(plan.stack, plan.name), owner_of(plan.stack))
