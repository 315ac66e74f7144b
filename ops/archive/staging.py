"""Blobs on their way into volumes: many in one call, each checked, and in place only when whole."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import IO

from docker.errors import DockerException
from requests import RequestException

from ops.chunks import chunks
from ops.docker.volumes import Volumes, as_tar, folder
from ops.errors import OpsError
from plan.caches.cache import Cache
from plan.images.archive import ArchiveError
from plan.images.digest import Hashed
from plan.images.storage import STAGING, Store, blob_path

# What goes to Docker in one call; what was not finished is lost when the import is broken off.
BATCH_BYTES = 32 * 1024 * 1024
BATCH_BLOBS = 2000
# Below STAGING: a folder that looks like the cache's own, and what goes there from another volume.
STAGED = f"{STAGING}/new"
# Arguments: the caches' folders, which a volume that was just made does not have.
_EMPTY = f'busybox mkdir -p "$@" && for one; do busybox rm -rf "$one/{STAGING}" || exit 1; done'
# Arguments: a folder that has staged blobs, another one, and those of them that it is to have. What
# the first tar can't read it leaves out, and goes on: that all of it went is noted beside them.
_COPY = (
    'from=$1 to=$2; shift 2; busybox mkdir -p "$to" && cd "$from" && '
    '{ busybox tar -c -f - "$@" && : >"$to.whole"; } | busybox tar -x -f - -C "$to" && '
    'busybox rm "$to.whole"'
)


@dataclass(frozen=True, kw_only=True)
class Into:
    """Where the images go: the caches that are concerned, and what they held before.

    Attributes:
        wanted: host -> digests of what its images are made of.
        damaged: host -> those of the lock's blobs that are there, and not what they should be.
    """

    volumes: Volumes
    caches: dict[str, Cache]
    stores: dict[str, Store]
    wanted: Mapping[str, set[str]]
    damaged: Mapping[str, frozenset[str]]

    def wanting(self, digest: str) -> tuple[Cache, ...]:
        """The caches that want a blob, and do not have it whole."""
        return tuple(
            self.caches[host]
            for host, digests in self.wanted.items()
            if digest in digests
            and (digest not in self.stores[host].blobs or digest in self.damaged[host])
        )


@dataclass(frozen=True, kw_only=True)
class Blob:
    """A blob that comes; its content is gone with the next one."""

    digest: str
    size: int
    content: IO[bytes]


@contextmanager
def no_leftovers(into: Into) -> Iterator[None]:
    """Nothing is left where blobs are staged, neither by this import nor by one that was killed."""
    _unstage(into)
    try:
        yield
    except BaseException:
        with suppress(OpsError, DockerException, RequestException):  # what came first is to be told
            _unstage(into)
        raise
    _unstage(into)


def _unstage(into: Into) -> None:
    into.volumes.run("sh", "-c", _EMPTY, "sh", *map(folder, into.caches.values()))


def take_blobs(into: Into, coming: Iterator[Blob]) -> int:
    """Put blobs into every volume that wants them, many at once; how many one lacked."""
    ahead, new = _Ahead(_wanted(into, coming)), 0
    while ahead.blob is not None:
        home, taken = into.wanting(ahead.blob.digest)[0], list[str]()
        into.volumes.put(folder(home), as_tar(_batch(into, ahead, home, taken)))
        _place_blobs(into, home, taken)
        new += len(taken)
    return new


def _wanted(into: Into, coming: Iterator[Blob]) -> Iterator[Blob]:
    for blob in coming:
        if into.wanting(blob.digest):
            yield blob
        else:
            compare(blob.digest, copied(blob.content))


class _Ahead:
    """Blobs that come; the first that is not taken yet can be looked at."""

    def __init__(self, coming: Iterator[Blob]) -> None:
        self._coming = coming
        self.blob = next(coming, None)

    def go_on(self) -> None:
        """The next one."""
        self.blob = next(self._coming, None)


def _batch(
    into: Into, ahead: _Ahead, home: Cache, taken: list[str]
) -> Iterator[tuple[str, int, Iterable[bytes]]]:
    """(path to stage it at, size, content) of blobs that go to one volume first, noted as taken."""
    size = 0
    while (blob := ahead.blob) and into.wanting(blob.digest)[0] == home:
        if taken and (size + blob.size > BATCH_BYTES or len(taken) == BATCH_BLOBS):
            return
        yield f"{STAGED}/{blob_path(blob.digest)}", blob.size, _checked(blob)
        taken.append(blob.digest)
        size += blob.size
        ahead.go_on()


def _place_blobs(into: Into, home: Cache, digests: Sequence[str]) -> None:
    """Give blobs that are staged in one volume their place in all that want them."""
    others: dict[Cache, list[str]] = {}
    for digest in digests:
        for cache in into.wanting(digest):
            if cache != home:
                others.setdefault(cache, []).append(blob_path(digest))
    staged = f"{folder(home)}/{STAGED}"
    for cache, paths in others.items():
        # First within its volume: a copy from another one takes its time.
        into.volumes.run("sh", "-c", _COPY, "sh", staged, f"{folder(cache)}/{STAGED}", *paths)
        into.volumes.place(folder(cache), STAGED)
    into.volumes.place(folder(home), STAGED)


def _checked(blob: Blob) -> Iterator[bytes]:
    hashed = Hashed(chunks(blob.content))
    yield from hashed
    compare(blob.digest, hashed.digest)


def copied(content: IO[bytes], into: IO[bytes] | None = None) -> str:
    """The digest of what is left of a member, which goes to a file, or nowhere."""
    hashed = Hashed(chunks(content))
    for chunk in hashed:
        if into is not None:
            into.write(chunk)
    return hashed.digest


def compare(wanted: str, found: str) -> None:
    """Refuse what has another digest than the archive says."""
    if wanted != found:
        raise ArchiveError(f"a file in it was changed: {wanted} has the digest {found}")
