"""The private folder of a cluster, and whose it is."""

import hashlib
import shlex
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from msgspec.structs import replace

from host.paths import user_cache, user_state
from host.private_files import private_folder, write_private
from host.pulumi_backend import state_url
from ops.cluster.record import ClusterRecord, decode, encode
from ops.stack.stack_files import PROJECT
from plan import ownership

# In a cluster's folder: whose it is, and what has been made so far.
MARKER = "owner.json"
# Stack -> the identity that its state has recorded.
_recorded: dict[str, str] = {}


@dataclass(frozen=True)
class Folder:
    """Everything that talosctl reads and writes for one cluster, readable by its owner only.

    Paths are short: QEMU's sockets are below `state`, and a socket's path has at most 107 bytes.
    """

    path: Path

    @property
    def state(self) -> Path:
        """Belongs to talosctl, whose destroy removes all of it. Not in `path`, to keep it short."""
        name = hashlib.sha256(str(self.path).encode()).hexdigest()[:8]
        return self.path.parent.parent / name

    @property
    def work(self) -> Path:
        """Working directory of talosctl, which writes secrets into it; our patches are here too."""
        return self.path / "work"

    @property
    def talosconfig(self) -> Path:
        """Access to the nodes."""
        return self.path / "talosconfig"

    @property
    def kubeconfig(self) -> Path:
        """Access to Kubernetes."""
        return self.path / "kubeconfig"

    @property
    def marker(self) -> Path:
        """Written before anything is created: it proves later whose the cluster is."""
        return self.path / MARKER

    def prepare(self, owner: str) -> None:
        """Create it, empty except for the marker."""
        folders = (self.path.parent.parent, self.path.parent, self.path, self.work, self.state)
        for path in folders:
            private_folder(path)
        self.record(ClusterRecord(owner=owner))

    def record(self, record: ClusterRecord) -> None:
        """Record what has been made so far."""
        self.write(self.marker, encode(record))

    def recorded(self, owner: str) -> ClusterRecord | None:
        """The cluster's record; None if this owner has no such cluster.

        Raises:
            RecordError: it can't be read.
        """
        try:
            content = self.marker.read_bytes()
        except FileNotFoundError:
            return None
        fix = f"Remove the cluster by hand, then the folder {self.path}"
        record = decode(content, str(self.marker), fix)
        return record if record.owner == owner else None

    def is_complete(self, owner: str) -> bool:
        """Whether its owner has completed it, whatever the stack's state says."""
        record = self.recorded(owner)
        return record is not None and record.is_complete

    def give_up(self, owner: str) -> None:
        """Record that the cluster is not to be kept: the next create removes it first."""
        if record := self.recorded(owner):
            self.record(replace(record, node_version=None))

    def write(self, path: Path, text: str) -> None:
        """Write a file that only its owner can read."""
        write_private(path, text)

    def remove(self) -> None:
        """Remove it, and the folders above it that are then empty."""
        for path in (self.state, self.path):
            if path.exists():
                shutil.rmtree(path)
        for parent in (self.path.parent, self.path.parent.parent):
            # Not empty; or another cluster has just removed it.
            with suppress(OSError):
                parent.rmdir()


def access(stack: str, clusters: Sequence[str]) -> dict[str, dict[str, str]]:
    """Cluster -> its talosconfig, its kubeconfig, and the shell line that uses them."""
    folders = {name: folder_of(stack, name) for name in clusters}
    return {
        name: {
            "talosconfig": str(folder.talosconfig),
            "kubeconfig": str(folder.kubeconfig),
            "use": f"export TALOSCONFIG={shlex.quote(str(folder.talosconfig))} "
            f"KUBECONFIG={shlex.quote(str(folder.kubeconfig))}",
        }
        for name, folder in folders.items()
    }


def usual_identity(stack: str) -> str:
    """Identifies a stack among all that may use this machine, by where its state is kept.

    Valid for a state that has made nothing yet, and until it is renamed or moved.
    """
    where = f"{state_url()}\n{PROJECT}\n{stack}"
    return f"{stack}-{hashlib.sha256(where.encode()).hexdigest()[:12]}"


def know(stack: str, identity: str) -> None:
    """Use the identity that a stack's state has recorded, from here on in this process."""
    _recorded[stack] = identity


def identity_of(stack: str) -> str:
    """Identifies a stack's state among all that may use this machine, even after a rename."""
    return _recorded.get(stack) or usual_identity(stack)


def is_moved(stack: str) -> bool:
    """Whether the stack was renamed, or its state moved, since that identity was recorded."""
    return identity_of(stack) != usual_identity(stack)


def owner_of(stack: str) -> str:
    """The part of a stack's identity that distinguishes it from others of the same name."""
    return ownership.parts(identity_of(stack))[1]


def folder_of(stack: str, cluster: str) -> Folder:
    """The private folder of a stack's cluster."""
    return Folder(states_of(stack) / cluster)


def clusters_beside(folder: Path) -> list[str]:
    """Names of the clusters that have a folder of their own in this one.

    The stack's other private files are there too.

    Args:
        folder: of a stack, see `states_of`; it may be missing.
    """
    return sorted(marker.parent.name for marker in folder.glob(f"*/{MARKER}"))


def states_of(stack: str) -> Path:
    """The folder for a stack's private files on this machine."""
    name, digits = ownership.parts(identity_of(stack))
    return all_folders() / f"{name}-{digits[:6]}"


def all_folders() -> Path:
    """Where the private folders of all stacks are."""
    return user_state()


def lock_of(stack: str, cluster: str) -> Path:
    """The lock file for work on a cluster; outside its folder, which that work may remove."""
    return user_cache() / "locks" / f"{identity_of(stack)}-{cluster}.lock"


def image_lock() -> Path:
    """The lock file for pulling and tagging node images."""
    return user_cache() / "locks" / "node-image.lock"


def talos_home() -> Path:
    """Shared by all clusters of this user: boot images and CNI plugins that talosctl fetches."""
    return user_cache() / "talos-home"
