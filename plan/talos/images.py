"""Images that Talos clusters are made of."""

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
# The image factory's name for "nothing added".
EMPTY_SCHEMATIC = "376567988ad370138ad8b2698212367b8edcb69b5fd68c80be1f2ec7d603b4ba"
# The preset whose installer is another one.
SECURE_BOOT = "iso-secureboot"
# What has the version of Kubernetes as its tag, whatever the registry.
_OF_KUBERNETES = frozenset(
    ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy", "kubelet")
)


def node_image(cluster: ClusterSettings, talosctl: Version) -> str:
    """The image of Docker nodes."""
    return cluster.image or f"{NODE_IMAGE}:{cluster.talos_version or talosctl}"


def installer_image(cluster: ClusterSettings, talosctl: Version) -> str:
    """The image that a VM installs itself from, and pulls through the caches for that."""
    version = cluster.talos_version or talosctl
    if talosctl.is_family_b:
        secure = "-secureboot" if SECURE_BOOT in cluster.presets else ""
        return f"{FACTORY}/metal-installer{secure}/{cluster.schematic or EMPTY_SCHEMATIC}:{version}"
    installer = f"{FACTORY}/installer/{cluster.schematic}" if cluster.schematic else INSTALLER
    return f"{installer}:{version}"


def system_image(cluster: ClusterSettings, talosctl: Version) -> str:
    """The image that nodes are made of, whichever provisioner makes them."""
    of_nodes = {"docker": node_image, "qemu": installer_image}[cluster.provisioner]
    return of_nodes(cluster, talosctl)


def image_list_argv(program: str, talosctl: Version, version: str) -> list[str] | str:
    """The line that lists what a cluster of a Talos version needs; or why there is none.

    Args:
        program: path of talosctl.
        talosctl: its version.
        version: of Talos, as in v1.13.0.
    """
    wanted = version_in(version)
    if wanted is None:
        return f"'{version}' is no version of Talos: write for instance {USUAL}"
    if wanted.release != talosctl.release:
        release = ".".join(map(str, wanted.release))
        return (
            f"only talosctl {release} knows what Talos {version} needs, and {talosctl} is on PATH: "
            "install that one, or give a list of images"
        )
    return [program, "image", "k8s-bundle" if talosctl.is_family_b else "default"]


def with_kubernetes(names: Iterable[str], kubernetes: str) -> list[str]:
    """A list with another version of Kubernetes than talosctl's own.

    Only talosctl from 1.13 on has a flag for it, `--k8s-version`; it changes the same images.

    Args:
        names: of images, as talosctl lists them.
        kubernetes: as in v1.36.0, or without the v; empty for talosctl's own.
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
    """The tagged images in what `talosctl image list` prints, each once."""
    lines = [line.split() for line in printed.splitlines()]
    # A node without images: talosctl from 1.13 on prints not even the heading then.
    if not lines or "IMAGE" not in lines[0]:
        return []
    column = lines[0].index("IMAGE")
    names = (line[column] for line in lines[1:] if len(line) > column)
    return list(dict.fromkeys(name for name in names if "@" not in name and "/" in name))
