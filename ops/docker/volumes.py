"""Reads and changes the caches' volumes, through one container without a network.

Docker's volumes can't be read directly: they may be in a virtual machine, or on another host. The
container has the registry's own image, which is there wherever the caches are. It ends when this
process does, however that ends: it reads its standard input, which Docker closes with the
connection.
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
# A file not written to for this long is not a download under way: none pauses for an hour.
UNWRITTEN_MINUTES = 60
# The official image has these as programs, ours only through busybox; the kernel's limit for
# arguments is 2 MiB, a path below ROOT has up to about 110 bytes.
PATHS_AT_ONCE = 5000
# Some 10 MB of tar in memory.
LINKS_AT_ONCE = 5000
_PACKED = "packed.tar"
# Argument: a folder with that archive, which is removed. Files get the current time: from that of
# links `prune` tells when an image was last used.
_UNPACK = f'cd "$1" && busybox tar -x -m -f {_PACKED} && busybox rm {_PACKED}'
# Arguments: a cache's folder, and a staging folder below it. Staged files are renamed into the
# cache's folder: whole folders if possible and many at once, since starting a program takes longer
# than a rename; in the order of names, so that tags come after what they point to. If the registry
# creates a folder meanwhile, all of it is done again.
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
# Only blobs and links: files under way have other names, and may be gone before `stat`.
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
            OpsError: it fails; with its error output.
        """
        return b"".join(self.stream(*argv))

    def stream(self, *argv: str) -> Iterator[bytes]:
        """What a program prints, as it comes.

        Raises:
            OpsError: it fails; with its error output.
        """
        started, printed = execute(self.client, self.container, argv)
        errors = b""
        for stream, some in printed:
            if stream == STDOUT:
                yield some
            else:
                errors += some
        status = self.client.api.exec_inspect(started)["ExitCode"]
        if status != 0:
            text = errors.decode(errors="replace").strip()
            raise OpsError(f"reading or writing the caches' volumes failed ({status}): {text}")

    def remove_uploads(self) -> tuple[int, int]:
        """Remove unfinished downloads that are not under way; returns how many, and their bytes.

        The registry also keeps a body whose digest was wrong.
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
            OpsError: Docker can't unpack it.
            OSError: the archive can't be read.
        """
        try:
            with sent(archive) as content:
                self.client.api.put_archive(self.container, path, content)
        except APIError as error:
            raise OpsError(f"writing into {path} failed: {error.explanation}") from error

    def contents(self, files: Sequence[tuple[str, int]]) -> Iterator[Iterator[bytes]]:
        """The content of each of these (path, size in bytes), in pieces, valid until the next one.

        If a file has changed its size, those after it are wrong: hash them.

        Raises:
            OpsError: one can't be read.
        """
        for start in range(0, len(files), PATHS_AT_ONCE):
            some = files[start : start + PATHS_AT_ONCE]
            yield from apart(self.stream("cat", *(path for path, _ in some)), some)

    def place(self, root: str, staged: str) -> None:
        """Rename what is staged in a folder below a cache's folder into that folder.

        Files of the same name are replaced. The staging folder is gone afterwards.
        """
        self.run("sh", "-c", _PLACE, "sh", root, staged)

    def place_links(self, root: str, links: Mapping[str, str]) -> None:
        """Write links (path below a cache's folder -> digest), tags after what they point to.

        The cache's folder must exist.
        """
        staged = f"{LINKS_STAGING}/{secrets.token_hex(8)}"
        paths = list(links)
        for start in range(0, len(paths), LINKS_AT_ONCE):
            some = [(path, links[path].encode()) for path in paths[start : start + LINKS_AT_ONCE]]
            # An archive within an archive: Docker takes five times as long per small file as tar.
            packed = b"".join(as_tar((path, len(link), [link]) for path, link in some))
            self.put(root, as_tar([(f"{staged}/{_PACKED}", len(packed), [packed])]))
            self.run("sh", "-c", _UNPACK, "sh", f"{root}/{staged}")
        if links:
            self.place(root, staged)

    def stores(self) -> dict[str, Store]:
        """Host -> what is in its cache, repositories by the names that nodes use for them.

        A cache without a volume is empty.
        """
        prefixes = {cache.host: cache.path_prefix for cache in self.caches}
        return {
            host: below(store, prefixes[host]) for host, store in self.stores_as_they_are().items()
        }

    def stores_as_they_are(self) -> dict[str, Store]:
        """The same, repositories by the names that they have in the volume."""
        stores = {cache.host: EMPTY for cache in self.caches}
        if not self.present:
            return stores
        listed = by_folder(self.run("sh", "-c", _FILES))
        tags = by_folder(self.run("sh", "-c", _TAGS))
        for cache in self.present:
            files = [(path, int(size)) for size, path in listed.get(slug(cache.host), [])]
            links = {path: digest for digest, path in tags.get(slug(cache.host), [])}
            stores[cache.host] = parse_listing(files, links)
        return self._with_manifests(stores)

    def _with_manifests(self, stores: Mapping[str, Store]) -> dict[str, Store]:
        wanted = [
            (host, digest, store.blobs[digest])
            for host, store in stores.items()
            for digest in store.revisions()
            if store.blobs[digest] <= MANIFEST_BYTES
        ]
        # What is too large for a manifest is damaged, whatever it contains.
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
        """These files concatenated, and which of them are left out as unreadable."""
        try:
            return self.run("cat", *paths), frozenset()
        except OpsError:
            unreadable = self.run("sh", "-c", _UNREADABLE, "sh", *paths).decode().splitlines()
            if not unreadable:
                raise
        rest = [path for path in paths if path not in unreadable]
        return self.run("cat", *rest) if rest else b"", frozenset(unreadable)


def apart(stream: Iterator[bytes], files: Iterable[tuple[str, int]]) -> Iterator[Iterator[bytes]]:
    """The pieces of each file, from a stream of concatenated files of known sizes."""
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
        for _ in one:  # what the caller has not read
            pass
    for _ in stream:  # to its end, where it raises if it has failed
        pass


def as_tar(files: Iterable[tuple[str, int, Iterable[bytes]]]) -> Iterator[bytes]:
    """A tar archive of (name, size, content), produced while it is read."""
    for name, size, content in files:
        entry = tarfile.TarInfo(name)
        entry.size = size
        entry.mtime = int(time.time())  # `prune` takes old staged files for leftovers
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
    """The existing volumes of these caches, in a container that ends with the block.

    Raises:
        OpsError: the registry's image is missing, or Docker refuses.
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
        # The image declares a volume there, and would get one that is never removed.
        tmpfs={DATA_PATH: ""},
        binds=[f"{cache.name}:{MOUNT}/{slug(cache.host)}:{mode}" for cache in present],
    )
    with ExitStack() as stack:
        try:
            temporary = temporary_container.container(
                client,
                caches[0].image,
                entrypoint=["cat"],
                stdin_open=True,
                detach=False,
                host_config=config,
            )
            container = stack.enter_context(temporary)
        except ImageNotFound as error:
            raise OpsError(
                f"the registry's image {caches[0].image}, which reads the caches' volumes, is not "
                "on this machine: run make setup, or import an archive, which includes it"
            ) from error
        except APIError as error:
            raise OpsError(f"Docker can't open the caches' volumes: {error.explanation}") from error
        attached = client.api.attach_socket(container, params={"stdin": 1, "stream": 1})
        # It ends with its input; not waiting for that before it is removed saves a second.
        stack.callback(_close, attached)
        client.api.start(container)
        yield Volumes(client=client, container=container, caches=tuple(caches), present=present)


def _close(attached: object) -> None:
    raw = getattr(attached, "_sock", attached)
    if isinstance(raw, socket.socket):
        raw.close()


def by_folder(printed: bytes) -> dict[str, list[tuple[str, str]]]:
    """From lines "WORD ./folder/path": folder below MOUNT -> (word, path below ROOT)."""
    rows: dict[str, list[tuple[str, str]]] = {}
    for line in printed.decode().splitlines():
        word, _, path = line.partition(" ")
        top, _, rest = path.removeprefix("./").partition("/")
        if rest.startswith(f"{ROOT}/"):
            rows.setdefault(top, []).append((word, rest.removeprefix(f"{ROOT}/")))
    return rows
