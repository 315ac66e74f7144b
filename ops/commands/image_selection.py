"""Which images a command is for: those of files, of talosctl's lists, of a running cluster."""

import argparse
import shutil
import subprocess
import sys
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from host.interfaces import architecture
from host.paths import ROOT
from ops import text_files
from ops.cluster import talosctl
from ops.cluster.folder import folder_of
from ops.errors import OpsError
from plan.images.reference import ImageReference, parse_list
from plan.settings.cluster import ClusterSettings
from plan.settings.stack import Settings
from plan.talos.images import (
    INSTALLER,
    image_list_argv,
    node_images,
    nodes_images_argv,
    system_image,
    with_kubernetes,
)
from plan.talos.versions import USUAL_KUBERNETES, version_in

STANDARD_INPUT = "-"
DEFAULT_PLATFORM = f"linux/{architecture()}"
TALOSCTL_SECONDS = 60


@dataclass(frozen=True, kw_only=True)
class ImageSelection:
    """The images that a command line selects, and their platform.

    Attributes:
        lists: files, one image per line; STANDARD_INPUT for standard input.
        talos_versions: releases, for the images that they need.
        kubernetes_version: for these releases; empty for the default of each.
        clusters: names of clusters, for the images that they need to boot.
        running_clusters: names of clusters, for the images on their nodes.
        platform: as the user writes it, "linux/amd64".
    """

    lists: Sequence[str]
    talos_versions: Sequence[str]
    kubernetes_version: str
    clusters: Sequence[str]
    running_clusters: Sequence[str]
    platform: str


def add_repeatable(command: argparse.ArgumentParser, option: str, dest: str, text: str) -> None:
    """Add an option such as "--images FILE" that may be given several times, and its help."""
    flag, metavar = option.split()
    command.add_argument(flag, dest=dest, action="append", default=[], metavar=metavar, help=text)


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the options that select images, the same for every command."""
    add_repeatable(
        command,
        "--images FILE",
        "lists",
        "a list, one image per line; - reads standard input; may be given several times",
    )
    add_repeatable(
        command,
        "--talos VERSION",
        "talos_versions",
        "the images that talosctl of that release lists for this version; neither the node image "
        "nor the installer, which --cluster includes",
    )
    command.add_argument(
        "--kubernetes",
        dest="kubernetes_version",
        default="",
        metavar="VERSION",
        help="with --talos: this version of Kubernetes instead of the default",
    )
    add_repeatable(
        command,
        "--cluster NAME",
        "clusters",
        "the images that this cluster of the stack needs to boot (cluster.warm)",
    )
    add_repeatable(
        command,
        "--nodes NAME",
        "running_clusters",
        "the images that the nodes of this running cluster of the stack have",
    )
    command.add_argument(
        "--platform",
        default=DEFAULT_PLATFORM,
        help="which entry of a multi-platform image (default: %(default)s)",
    )


def named(
    selection: ImageSelection, stack: str, hosts: Collection[str], settings: Settings
) -> tuple[ImageReference, ...]:
    """Every image that the options select, once; none if no option was given.

    Args:
        selection: of the command line.
        stack: whose clusters are meant.
        hosts: upstreams that the stack has a cache for.
        settings: of that stack.

    Raises:
        OpsError: a list can't be read or obtained, or there is no cache for any of its images.
        ImageListError: a list has mistakes.
    """
    _check_kubernetes(selection)
    images: dict[ImageReference, None] = {}
    for file in selection.lists:
        images |= dict.fromkeys(parse_list(read(file), _source(file), hosts))
    for version in selection.talos_versions:
        images |= dict.fromkeys(of_talos(version, hosts, selection.kubernetes_version))
    for name in selection.clusters:
        images |= dict.fromkeys(of_cluster(cluster_named(settings, name), hosts))
    for name in selection.running_clusters:
        cluster = cluster_named(settings, name)
        images |= dict.fromkeys(_with_caches(_on_nodes(stack, cluster), hosts))
    if not images and (
        selection.talos_versions or selection.clusters or selection.running_clusters
    ):
        known = ", ".join(sorted(hosts))
        raise OpsError(f"no image to work on: this stack has caches only for {known}")
    return tuple(images)


def of_talos(
    version: str, hosts: Collection[str], kubernetes: str = ""
) -> tuple[ImageReference, ...]:
    """The images that a cluster of this Talos version needs, as talosctl of its release lists them.

    Raises:
        OpsError: there is no talosctl, or not one of that release.
    """
    if shutil.which("talosctl") is None:
        raise OpsError(
            f"talosctl is not on PATH, and is needed to list the images of Talos {version}: "
            "install it, or give a list of images"
        )
    return _with_caches(_listed(version, kubernetes), hosts)


def of_cluster(cluster: ClusterSettings, hosts: Collection[str]) -> tuple[ImageReference, ...]:
    """What a cluster needs to boot: the list that `warm` names, or talosctl's for its versions.

    Both with the node image (on Docker) or the installer (on QEMU), which talosctl does not list.

    Raises:
        OpsError: there is no talosctl, or not one of the cluster's release.
        ImageListError: the named list has mistakes.
    """
    installed = talosctl.find()
    own = system_image(cluster, installed.version)
    if cluster.warm_file:
        path = ROOT / text_files.path(cluster.warm_file)
        listed = parse_list(read(str(path)), f"@{cluster.warm_file}", hosts)
        return tuple(dict.fromkeys((*_with_caches([own], hosts), *listed)))
    version = cluster.talos_version or cluster.image_version or str(installed.version)
    names = _listed(version, cluster.kubernetes_version or "")
    # talosctl up to 1.11 lists its default installer, which Docker's nodes never pull.
    needed = (name for name in names if not name.startswith(f"{INSTALLER}:"))
    return _with_caches([own, *needed], hosts)


def _check_kubernetes(selection: ImageSelection) -> None:
    if not (version := selection.kubernetes_version):
        return
    if not selection.talos_versions:
        raise OpsError(
            f"--kubernetes {version} needs --talos: add --talos VERSION (the stack file has the "
            "version of a cluster)"
        )
    if version_in(version) is None:
        raise OpsError(
            f"--kubernetes: '{version}' is not a version: write for instance {USUAL_KUBERNETES}"
        )


def cluster_named(settings: Settings, name: str) -> ClusterSettings:
    """A cluster of the stack.

    Raises:
        OpsError: it has none of that name.
    """
    for cluster in settings.clusters:
        if cluster.name == name:
            return cluster
    known = ", ".join(cluster.name for cluster in settings.clusters) or "none"
    raise OpsError(f"the stack has no cluster '{name}'; its clusters: {known}")


def _listed(version: str, kubernetes: str) -> list[str]:
    installed = talosctl.find()
    argv = image_list_argv(installed.program, installed.version, version)
    if isinstance(argv, str):
        raise OpsError(argv)
    return with_kubernetes(_output_of(argv).split(), kubernetes)


def _on_nodes(stack: str, cluster: ClusterSettings) -> list[str]:
    access = folder_of(stack, cluster.name).talosconfig
    if not access.exists():
        raise OpsError(f"the cluster '{cluster.name}' is not up: {access} does not exist")
    program = talosctl.find().program
    return [
        name
        for namespace in ("system", "cri")
        for name in node_images(
            _output_of(nodes_images_argv(program, str(access), cluster.node_ips, namespace))
        )
    ]


def _output_of(argv: list[str]) -> str:
    try:
        done = subprocess.run(
            argv,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=TALOSCTL_SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        raise OpsError(f"{' '.join(argv)} did not finish in {TALOSCTL_SECONDS} s") from error
    if done.returncode != 0:
        raise OpsError(f"{' '.join(argv)} failed: {done.stderr.strip()}")
    return done.stdout


def _with_caches(names: Iterable[str], hosts: Collection[str]) -> tuple[ImageReference, ...]:
    """The images that the stack has a cache for; the others are reported as left out."""
    images: list[ImageReference] = []
    for name in names:
        host = name.partition("/")[0]
        if host in hosts:
            images += parse_list(name, "talosctl's list", hosts)
        else:
            print(f"left out, because there is no cache for {host}: {name}", file=sys.stderr)
    return tuple(images)


def _source(file: str) -> str:
    return "standard input" if file == STANDARD_INPUT else file


def read(file: str) -> str:
    """The text of a list, or of standard input.

    Raises:
        OpsError: it can't be read.
    """
    try:
        return (
            text_files.standard_input() if file == STANDARD_INPUT else text_files.read(Path(file))
        )
    except OpsError as error:
        raise OpsError(f"the list {_source(file)} can't be read: {error}") from error
