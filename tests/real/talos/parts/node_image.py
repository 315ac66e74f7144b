"""The image of a Talos node: real machined and containerd on a userland of Debian packages.

Talos's own image can't be had where no container registry is. What machined expects in it is
listed here; Talos's own configuration files are read from its source when the image is made.
"""

import json
from pathlib import Path

from tests.real.talos.parts import binaries, rootfs
from tests.real.talos.parts.images import (
    Entry,
    Image,
    Layer,
    folder,
    hard_link,
    layer_from_archive,
    layer_of,
    link,
    program,
)
from tests.real.talos.parts.versions import TALOS
from toolchain import node_runtime

REPOSITORY = "siderolabs/talos"
# Names that machined goes by; it looks at its own to know what to be.
MACHINED_NAMES = ("apid", "trustd", "poweroff", "shutdown", "dashboard", "wrapperd")
# In Talos's source -> in the node.
TALOS_FILES = {
    "hack/containerd.toml": "etc/containerd/config.toml",
    "hack/cri-containerd.toml": "etc/cri/containerd.toml",
    "hack/cri-plugin.part": "etc/cri/conf.d/00-base.part",
    "hack/nfsmount.conf": "etc/nfsmount.conf",
}
# machined binds files of its own over these; its root file system is read-only.
BOUND_OVER = (
    "etc/cri/conf.d/01-registries.part",
    "etc/cri/conf.d/20-customization.part",
    "etc/cri/conf.d/base-spec.json",
    "etc/cri/conf.d/cri.toml",
    "etc/extensions.yaml",
    "etc/hosts",
    "etc/iscsi/initiatorname.iscsi",
    "etc/machine-id",
    "etc/nvme/hostid",
    "etc/nvme/hostnqn",
    "etc/resolv.conf",
    "etc/selinux/targeted/contexts/files/file_contexts",
    "etc/ssl/certs/ca-certificates.crt",
)
FOLDERS = (
    ".extra",
    "boot/EFI",
    "etc/cni/net.d",
    "etc/cri/conf.d/hosts",
    "etc/kubernetes/manifests",
    "mnt",
    "opt/containerd/bin",
    "opt/containerd/lib",
    "system/state",
    "usr/etc",
    "usr/lib/modules",
    "usr/lib/udev/rules.d",
    "usr/libexec/kubernetes",
    "usr/local/lib/kubelet/credentialproviders",
    "usr/share/spdx",
)
OS_RELEASE = 'NAME="Talos"\nID=talos\n'
# Pods of one node reach each other, no more: the tests look at images, not at the network.
NETWORK = {
    "cniVersion": "1.0.0",
    "name": "pods",
    "plugins": [
        {
            "type": "bridge",
            "bridge": "cni0",
            "isGateway": True,
            "ipam": {
                "type": "host-local",
                "ranges": [[{"subnet": "10.244.0.0/24"}]],
                "routes": [{"dst": "0.0.0.0/0"}],
            },
        }
    ],
}


def images(work: Path) -> list[Image]:
    """The node images; all but the last layer is the same file for every version."""
    common = (
        layer_from_archive(work / "node-rootfs.tar.gz", rootfs.ensure()),
        layer_of(work / "node-common.tar.gz", _common()),
    )
    return [
        Image(
            repository=REPOSITORY,
            tags=(f"v{version}",),
            layers=(*common, _talos(work, version)),
            config={"Entrypoint": ["/sbin/init"]},
        )
        for version in TALOS
    ]


def _common() -> list[Entry]:
    """What does not depend on the version of Talos."""
    entries = [folder(path) for path in FOLDERS]
    entries += [Entry(path=path) for path in BOUND_OVER]
    entries += [program(f"usr/bin/{path.name}", path) for path in binaries.containerd()]
    entries += [program(f"opt/cni/bin/{path.name}", path) for path in binaries.cni_plugins()]
    network = json.dumps(NETWORK, indent=2).encode()
    entries += [
        Entry(path="etc/cni/net.d/10-pods.conflist", content=network),
        Entry(path="etc/os-release", content=OS_RELEASE.encode()),
        link("usr/sbin/init", "/usr/bin/init"),
    ]
    if node_runtime.capability_missing():
        # Debian's /usr/bin/runc is a link to the program; Talos finds this one first.
        script = node_runtime.wrapper_script("/usr/sbin/runc").encode()
        entries.append(Entry(path="usr/bin/runc", content=script, mode=0o755))
    return entries


def _talos(work: Path, version: str) -> Layer:
    source = binaries.talos_source(version)
    entries = [program("usr/bin/init", binaries.machined(version))]
    entries += [hard_link(f"usr/bin/{name}", "usr/bin/init") for name in MACHINED_NAMES]
    entries += [Entry(path=there, content=source / here) for here, there in TALOS_FILES.items()]
    return layer_of(work / f"node-talos-{version}.tar.gz", entries)
