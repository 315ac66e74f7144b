"""Patches the live nodes of a cluster, and says which could not be reached.

All at once; but where nodes may reboot, control planes come last and one by one, each when the one
before it is back: etcd goes on as long as most of them run.
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
from ops.cluster.supervisor import Lifeline, say
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
# How long a node may take from its reboot until it answers, and what it runs is healthy.
REBOOT_SECONDS = 600
POLL_SECONDS = 2
LEFT_ALONE = "left as it is, because the control plane before it is not patched or not back"


def bring_up_to_date(
    cluster: Cluster, talosctl: Talosctl, previous: ClusterRecord, lifeline: Lifeline
) -> None:
    """Patch every node that is not as the plan says; those that are stay untouched.

    Args:
        cluster: whose nodes are patched.
        talosctl: that patches them.
        previous: what the run before this one has printed.
        lifeline: until when to go on.

    Raises:
        OpsError: names the nodes that could not be patched; the others are.
    """
    lifeline.check()
    plan, folder = cluster.plan, cluster.folder
    version = version_in(previous.node_version or "")
    assert version is not None  # noqa: S101 - written by `create`
    changed = changed_patches(plan, previous)
    refuse_reboot(plan, [patch.text for patch in changed], version)
    noted = _note_attempt(cluster)
    applied = _may_be_set(previous.mirrors, *noted.attempts[:-1])
    nodes = _Nodes(plan, folder, talosctl, applied, version, changed, noted.patched, lifeline)
    addresses = plan.settings.node_ips
    outcomes = _outcomes(plan, nodes)
    failed = [f"{address}: {why}" for address, why in zip(addresses, outcomes, strict=True) if why]
    if failed:
        done = [address for address, why in zip(addresses, outcomes, strict=True) if not why]
        patched = {node: nodes.digests_on(node) for node in {*done, *nodes.rebooted}}
        folder.record(replace(noted, patched={**noted.patched, **patched}))
        count = f"{len(failed)} of {len(addresses)} nodes could not be patched"
        advice = "Bring them back, then run it again; the others are up to date."
        raise OpsError("\n  ".join([f"{count}:", *failed]) + f"\n{advice}")
    # The engine may be ended before it has kept what this run says.
    done_now = replace(previous, owner=cluster.owner, attempts=noted.attempts[-1:])
    folder.record(marked(done_now, plan))


def digests(plan: ClusterPlan) -> dict[str, str]:
    """Which patches the nodes have: digest -> scope. The patches themselves may be secret."""
    return {_digest(patch): patch.scope for patch in plan.settings.patches}


def marked(record: ClusterRecord, plan: ClusterPlan) -> ClusterRecord:
    """With what `login_obstacle` compares; only for the owner's marker, nobody else reads that."""
    logins = sorted(auth_documents(plan.mirrors).items())
    return replace(record, identity=_hashed(identity(plan)), logins=_hashed(logins))


def login_obstacle(plan: ClusterPlan, recorded: ClusterRecord | None) -> str | None:
    """Why live nodes can't take the plan's logins; None if they can.

    It is told before anything changes: the caches would have the new login, and the nodes not.

    Args:
        plan: of the cluster.
        recorded: of the cluster that there is, in its folder; None if there is none.
    """
    if recorded is None:
        return None
    wanted = marked(recorded, plan)
    if recorded.identity != wanted.identity or recorded.logins == wanted.logins:
        return None
    version = version_in(recorded.node_version or "")
    if version is None or version.release >= LIVE_AUTH_FROM or plan.settings.may_reboot:
        return None
    return f"The cluster {plan.name}: {_needs_reboot(plan, version)}"


def changed_patches(plan: ClusterPlan, previous: ClusterRecord) -> tuple[Patch, ...]:
    """The user's patches that have not been applied yet.

    One that was taken out of the stack file can't be taken back from a node: a patch says what to
    set, not what was there before.
    """
    if gone := set(previous.patches) - set(digests(plan)):
        say(
            f"note: {len(gone)} patch(es) changed or left the stack; what they have set on the "
            "nodes stays until it is set again, or the cluster is made anew"
        )
    return tuple(patch for patch in plan.settings.patches if _digest(patch) not in previous.patches)


def _outcomes(plan: ClusterPlan, nodes: "_Nodes") -> list[str | None]:
    """Why each node could not be patched; None: it is; in the order of their addresses."""
    addresses = plan.settings.node_ips
    by_turns = plan.settings.control_planes if plan.settings.may_reboot else 0
    with ThreadPoolExecutor(max_workers=AT_ONCE) as pool:
        at_once = list(pool.map(nodes.outcome, addresses[by_turns:]))
    in_turn: list[str | None] = []
    for address in addresses[:by_turns]:
        in_turn.append(LEFT_ALONE if any(in_turn) else nodes.outcome(address))
    return [*in_turn, *at_once]


def _note_attempt(cluster: Cluster) -> ClusterRecord:
    """Note what will be set, before it is; returns all that is noted, this attempt the last.

    The engine forgets the output of a run that fails, and that run may have patched some nodes.
    """
    recorded = cluster.recorded() or ClusterRecord(owner=cluster.owner)
    wanted = {mirror.host: mirror.url for mirror in cluster.plan.mirrors}
    noted = replace(recorded, attempts=(*recorded.attempts, wanted))
    cluster.folder.record(noted)
    return noted


def _may_be_set(*runs: Mapping[str, str]) -> dict[str, set[str]]:
    """Host -> every URL that one of these runs has, or may have, set."""
    found: dict[str, set[str]] = {}
    for mirrors in runs:
        for host, url in mirrors.items():
            found.setdefault(host, set()).add(url)
    return found


class _Nodes:
    """What patching one node takes; the same for all of them."""

    def __init__(
        self,
        plan: ClusterPlan,
        folder: Folder,
        talosctl: Talosctl,
        applied: Mapping[str, Collection[str]],
        version: Version,
        changed: Sequence[Patch],
        had: Mapping[str, Collection[str]],
        lifeline: Lifeline,
    ) -> None:
        self.rebooted: list[str] = []  # patched, whether they came back or not
        self._plan = plan
        self._folder = folder
        self._talosctl = talosctl
        self._applied = applied
        self._version = version
        self._changed = changed
        self._had = had  # node -> digests of patches that a run which failed has applied to it
        self._lifeline = lifeline

    def outcome(self, node: str) -> str | None:
        """Patch a node; returns why it could not be."""
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
                # A patch only adds to a list: applied again, its items would stand there twice.
                and _digest(patch) not in self._had.get(node, ())
            ]
            if mirrors or own:
                self._apply(node, [*mirrors, *own])
                say(f"  {node}: patched")
        except (OpsError, ValueError, subprocess.TimeoutExpired) as error:
            return why(error)
        return None

    def digests_on(self, node: str) -> tuple[str, ...]:
        """Digests of the changed patches that a node has, now that its outcome was good."""
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
        said = _ask(patch_argv(where, node, mode), self._folder, NODE_SECONDS).stderr
        if reboots(said):
            self.rebooted.append(node)
            self._wait_for_reboot(node, boot)

    def _boot(self, node: str) -> str:
        where = place(self._talosctl, self._folder)
        return _talk(boot_argv(where, node), self._folder, NODE_SECONDS).strip()

    def _wait_for_reboot(self, node: str, boot: str) -> None:
        say(f"  {node}: reboots")
        deadline = time.monotonic() + REBOOT_SECONDS
        while not self._is_back(node, boot):
            self._lifeline.check()
            if time.monotonic() > deadline:
                raise OpsError(f"patched, but not back {REBOOT_SECONDS} s after it was rebooted")
            time.sleep(POLL_SECONDS)

    def _is_back(self, node: str, boot: str) -> bool:
        """Whether it has booted since, and takes part in etcd again where it has one."""
        try:
            if self._boot(node) == boot:
                return False
            if not self._is_control_plane(node):
                return True
            argv = service_argv(place(self._talosctl, self._folder), node, "etcd")
            return _is_healthy(_talk(argv, self._folder, NODE_SECONDS))
        except (OpsError, subprocess.TimeoutExpired):
            return False  # as long as it boots


def node_config(
    talosctl: Talosctl, folder: Folder, node: str, seconds: float
) -> list[dict[str, Any]]:
    """The documents of a node's machine config.

    Raises:
        OpsError: it can't be read; with what talosctl said.
        subprocess.TimeoutExpired: the node did not answer within these seconds.
    """
    return config_documents(_talk(read_config_argv(place(talosctl, folder), node), folder, seconds))


def _is_healthy(printed: str) -> bool:
    resources = [item for item in yaml.safe_load_all(printed) if isinstance(item, dict)]
    return any(resource.get("spec", {}).get("healthy") is True for resource in resources)


def _talk(argv: Sequence[str], folder: Folder, seconds: float) -> str:
    """What talosctl prints when it talks to a node."""
    return _ask(argv, folder, seconds).stdout


def _ask(argv: Sequence[str], folder: Folder, seconds: float) -> subprocess.CompletedProcess[str]:
    """Have talosctl talk to a node; also what it says beside what it prints."""
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
    raise OpsError("it shows no machine config")


def refuse_reboot(plan: ClusterPlan, patches: Iterable[str], version: Version) -> None:
    """Stop before a patch that nodes take only when they reboot, unless they may.

    Raises:
        OpsError: it says how to let them.
    """
    if plan.settings.may_reboot or not any(needs_reboot(patch, version) for patch in patches):
        return
    raise OpsError(_needs_reboot(plan, version))


def _needs_reboot(plan: ClusterPlan, version: Version) -> str:
    way_out = (
        "Write cluster.allowReboot: true to let them reboot, or make the cluster anew"
        if plan.settings.can_reboot
        else "A node on Docker can't reboot. Make the cluster anew"
    )
    return (
        f"the login of a registry changes, and nodes of Talos {version} take it only when they "
        f"reboot. {way_out}: {plan.made_anew}"
    )


def _hashed(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _digest(patch: Patch) -> str:
    return hashlib.sha256(f"{patch.scope}\n{patch.text}".encode()).hexdigest()[:16]


def why(error: Exception) -> str:
    """Why a node could not be talked to, in words."""
    if isinstance(error, subprocess.TimeoutExpired):
        return f"no answer within {error.timeout:g} s"
    return str(error)
