"""Patches the live nodes of a cluster, and names those that could not be patched.

All at once. If nodes may reboot, control planes come last and one by one, each once the one before
it is back: etcd needs most of them.
"""

import hashlib
import json
import subprocess
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import yaml
from msgspec.structs import replace

from ops.cluster.folder import Folder
from ops.cluster.provisioner import Cluster
from ops.cluster.record import ClusterRecord
from ops.cluster.supervisor import Supervisor, say
from ops.cluster.talosctl import Talosctl, environment, place
from ops.errors import OpsError
from plan.settings.patches import Patch
from plan.talos import mirror_updates
from plan.talos.cluster import ClusterPlan
from plan.talos.cluster_transport import identity
from plan.talos.mirrors import auth_documents, patch_documents
from plan.talos.node_commands import (
    boot_argv,
    needs_reboot,
    patch_argv,
    patch_mode,
    read_config_argv,
    reboots,
    service_argv,
)
from plan.talos.versions import (
    LIVE_AUTH_FROM,
    Version,
    version_in,
)

NODE_SECONDS = 30
AT_ONCE = 8
# How long a node may take to answer again after a reboot, with a healthy etcd.
REBOOT_SECONDS = 600
POLL_SECONDS = 2
LEFT_ALONE = "not patched, because the control plane before it failed or is not back"


def bring_up_to_date(
    cluster: Cluster, talosctl: Talosctl, previous: ClusterRecord, supervisor: Supervisor
) -> None:
    """Patch every node that differs from the plan; the others stay untouched.

    Args:
        cluster: whose nodes to patch.
        talosctl: patches them.
        previous: what the run before this one printed.
        supervisor: says when to stop.

    Raises:
        OpsError: names the nodes that could not be patched; the others are.
    """
    supervisor.check()
    plan, folder = cluster.plan, cluster.folder
    version = version_in(previous.node_version or "")
    assert version is not None  # noqa: S101 - written by `create`
    changed = changed_patches(plan, previous)
    refuse_reboot(plan, [patch.text for patch in changed], version)
    recorded = _record_attempt(cluster)
    applied = _may_be_set(previous.mirrors, *recorded.attempts[:-1])
    nodes = _Nodes(plan, folder, talosctl, applied, version, changed, recorded.patched, supervisor)
    addresses = plan.settings.node_ips
    outcomes = _outcomes(plan, nodes)
    failed = [f"{address}: {why}" for address, why in zip(addresses, outcomes, strict=True) if why]
    if failed:
        done = [address for address, why in zip(addresses, outcomes, strict=True) if not why]
        patched = {node: nodes.digests_on(node) for node in {*done, *nodes.rebooted}}
        folder.record(replace(recorded, patched={**recorded.patched, **patched}))
        count = f"{len(failed)} of {len(addresses)} nodes could not be patched"
        advice = "Bring them back, then run this again; the others are up to date."
        raise OpsError("\n  ".join([f"{count}:", *failed]) + f"\n{advice}")
    # The engine may be killed before it has saved what this run prints.
    done_now = replace(previous, owner=cluster.owner, attempts=recorded.attempts[-1:])
    folder.record(marked(done_now, plan))


def digests(plan: ClusterPlan) -> dict[str, str]:
    """The patches that the nodes have: digest -> scope. The patches themselves may be secret."""
    return {_digest(patch): patch.scope for patch in plan.settings.patches}


def marked(record: ClusterRecord, plan: ClusterPlan) -> ClusterRecord:
    """The record with what `login_obstacle` compares; only for the marker, which is private."""
    logins = sorted(auth_documents(plan.mirrors).items())
    return replace(record, identity=_hashed(identity(plan)), logins=_hashed(logins))


def login_obstacle(plan: ClusterPlan, recorded: ClusterRecord | None) -> str | None:
    """Why live nodes can't take the plan's logins; None if they can.

    To be checked before anything changes: otherwise the caches have the new login, but not the
    nodes.

    Args:
        plan: the cluster's.
        recorded: in the cluster's folder; None if there is no cluster yet.
    """
    if recorded is None:
        return None
    current = marked(recorded, plan)
    if recorded.identity != current.identity or recorded.logins == current.logins:
        return None
    version = version_in(recorded.node_version or "")
    if version is None or version.release >= LIVE_AUTH_FROM or plan.settings.may_reboot:
        return None
    return f"The cluster {plan.name}: {_needs_reboot(plan, version)}"


def changed_patches(plan: ClusterPlan, previous: ClusterRecord) -> tuple[Patch, ...]:
    """The user's patches that have not been applied yet.

    One that was removed from the stack file can't be undone on a node: a patch says what to set,
    not what was there before.
    """
    if gone := set(previous.patches) - set(digests(plan)):
        say(
            f"note: {len(gone)} patch(es) were changed or removed; what they have set on the "
            "nodes stays until it is set again, or the cluster is recreated"
        )
    return tuple(patch for patch in plan.settings.patches if _digest(patch) not in previous.patches)


def _outcomes(plan: ClusterPlan, nodes: "_Nodes") -> list[str | None]:
    """Why each node could not be patched, or None; in the order of their addresses."""
    addresses = plan.settings.node_ips
    one_by_one = plan.settings.control_planes if plan.settings.may_reboot else 0
    with ThreadPoolExecutor(max_workers=AT_ONCE) as pool:
        at_once = list(pool.map(nodes.outcome, addresses[one_by_one:]))
    in_turn: list[str | None] = []
    for address in addresses[:one_by_one]:
        in_turn.append(LEFT_ALONE if any(in_turn) else nodes.outcome(address))
    return [*in_turn, *at_once]


def _record_attempt(cluster: Cluster) -> ClusterRecord:
    """Record what will be set, before it is; returns the whole record, this attempt the last.

    The engine discards the output of a run that fails, and that run may have patched some nodes.
    """
    recorded = cluster.recorded() or ClusterRecord(owner=cluster.owner)
    mirrors = {mirror.host: mirror.url for mirror in cluster.plan.mirrors}
    record = replace(recorded, attempts=(*recorded.attempts, mirrors))
    cluster.folder.record(record)
    return record


def _may_be_set(*runs: Mapping[str, str]) -> dict[str, set[str]]:
    """Host -> every URL that one of these runs has, or may have, set."""
    urls: dict[str, set[str]] = {}
    for mirrors in runs:
        for host, url in mirrors.items():
            urls.setdefault(host, set()).add(url)
    return urls


class _Nodes:
    """Patches one node at a time, with what is the same for all of them."""

    def __init__(
        self,
        plan: ClusterPlan,
        folder: Folder,
        talosctl: Talosctl,
        applied: Mapping[str, Collection[str]],
        version: Version,
        changed: Sequence[Patch],
        had: Mapping[str, Collection[str]],
        supervisor: Supervisor,
    ) -> None:
        self.rebooted: list[str] = []  # patched, whether they came back or not
        self._plan = plan
        self._folder = folder
        self._talosctl = talosctl
        self._applied = applied
        self._version = version
        self._changed = changed
        self._had = had  # node -> digests of patches that a failed run has applied to it
        self._supervisor = supervisor

    def outcome(self, node: str) -> str | None:
        """Patch a node; returns why it could not be patched, or None."""
        try:
            config = node_config(self._talosctl, self._folder, node, NODE_SECONDS)
            mirrors = mirror_updates.patches(
                config,
                self._plan.mirrors,
                self._applied,
                documents=self._version.reads_documents,
            )
            refuse_reboot(self._plan, mirrors, self._version)
            own = [
                patch.text
                for patch in self._changed
                if patch.scope in self._scopes(node)
                # A patch appends to a list: applied again, its items would be there twice.
                and _digest(patch) not in self._had.get(node, ())
            ]
            if mirrors or own:
                self._apply(node, [*mirrors, *own])
                say(f"  {node}: patched")
        except (OpsError, ValueError, subprocess.TimeoutExpired) as error:
            return why(error)
        return None

    def digests_on(self, node: str) -> tuple[str, ...]:
        """Digests of the changed patches that a node has once it is patched."""
        return tuple(sorted({*self._had.get(node, ()), *map(_digest, self._changed)}))

    def _scopes(self, node: str) -> tuple[str, ...]:
        return ("all", "controlPlanes" if self._is_control_plane(node) else "workers")

    def _is_control_plane(self, node: str) -> bool:
        settings = self._plan.settings
        return node in settings.node_ips[: settings.control_planes]

    def _apply(self, node: str, texts: Sequence[str]) -> None:
        files = []
        for index, text in enumerate(texts):
            file = self._folder.work / f"live-{node}-{index}.yaml"
            self._folder.write(file, text)
            files.append(("all", str(file)))
        allow = self._plan.settings.may_reboot
        mode = patch_mode(self._talosctl.version, self._version, texts, allow_reboot=allow)
        where = place(self._talosctl, self._folder, tuple(files))
        boot = self._boot(node) if allow else ""
        message = _run(patch_argv(where, node, mode), self._folder, NODE_SECONDS).stderr
        if reboots(message):
            self.rebooted.append(node)
            self._wait_for_reboot(node, boot)

    def _boot(self, node: str) -> str:
        where = place(self._talosctl, self._folder)
        return _output(boot_argv(where, node), self._folder, NODE_SECONDS).strip()

    def _wait_for_reboot(self, node: str, boot: str) -> None:
        say(f"  {node}: rebooting")
        deadline = time.monotonic() + REBOOT_SECONDS
        while not self._is_back(node, boot):
            self._supervisor.check()
            if time.monotonic() > deadline:
                raise OpsError(f"patched, but not back {REBOOT_SECONDS} s after its reboot")
            time.sleep(POLL_SECONDS)

    def _is_back(self, node: str, boot: str) -> bool:
        """Whether it has booted again and, if it is a control plane, its etcd is healthy."""
        try:
            if self._boot(node) == boot:
                return False
            if not self._is_control_plane(node):
                return True
            argv = service_argv(place(self._talosctl, self._folder), node, "etcd")
            return _is_healthy(_output(argv, self._folder, NODE_SECONDS))
        except (OpsError, subprocess.TimeoutExpired):
            return False  # it is still booting


def node_config(
    talosctl: Talosctl, folder: Folder, node: str, seconds: float
) -> list[dict[str, Any]]:
    """The documents of a node's machine config.

    Raises:
        OpsError: it can't be read; with talosctl's message.
        subprocess.TimeoutExpired: the node did not answer within these seconds.
    """
    argv = read_config_argv(place(talosctl, folder), node)
    return config_documents(_output(argv, folder, seconds))


def _is_healthy(printed: str) -> bool:
    resources = [item for item in yaml.safe_load_all(printed) if isinstance(item, dict)]
    return any(resource.get("spec", {}).get("healthy") is True for resource in resources)


def _output(argv: Sequence[str], folder: Folder, seconds: float) -> str:
    """What talosctl prints about a node."""
    return _run(argv, folder, seconds).stdout


def _run(argv: Sequence[str], folder: Folder, seconds: float) -> subprocess.CompletedProcess[str]:
    """Run talosctl against a node; for what it prints on either stream."""
    done = subprocess.run(
        argv,
        env=environment(folder),
        cwd=folder.work,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=seconds,
    )
    if done.returncode != 0:
        lines = (done.stderr or done.stdout).strip().splitlines()
        raise OpsError(lines[-1] if lines else f"talosctl ended with {done.returncode}")
    return done


def config_documents(printed: str) -> list[dict[str, Any]]:
    """The documents of a machine config, from what `talosctl get machineconfig -o yaml` prints."""
    for resource in yaml.safe_load_all(printed):
        spec = resource.get("spec") if isinstance(resource, dict) else None
        if isinstance(spec, str):
            return patch_documents(spec)
        if isinstance(spec, dict):
            return [spec]
    raise OpsError("it returned no machine config")


def refuse_reboot(plan: ClusterPlan, patches: Iterable[str], version: Version) -> None:
    """Stop before a patch that only takes effect after a reboot, unless nodes may reboot.

    Raises:
        OpsError: says how to let them.
    """
    if plan.settings.may_reboot or not any(needs_reboot(patch, version) for patch in patches):
        return
    raise OpsError(_needs_reboot(plan, version))


def _needs_reboot(plan: ClusterPlan, version: Version) -> str:
    way_out = (
        "Set cluster.allowReboot: true to let them reboot, or recreate the cluster"
        if plan.settings.can_reboot
        else "A node on Docker can't reboot. Recreate the cluster"
    )
    return (
        f"the login of a registry changes, and nodes with Talos {version} apply it only when "
        f"they reboot. {way_out}: {plan.made_anew}"
    )


def _hashed(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _digest(patch: Patch) -> str:
    return hashlib.sha256(f"{patch.scope}\n{patch.text}".encode()).hexdigest()[:16]


def why(error: Exception) -> str:
    """Why a node could not be reached, as text."""
    if isinstance(error, subprocess.TimeoutExpired):
        return f"no answer within {error.timeout:g} s"
    return str(error)
