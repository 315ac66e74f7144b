"""Which provisioner a cluster has."""

from ops.cluster.docker_provisioner import DockerProvisioner
from ops.cluster.provisioner import Provisioner
from ops.cluster.qemu_provisioner import QemuProvisioner
from plan.talos.cluster import ClusterPlan

PROVISIONERS: dict[str, Provisioner] = {"docker": DockerProvisioner(), "qemu": QemuProvisioner()}


def of(plan: ClusterPlan) -> Provisioner:
    """The provisioner of a cluster."""
    return PROVISIONERS[plan.settings.provisioner]
