"""Versions of talosctl and Talos, and the first ones with certain features."""

import re
from dataclasses import dataclass, field

from plan.settings.cluster import ClusterSettings

OLDEST = (1, 10)
# The first talosctl with a command per provisioner; also the first Talos that reads documents.
FAMILY_B_FROM = (1, 12)
NEWEST = (1, 14)
# The first Talos whose CRI takes new registry credentials without a reboot.
LIVE_AUTH_FROM = (1, 14)
# The first talosctl without the mode `reboot`.
NO_REBOOT_MODE_FROM = (1, 14)
# The first talosctl whose create does not wait for nodes without a CNI to become ready.
LEAVES_CNI_OUT_FROM = (1, 13)
# For the printed line and for examples, if the stack names no Talos version.
USUAL = "v1.13.0"
USUAL_KUBERNETES = "v1.36.0"
USUAL_ARCHITECTURE = "amd64"


@dataclass(frozen=True, order=True)
class Version:
    """A release of talosctl or Talos.

    Attributes:
        prerelease: such as "-rc.1"; not compared: its flags and formats are those of the release.
    """

    major: int
    minor: int
    patch: int
    prerelease: str = field(default="", compare=False)

    def __str__(self) -> str:
        return f"v{self.major}.{self.minor}.{self.patch}{self.prerelease}"

    @property
    def release(self) -> tuple[int, int]:
        """Major and minor."""
        return self.major, self.minor

    @property
    def is_family_b(self) -> bool:
        """Whether this talosctl has a command per provisioner."""
        return self.release >= FAMILY_B_FROM

    @property
    def reads_documents(self) -> bool:
        """Whether nodes of this version read mirrors as documents."""
        return self.release >= FAMILY_B_FROM


def version_in(text: str) -> Version | None:
    """The first version in a text, such as a tag or the output of talosctl."""
    match = re.search(r"\bv?(\d+)\.(\d+)\.(\d+)(-(?:alpha|beta|rc)\.\d+)?", text)
    if match is None:
        return None
    major, minor, patch, prerelease = match.groups(default="")
    return Version(int(major), int(minor), int(patch), prerelease)


def node_version(cluster: ClusterSettings, talosctl: Version) -> Version:
    """The Talos version of the nodes: the configured one, or else talosctl's own."""
    for text in (cluster.talos_version, cluster.image_version):
        if text and (version := version_in(text)):
            return version
    return talosctl
