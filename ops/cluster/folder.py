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

    Paths are short: QEMU's sockets lie below `state`, and a socket's path has at most 107 bytes.
    """

    path: Path

    @property
    def state(self) -> Path:
        """Belongs to talosctl: its destroy removes all of it. Beside the others, to be short."""
        name = hashlib.sha256(str(self.path).encode()).hexdigest()[:8]
        return self.path.parent.parent / name

    @property
    def work(self) -> Path:
        """Current directory of talosctl, which writes secrets into it, and our patches."""
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
        """Written before anything is made: what is found of the cluster later is this stack's."""
        return self.path / MARKER

    def prepare(self, owner: str) -> None:
        """Make it, empty but for the marker."""
        folders = (self.path.parent.parent, self.path.parent, self.path, self.work, self.state)
        for path in folders:
            private_folder(path)
        self.record(ClusterRecord(owner=owner))

    def record(self, record: ClusterRecord) -> None:
        """Note what has been made so far."""
        self.write(self.marker, encode(record))

    def recorded(self, owner: str) -> ClusterRecord | None:
        """What is noted of the cluster; None if there is none of this owner's.

        Raises:
            RecordError: it can't be read.
        """
        try:
            content = self.marker.read_bytes()
        except FileNotFoundError:
            return None
        fix = f"Remove the cluster by hand, then the folder {self.path}"
        noted = decode(content, str(self.marker), fix)
        return noted if noted.owner == owner else None

    def is_complete(self, owner: str) -> bool:
        """Whether its owner has made it to its end, whatever the state says."""
        noted = self.recorded(owner)
        return noted is not None and noted.is_complete

    def give_up(self, owner: str) -> None:
        """Note that the cluster is not wanted as it is: the next create removes it first."""
        if noted := self.recorded(owner):
            self.record(replace(noted, node_version=None))

    def write(self, path: Path, text: str) -> None:
        """Write a file that only its owner can read."""
        write_private(path, text)

    def remove(self) -> None:
        """Remove it, and the folders above it that are empty then."""
        for path in (self.state, self.path):
            if path.exists():
                shutil.rmtree(path)
        for parent in (self.path.parent, self.path.parent.parent):
            # It refuses where something is in it, and another cluster may have just removed it.
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
    """Names a stack among all that may use this machine, by where its state is kept.

    True for a state that has made nothing yet, and as long as it is neither renamed nor moved.
    """
    where = f"{state_url()}\n{PROJECT}\n{stack}"
    return f"{stack}-{hashlib.sha256(where.encode()).hexdigest()[:12]}"


def know(stack: str, identity: str) -> None:
    """From here on this process knows a stack by the identity that its state has recorded."""
    _recorded[stack] = identity


def identity_of(stack: str) -> str:
    """Names a stack's state among all that may use this machine, whatever its name is by now."""
    return _recorded.get(stack) or usual_identity(stack)


def is_moved(stack: str) -> bool:
    """Whether nobody comes to that any more by the stack's name and its state's place."""
    return identity_of(stack) != usual_identity(stack)


def owner_of(stack: str) -> str:
    """The part of a stack's identity that tells it from others of its name."""
    return ownership.parts(identity_of(stack))[1]


def folder_of(stack: str, cluster: str) -> Folder:
    """The private folder of a stack's cluster."""
    return Folder(states_of(stack) / cluster)


def clusters_beside(folder: Path) -> list[str]:
    """Names of the clusters that have a folder of their own in this one.

    What else a stack keeps to itself lies there too: files and folders that are no cluster's.

    Args:
        folder: of a stack, see `states_of`; it may be missing.
    """
    return sorted(marker.parent.name for marker in folder.glob(f"*/{MARKER}"))


def states_of(stack: str) -> Path:
    """The folder for all that a stack keeps to itself on this machine."""
    name, digits = ownership.parts(identity_of(stack))
    return all_folders() / f"{name}-{digits[:6]}"


def all_folders() -> Path:
    """Where the private folders of all stacks are."""
    return user_state()


def lock_of(stack: str, cluster: str) -> Path:
    """A file to lock while something works on the cluster; outside of what that work removes."""
    return user_cache() / "locks" / f"{identity_of(stack)}-{cluster}.lock"


def image_lock() -> Path:
    """A file to lock while a node image gets its usual name."""
    return user_cache() / "locks" / "node-image.lock"


def talos_home() -> Path:
    """What all clusters of this user share: boot images and CNI plugins that talosctl fetches."""
    return user_cache() / "talos-home"
