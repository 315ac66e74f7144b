"""`mergeKubeconfig`: merges a cluster into the user's own kubeconfig, and removes it again.

talosctl can merge too, but never removes anything.
"""

import os
from pathlib import Path
from typing import Any

import yaml

from host.private_files import write_private
from ops.cluster.folder import Folder, all_folders
from ops.cluster.supervisor import say
from ops.errors import OpsError
from plan.talos.cluster import ClusterPlan

# Lists of named entries in a kubeconfig, and the key of their value.
PARTS = {"clusters": "cluster", "users": "user", "contexts": "context"}
CURRENT = "current-context"


def users_own() -> Path:
    """The kubeconfig that kubectl would write to, unless that is one of our clusters' own.

    It is one in a shell that has run an output's line `use`.
    """
    named = os.environ.get("KUBECONFIG", "").split(os.pathsep)[0]
    is_ours = Path(named).is_relative_to(all_folders())
    return Path(named) if named and not is_ours else Path.home() / ".kube" / "config"


def check_mergeable(plan: ClusterPlan) -> None:
    """Check that a cluster can be merged, before it is created.

    Raises:
        OpsError: the user's kubeconfig is not readable, or already has a cluster of this name.
    """
    if not plan.settings.merge_kubeconfig:
        return
    path = users_own()
    taken = {entry.get("name") for part in PARTS for entry in _read(path).get(part) or []}
    if clash := taken & {plan.name, f"admin@{plan.name}"}:
        raise OpsError(
            f"{path} already has {', '.join(sorted(clash))}, from another cluster. Rename or "
            "remove it there, choose another cluster.name, or set mergeKubeconfig: false."
        )


def follow(plan: ClusterPlan, folder: Folder, merged: str | None) -> str | None:
    """Merge or remove the cluster, as the plan says; returns the file it is merged into, if any.

    Args:
        plan: the cluster's.
        folder: its private folder.
        merged: the file that it was merged into before.
    """
    if plan.settings.merge_kubeconfig == (merged is not None):
        return merged
    if merged is not None:
        take_out(merged, folder)
        return None
    if not folder.kubeconfig.exists():
        raise OpsError("there is no kubeconfig to merge: talosctl did not wait for Kubernetes")
    check_mergeable(plan)
    path = users_own()
    own, added = _read(path), _read(folder.kubeconfig)
    for part in PARTS:
        own[part] = [*(own.get(part) or []), *added[part]]
    own[CURRENT] = added[CURRENT]
    _write(path, {"apiVersion": "v1", "kind": "Config", **own})
    say(f"merged the cluster into {path}; the current context is now {added[CURRENT]}")
    return str(path)


def take_out(merged: str, folder: Folder) -> None:
    """Remove the cluster's entries that are still as they were merged."""
    path = Path(merged)
    if not path.exists():
        return
    if not folder.kubeconfig.exists():
        say(f"note: {folder.kubeconfig} is gone, so the cluster's entries stay in {path}")
        return
    own, added = _read(path), _read(folder.kubeconfig)
    if not any(entry in (own.get("clusters") or []) for entry in added["clusters"] or []):
        return  # there may be another cluster of this name now, whose context looks the same
    for part in PARTS:
        own[part] = [entry for entry in own.get(part) or [] if entry not in (added[part] or [])]
    if own.get(CURRENT) == added.get(CURRENT):
        own[CURRENT] = ""
    _write(path, own)
    say(f"removed the cluster from {path}")


def _read(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        return {}
    # ValueError: it is not text, or has an impossible date or number.
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise OpsError(f"{path} can't be read as a kubeconfig: {error}") from error
    if not isinstance(content or {}, dict):
        raise OpsError(f"{path} is not a kubeconfig: its content is not a mapping")
    return content or {}


def _write(path: Path, content: dict[str, Any]) -> None:
    """Replace the file in one step, readable by its owner only; a symlink stays a symlink."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_private(path.resolve(), yaml.safe_dump(content, sort_keys=False))
