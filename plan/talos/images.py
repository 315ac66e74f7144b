"""Images of Talos clusters."""

from collections.abc import Iterable, Sequence

from plan.settings.cluster import ClusterSettings
from plan.talos.versions import (
    USUAL,
    Version,
    version_in,
)

NODE_IMAGE = "ghcr.io/siderolabs/talos"
INSTALLER = "ghcr.io/siderolabs/installer"
FACTORY = "factory.talos.dev"
# The image factory's schematic without extensions.
EMPTY_SCHEMATIC = "376567988ad370138ad8b2698212367b8edcb69b5fd68c80be1f2ec7d603b4ba"
# The preset with an installer of its own.
SECURE_BOOT = "iso-secureboot"
# Images tagged with the Kubernetes version, in any registry.
_OF_KUBERNETES = frozenset(
    ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy", "kubelet")
)


def node_image(cluster: ClusterSettings, talosctl: Version) -> str:
    """The image of Docker nodes."""
    return cluster.image or f"{NODE_IMAGE}:{cluster.talos_version or talosctl}"


def installer_image(cluster: ClusterSettings, talosctl: Version) -> str:
    """The installer image of VMs, which they pull through the caches."""
    version = cluster.talos_version or talosctl
    if talosctl.is_family_b:
        secure = "-secureboot" if SECURE_BOOT in cluster.presets else ""
        return f"{FACTORY}/metal-installer{secure}/{cluster.schematic or EMPTY_SCHEMATIC}:{version}"
    installer = f"{FACTORY}/installer/{cluster.schematic}" if cluster.schematic else INSTALLER
    return f"{installer}:{version}"


def system_image(cluster: ClusterSettings, talosctl: Version) -> str:
    """The system image of nodes, with either provisioner."""
    of_nodes = {"docker": node_image, "qemu": installer_image}[cluster.provisioner]
    return of_nodes(cluster, talosctl)


def image_list_argv(program: str, talosctl: Version, version: str) -> list[str] | str:
    """The line that lists the images of a Talos version; or a message why there is none.

    Args:
        program: path of talosctl.
        talosctl: its version.
        version: of Talos, as in v1.13.0.
    """
    nodes = version_in(version)
    if nodes is None:
        return f"'{version}' is not a Talos version: write for instance {USUAL}"
    if nodes.release != talosctl.release:
        release = ".".join(map(str, nodes.release))
        return (
            f"only talosctl {release} knows the images of Talos {version}, but {talosctl} is on "
            f"PATH: install {release}, or give a list of images"
        )
    return [program, "image", "k8s-bundle" if talosctl.is_family_b else "default"]


def with_kubernetes(names: Iterable[str], kubernetes: str) -> list[str]:
    """A list for another Kubernetes version than talosctl's default.

    talosctl has a flag for this, `--k8s-version`, only from 1.13 on; it changes the same images.

    Args:
        names: of images, as talosctl lists them.
        kubernetes: as in v1.36.0, or without the v; empty for talosctl's default.
    """
    if not kubernetes:
        return list(names)
    parts = (name.rpartition(":") for name in names)
    tag = f"v{kubernetes.removeprefix('v')}"
    return [
        f"{repository}:{tag if repository.rpartition('/')[2] in _OF_KUBERNETES else own}"
        for repository, _, own in parts
    ]


def nodes_images_argv(
    program: str, talosconfig: str, nodes: Sequence[str], namespace: str
) -> list[str]:
    """The line that lists the images on live nodes; namespace "system" or "cri"."""
    access = ["--talosconfig", talosconfig, "--nodes", ",".join(nodes)]
    return [program, *access, "image", "list", "--namespace", namespace]


def node_images(printed: str) -> list[str]:
    """The tagged images in the output of `talosctl image list`, each once."""
    lines = [line.split() for line in printed.splitlines()]
    # Without images, talosctl from 1.13 on does not even print the heading.
    if not lines or "IMAGE" not in lines[0]:
        return []
    column = lines[0].index("IMAGE")
    names = (line[column] for line in lines[1:] if len(line) > column)
    return list(dict.fromkeys(name for name in names if "@" not in name and "/" in name))
