"""The record of a cluster, kept between two runs of its command.

It is kept in two places: `owner.json` in the cluster's private folder has all of it, and the engine
keeps what the command printed, which is what `printed` returns.
"""

import json
from collections.abc import Mapping

import msgspec

from ops.errors import OpsError

VERSION = 1


class RecordError(OpsError):
    """A record can't be read; `why` and `fix` are its two sentences."""

    def __init__(self, why: str, fix: str) -> None:
        super().__init__(f"{why}. {fix}")
        self.why = why
        self.fix = fix


class ClusterRecord(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What was made of a cluster, and what its nodes were given.

    Attributes:
        owner: see `folder.owner_of`; absent from what the engine keeps.
        name: of the cluster.
        provisioner: `docker` or `qemu`.
        talosctl: the version that made it.
        node_version: of Talos on its nodes; None until the cluster is complete, and again once it
            has been given up.
        mirrors: host -> URL that the nodes' machine config has for it.
        patches: digest -> scope of the user's patches that the nodes have.
        network: id of its network in Docker.
        containers: ids of its nodes in Docker.
        merged_kubeconfig: the user's kubeconfig that it is merged into.
        identity: digest of what makes it this cluster and no other.
        logins: digest of the nodes' logins for registries.
        attempts: mirrors that updates tried to set on the nodes, the latest last.
        patched: node -> digests of patches that a failed update has applied to it.
    """

    owner: str | None = None
    name: str | None = None
    provisioner: str | None = None
    talosctl: str | None = None
    node_version: str | None = None
    mirrors: dict[str, str] = {}
    patches: dict[str, str] = {}
    network: str | None = None
    containers: tuple[str, ...] = ()
    merged_kubeconfig: str | None = None
    identity: str | None = None
    logins: str | None = None
    attempts: tuple[dict[str, str], ...] = ()
    patched: dict[str, tuple[str, ...]] = {}

    @property
    def is_complete(self) -> bool:
        """Whether its create succeeded, and it has not been given up since."""
        return self.node_version is not None

    @property
    def docker_ids(self) -> frozenset[str]:
        """Ids of its network and its nodes in Docker."""
        return frozenset(filter(None, (self.network, *self.containers)))

    @property
    def mirrors_that_may_be_set(self) -> tuple[Mapping[str, str], ...]:
        """The mirrors that its nodes have, and those that interrupted updates may have set."""
        return (self.mirrors, *self.attempts)


# Only in the private folder, which no one else can read.
PRIVATE = ("owner", "identity", "logins", "attempts", "patched")


def encode(record: ClusterRecord) -> str:
    """The content of `owner.json`."""
    return json.dumps({"version": VERSION, **_filled(record)})


def printed(record: ClusterRecord) -> str:
    """What the command prints for the engine to keep.

    This format is in users' states, and earlier releases read it: `mirrors`, `patches` and
    `mergedKubeconfig` are always there, `network` and `containers` only on Docker.
    """
    absent = PRIVATE if record.network else (*PRIVATE, "network", "containers")
    fields: dict[str, object] = msgspec.to_builtins(record)
    return json.dumps({name: value for name, value in fields.items() if name not in absent})


def decode(content: bytes | str, where: str, fix: str) -> ClusterRecord:
    """Read a record that this version, or an earlier one, has written.

    Args:
        content: JSON.
        where: it was read, for the message.
        fix: what to do if it can't be read.

    Raises:
        RecordError: it can't be read.
    """
    try:
        version = msgspec.json.decode(content, type=_Versioned).version
        if version > VERSION:
            why = (
                f"{where} was written by a later version of talos-cache (its version is {version}, "
                f"this one reads up to {VERSION})"
            )
            raise RecordError(why, "Update this checkout")
        return msgspec.json.decode(content, type=ClusterRecord)
    except msgspec.DecodeError as error:
        why = f"{where} can't be read as a cluster record: {error}"
        raise RecordError(why, fix) from error


class _Versioned(msgspec.Struct, frozen=True):
    """Records from before there were versions have the fields of version 1."""

    version: int = 1


def _filled(record: ClusterRecord) -> dict[str, object]:
    fields: dict[str, object] = msgspec.to_builtins(record)
    return {name: value for name, value in fields.items() if value not in (None, (), {}, [])}
