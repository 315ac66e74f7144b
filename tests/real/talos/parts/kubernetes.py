"""Images that Talos starts Kubernetes from, and `kubectl`."""

from dataclasses import replace
from pathlib import Path

from tests.real.talos.parts import binaries
from tests.real.talos.parts.images import Entry, Image, folder, layer_of, link, program
from tests.real.talos.parts.userland import busybox
from tests.real.talos.parts.versions import ETCD, KUBERNETES, OLD_ETCD, PAUSE

CONTROL_PLANE = ("kube-apiserver", "kube-controller-manager", "kube-scheduler")


def kubectl() -> Path:
    """The command `kubectl` in the cluster's version."""
    return binaries.kubernetes("kubectl")


def images(work: Path) -> list[Image]:
    """Everything that a cluster pulls before its first pod."""
    etcd = _one_program(work, "etcd", f"v{ETCD}", binaries.etcd())
    return [
        etcd,
        replace(etcd, repository="etcd-development/etcd", tags=(f"v{OLD_ETCD}",)),
        *(
            _one_program(work, name, f"v{KUBERNETES}", binaries.kubernetes(name))
            for name in CONTROL_PLANE
        ),
        _kubelet(work),
        Image(
            repository="pause",
            tags=PAUSE,
            layers=(layer_of(work / "pause.tar.gz", [program("pause", binaries.pause())]),),
            config={"Entrypoint": ["/pause"]},
        ),
    ]


def _one_program(work: Path, name: str, tag: str, source: Path) -> Image:
    path = f"usr/local/bin/{name}"
    layer = layer_of(work / f"{name}.tar.gz", [program(path, source)])
    return Image(repository=name, tags=(tag,), layers=(layer,), config={"Entrypoint": [f"/{path}"]})


def _kubelet(work: Path) -> Image:
    """The kubelet needs a few commands and files around it: it ends where it finds no users."""
    source = binaries.kubernetes("kubelet")
    entries = [
        *busybox(),
        program("usr/local/bin/kubelet", source),
        folder("run"),
        folder("tmp", 0o1777),
        link("var/run", "/run"),
        Entry(path="etc/group", content=b"root:x:0:\n"),
        Entry(path="etc/passwd", content=b"root:x:0:0:root:/root:/bin/sh\n"),
        Entry(path="etc/subgid"),
        Entry(path="etc/subuid"),
    ]
    return Image(
        repository="siderolabs/kubelet",
        tags=(f"v{KUBERNETES}",),
        layers=(layer_of(work / "kubelet.tar.gz", entries),),
        config={"Entrypoint": ["/usr/local/bin/kubelet"]},
    )
