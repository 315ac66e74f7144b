"""What a cluster made of these parts needs in its machine configs."""

from pathlib import Path
from typing import Any

CGROUP = Path("/sys/fs/cgroup")


def node_patches() -> list[dict[str, Any]]:
    """Machine config patches, for every node, on this machine."""
    # The node image has its own network between pods; without one of Talos's there is no place
    # for kube-proxy and CoreDNS, whose images are not built either.
    cluster = {
        "network": {"cni": {"name": "none"}},
        "proxy": {"disabled": True},
        "coreDNS": {"disabled": True},
    }
    kubelet = _kubelet_on_cgroup_v1() if _has_cgroup_v1() else {"extraConfig": {}}
    # It asks Talos for its static pods every 20 s by itself: more than half a minute of each boot.
    kubelet["extraConfig"]["httpCheckFrequency"] = "1s"
    # By itself it takes no pod while less than 15 % of this machine's disk is free.
    kubelet["extraConfig"]["evictionHard"] = {"memory.available": "100Mi"}
    return [{"cluster": cluster}, {"machine": {"kubelet": kubelet}}]


def _has_cgroup_v1() -> bool:
    return not (CGROUP / "cgroup.controllers").exists()


def _kubelet_on_cgroup_v1() -> dict[str, Any]:
    """The kubelet refuses cgroup v1 by itself, and Talos hands it the folder without its mounts."""
    mount = {
        "destination": str(CGROUP),
        "source": str(CGROUP),
        "type": "bind",
        "options": ["rbind", "rw"],
    }
    return {"extraConfig": {"failCgroupV1": False}, "extraMounts": [mount]}
