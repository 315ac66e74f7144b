"""Small images with a shell, for pods: Debian's static busybox under the names of its commands."""

from pathlib import Path

from tests.real.talos.parts.images import Entry, Image, layer_of, link, program
from toolchain import registry_image

COMMANDS = (
    "cat",
    "cp",
    "echo",
    "env",
    "false",
    "grep",
    "head",
    "id",
    "ip",
    "ls",
    "mkdir",
    "mount",
    "nc",
    "ps",
    "rm",
    "sh",
    "sleep",
    "true",
    "umount",
    "wget",
)
PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def busybox() -> list[Entry]:
    """Its program, and a link for each command."""
    links = [link(f"bin/{name}", "busybox") for name in COMMANDS]
    return [program("bin/busybox", registry_image.busybox()), *links]


def images(work: Path) -> list[Image]:
    """One for a pod that pulls from docker.io, one that stands behind an upstream of the user's."""
    return [
        _image(work, "library/busybox", "1.0", "busybox\n"),
        _image(work, "team/hello", "1", "hello from a registry of the team's own\n"),
    ]


def _image(work: Path, repository: str, tag: str, text: str) -> Image:
    entries = [*busybox(), Entry(path="etc/image", content=text.encode())]
    layer = layer_of(work / f"{repository.replace('/', '-')}.tar.gz", entries)
    config = {"Cmd": ["sh"], "Env": [PATH]}
    return Image(repository=repository, tags=(tag,), layers=(layer,), config=config)
