"""Looks into the caches' volumes, and changes them, through one container without a network.

Docker's volumes can't be read from here directly: they may be in a virtual machine, or on another
host. The container has the registry's own image, which is there wherever the caches are, and it
ends by itself when this process does, however it ends: it reads its standard input, and Docker
closes that with our connection.
"""

import secrets
import socket
import tarfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import docker
from docker.errors import APIError, ImageNotFound
from docker.utils.socket import STDOUT

from ops.docker import temporary_container
from ops.docker.api import execute, sent
from ops.errors import OpsError
from plan.caches.cache import Cache
from plan.caches.cache_plan import DATA_PATH
from plan.images.manifests import MANIFEST_BYTES
from plan.images.storage import EMPTY, LINKS_STAGING, ROOT, Store, below, blob_path, parse_listing
from plan.upstreams import slug

MOUNT = "/volumes"
# What nobody has written to for so long is under way no more: no download pauses for an hour.
UNWRITTEN_MINUTES = 60
# The official image has these as programs, ours only through busybox; the kernel's limit for
# arguments is 2 MiB, a path below ROOT has up to about 110 bytes.
PATHS_AT_ONCE = 5000
# Some 10 MB of tar in memory.
LINKS_AT_ONCE = 5000
_PACKED = "packed.tar"
# Argument: a folder with that archive, which is not there afterwards. Files get the date of now:
# `prune` takes that of links for when an image was used last.
_UNPACK = f'cd "$1" && busybox tar -x -m -f {_PACKED} && busybox rm {_PACKED}'
# Arguments: a cache's folder, and one below it. What that one lacks is renamed into it, as high up
# as can be and many at once, for a program takes longer than a rename; in the order of names, so
# tags come behind what they lead to. Where the registry makes a folder meanwhile, it is done again.
_PLACE = """
merge() {
    local from=$1 to=$2 one
    set --
    for one in "$from"/*; do
        [ -e "$one" ] || continue
        if [ ! -e "$to/${one##*/}" ]; then set -- "$@" "$one"; continue; fi
        [ $# = 0 ] || busybox mv "$@" "$to/" || exit 1
        set --
        if [ -d "$one" ]
        then merge "$one" "$to/${one##*/}"
        else busybox mv "$one" "$to/${one##*/}" || exit 1
        fi
    done
    [ $# = 0 ] || busybox mv "$@" "$to/" || exit 1
}
{ (merge "$1/$2" "$1") || (merge "$1/$2" "$1"); } && busybox rm -rf "${1:?}/${2:?}"
"""
BLOCK = 512
_UNREADABLE = (
    'for path; do [ ! -e "$path" ] || busybox cat "$path" >/dev/null 2>&1 || echo "$path"; done'
)
# Nothing but blobs and links: files under way have other names, and may be gone before `stat`.
_FILES = (
    "cd /volumes && find . -name _uploads -prune -o -type f '(' -name data -o -name link ')' "
    "-exec busybox stat -c '%s %n' {} +"
)
_UPLOADS = (
    f"cd {MOUNT} && find . -type f -name data -path '*/_uploads/*' -mmin +{UNWRITTEN_MINUTES} "
    "-exec busybox stat -c '%s %n' {} +"
)
_TAGS = (
    "cd /volumes && find . -path '*/_manifests/tags/*/current/link' "
    """-exec busybox awk '{ print $0 " " FILENAME }' {} +"""
)


@dataclass(frozen=True, kw_only=True)
class Volumes:
    """The open volumes of some caches: `present` are those that have one.

    Paths inside the container: `folder(cache)`, below it what `plan.images.storage` says.
    """

    client: docker.DockerClient
    container: str
    caches: tuple[Cache, ...]
    present: tuple[Cache, ...]

    def run(self, *argv: str) -> bytes:
        """What a program prints in the container.

        Raises:
            OpsError: it fails; with what it said.
        """
        return b"".join(self.stream(*argv))

    def stream(self, *argv: str) -> Iterator[bytes]:
        """What a program prints, as it comes.

        Raises:
            OpsError: it fails; with what it said.
        """
        started, printed = execute(self.client, self.container, argv)
        said = b""
        for stream, some in printed:
            if stream == STDOUT:
                yield some
            else:
                said += some
        status = self.client.api.exec_inspect(started)["ExitCode"]
        if status != 0:
            words = said.decode(errors="replace").strip()
            raise OpsError(f"looking into the caches' volumes failed ({status}): {words}")

    def remove_uploads(self) -> tuple[int, int]:
        """Remove what was to become a blob, and nobody writes any more; how many, and bytes.

        The registry keeps a body whose digest was wrong.
        """
        lines = self.run("sh", "-c", _UPLOADS).decode().splitlines() if self.present else []
        sizes = {path: int(size) for size, _, path in (line.partition(" ") for line in lines)}
        folders = [f"{MOUNT}/{path.removeprefix('./').removesuffix('/data')}" for path in sizes]
        for start in range(0, len(folders), PATHS_AT_ONCE):
            self.run("busybox", "rm", "-rf", *folders[start : start + PATHS_AT_ONCE])
        return len(sizes), sum(sizes.values())

    def put(self, path: str, archive: Iterator[bytes]) -> None:
        """Unpack a tar archive into a folder below MOUNT.

        Raises:
            OpsError: Docker can't.
            OSError: the archive can't be read.
        """
        try:
            with sent(archive) as content:
                self.client.api.put_archive(self.container, path, content)
        except APIError as error:
            raise OpsError(f"writing into {path} failed: {error.explanation}") from error

    def contents(self, files: Sequence[tuple[str, int]]) -> Iterator[Iterator[bytes]]:
        """What is in each of these (path, size in bytes), in pieces; one is over with the next.

        A file that has changed its size spoils those behind it: they are to be hashed.

        Raises:
            OpsError: one can't be read.
        """
        for start in range(0, len(files), PATHS_AT_ONCE):
            some = files[start : start + PATHS_AT_ONCE]
            yield from apart(self.stream("cat", *(path for path, _ in some)), some)

    def place(self, root: str, staged: str) -> None:
        """Put what is staged in a folder below a cache's into that one; each file is there at once.

        A file of the same name is replaced. The folder is gone afterwards.
        """
        self.run("sh", "-c", _PLACE, "sh", root, staged)

    def place_links(self, root: str, links: Mapping[str, str]) -> None:
        """Write links (path below a cache's folder -> digest), tags behind what they lead to.

        The cache's folder is there.
        """
        staged = f"{LINKS_STAGING}/{secrets.token_hex(8)}"
        paths = list(links)
        for start in range(0, len(paths), LINKS_AT_ONCE):
            some = [(path, links[path].encode()) for path in paths[start : start + LINKS_AT_ONCE]]
            # An archive within one: Docker takes five times as long for a small file as tar does.
            packed = b"".join(as_tar((path, len(link), [link]) for path, link in some))
            self.put(root, as_tar([(f"{staged}/{_PACKED}", len(packed), [packed])]))
            self.run("sh", "-c", _UNPACK, "sh", f"{root}/{staged}")
        if links:
            self.place(root, staged)

    def stores(self) -> dict[str, Store]:
        """Host -> what its cache holds, repositories by the names that nodes use for them.

        A cache without a volume holds nothing.
        """
        prefixes = {cache.host: cache.path_prefix for cache in self.caches}
        return {
            host: below(held, prefixes[host]) for host, held in self.stores_as_they_are().items()
        }

    def stores_as_they_are(self) -> dict[str, Store]:
        """The same, repositories by the names that they have in the volume."""
        found = {cache.host: EMPTY for cache in self.caches}
        if not self.present:
            return found
        listed = by_folder(self.run("sh", "-c", _FILES))
        tags = by_folder(self.run("sh", "-c", _TAGS))
        for cache in self.present:
            files = [(path, int(size)) for size, path in listed.get(slug(cache.host), [])]
            links = {path: digest for digest, path in tags.get(slug(cache.host), [])}
            found[cache.host] = parse_listing(files, links)
        return self._with_manifests(found)

    def _with_manifests(self, stores: Mapping[str, Store]) -> dict[str, Store]:
        wanted = [
            (host, digest, store.blobs[digest])
            for host, store in stores.items()
            for digest in store.revisions()
            if store.blobs[digest] <= MANIFEST_BYTES
        ]
        # What is too large for a manifest is damaged, whatever it holds.
        contents: dict[str, dict[str, bytes]] = {
            host: dict.fromkeys(store.revisions(), b"") for host, store in stores.items()
        }
        for start in range(0, len(wanted), PATHS_AT_ONCE):
            some = wanted[start : start + PATHS_AT_ONCE]
            paths = [f"{MOUNT}/{slug(host)}/{ROOT}/{blob_path(digest)}" for host, digest, _ in some]
            printed, unreadable = self._contents(paths)
            rest = memoryview(printed)
            for path, (host, digest, size) in zip(paths, some, strict=True):
                there = 0 if path in unreadable else size
                contents[host][digest] = bytes(rest[:there])
                rest = rest[there:]
        return {
            host: Store(
                blobs=store.blobs, repositories=store.repositories, manifests=contents[host]
            )
            for host, store in stores.items()
        }

    def _contents(self, paths: Sequence[str]) -> tuple[bytes, frozenset[str]]:
        """These files one behind the other, and which of them are left out: no disk gives them."""
        try:
            return self.run("cat", *paths), frozenset()
        except OpsError:
            found = self.run("sh", "-c", _UNREADABLE, "sh", *paths).decode().splitlines()
            if not found:
                raise
        rest = [path for path in paths if path not in found]
        return self.run("cat", *rest) if rest else b"", frozenset(found)


def apart(stream: Iterator[bytes], files: Iterable[tuple[str, int]]) -> Iterator[Iterator[bytes]]:
    """From files one behind the other, each of a known size, the pieces of each."""
    rest = b""

    def pieces(size: int) -> Iterator[bytes]:
        nonlocal rest
        while size and (rest := rest or next(stream, b"")):
            some, rest = rest[:size], rest[size:]
            size -= len(some)
            yield some

    for _, size in files:
        one = pieces(size)
        yield one
        for _ in one:  # what nobody has taken
            pass
    for _ in stream:  # to its end: there it says whether it has failed
        pass


def as_tar(files: Iterable[tuple[str, int, Iterable[bytes]]]) -> Iterator[bytes]:
    """A tar archive of (name, size, content) that is made while it is read."""
    for name, size, content in files:
        entry = tarfile.TarInfo(name)
        entry.size = size
        entry.mtime = int(time.time())  # `prune` takes staged files that are old for left over
        yield entry.tobuf(tarfile.PAX_FORMAT)
        yield from content
        yield b"\0" * (-size % BLOCK)
    yield b"\0" * 2 * BLOCK


def folder(cache: Cache) -> str:
    """Where a cache's registry keeps its files, in the container."""
    return f"{MOUNT}/{slug(cache.host)}/{ROOT}"


@contextmanager
def opened(
    client: docker.DockerClient, caches: Sequence[Cache], *, writable: bool = False
) -> Iterator[Volumes]:
    """The volumes of these caches, those that are there, in a container that ends with the block.

    Raises:
        OpsError: the registry's image is not there, or Docker refuses.
    """
    there = {volume["Name"] for volume in client.api.volumes()["Volumes"] or []}
    present = tuple(cache for cache in caches if cache.name in there)
    if not present:
        yield Volumes(client=client, container="", caches=tuple(caches), present=())
        return
    mode = "rw" if writable else "ro"
    config = client.api.create_host_config(
        auto_remove=True,
        network_mode="none",
        read_only=True,
        # The image asks for a volume there, and would get one that nobody removes.
        tmpfs={DATA_PATH: ""},
        binds=[f"{cache.name}:{MOUNT}/{slug(cache.host)}:{mode}" for cache in present],
    )
    with ExitStack() as stack:
        try:
            looking = temporary_container.container(
                client,
                caches[0].image,
                entrypoint=["cat"],
                stdin_open=True,
                detach=False,
                host_config=config,
            )
            made = stack.enter_context(looking)
        except ImageNotFound as error:
            raise OpsError(
                f"the registry's image {caches[0].image} is not on this machine, and the caches' "
                "volumes are read with it: make setup gets it, or import brings it along"
            ) from error
        except APIError as error:
            raise OpsError(f"Docker can't open the caches' volumes: {error.explanation}") from error
        attached = client.api.attach_socket(made, params={"stdin": 1, "stream": 1})
        # It ends with its input; that it is removed without waiting for that saves a second.
        stack.callback(_close, attached)
        client.api.start(made)
        yield Volumes(client=client, container=made, caches=tuple(caches), present=present)


def _close(attached: object) -> None:
    raw = getattr(attached, "_sock", attached)
    if isinstance(raw, socket.socket):
        raw.close()


def by_folder(printed: bytes) -> dict[str, list[tuple[str, str]]]:
    """From lines "WORD ./folder/path": folder below MOUNT -> (word, path below ROOT)."""
    found: dict[str, list[tuple[str, str]]] = {}
    for line in printed.decode().splitlines():
        word, _, path = line.partition(" ")
        top, _, rest = path.removeprefix("./").partition("/")
        if rest.startswith(f"{ROOT}/"):
            found.setdefault(top, []).append((word, rest.removeprefix(f"{ROOT}/")))
    return found
