"""Hashes blobs inside the caches' volumes."""

from collections.abc import Iterable, Iterator, Mapping

from host import progress_bar
from ops.docker.volumes import PATHS_AT_ONCE, Volumes, folder
from plan.images.digest import digest_of_hex
from plan.images.storage import Store, blob_path

# busybox prints nothing before it has a page of lines: small batches keep the bar moving.
BYTES_AT_ONCE = 256 * 1024 * 1024
# Its status is 1 if it could not read a file; it goes on with the others before.
_HASH = 'busybox sha256sum "$@" || [ $? = 1 ]'


def damaged(
    volumes: Volumes, stores: Mapping[str, Store], digests: Mapping[str, Iterable[str]]
) -> dict[str, frozenset[str]]:
    """Host -> its blobs whose content does not have their digest, or can't be read.

    Args:
        volumes: where they are.
        stores: host -> what is in its cache.
        digests: host -> the blobs to hash; those that are not in its cache are left out.
    """
    there = {
        cache: sorted(stores[cache.host].blobs.keys() & set(digests.get(cache.host, ())))
        for cache in volumes.present
    }
    total = sum(stores[cache.host].blobs[one] for cache, blobs in there.items() for one in blobs)
    wrong: dict[str, frozenset[str]] = {}
    with progress_bar.bar("hashing", total) as bar:
        for cache, blobs in there.items():
            bad = set()
            for some in _batches(blobs, stores[cache.host].blobs):
                paths = {f"{folder(cache)}/{blob_path(digest)}": digest for digest in some}
                unread = set(some)
                for real, path in _hashes(volumes, paths):
                    digest = paths[path]
                    bar.update(stores[cache.host].blobs[digest])
                    unread.discard(digest)
                    if real != digest:
                        bad.add(digest)
                bad |= unread
            wrong[cache.host] = frozenset(bad)
    return wrong


def _batches(digests: Iterable[str], sizes: Mapping[str, int]) -> Iterator[list[str]]:
    some: list[str] = []
    size = 0
    for digest in digests:
        some.append(digest)
        size += sizes[digest]
        if size >= BYTES_AT_ONCE or len(some) == PATHS_AT_ONCE:
            yield some
            some, size = [], 0
    if some:
        yield some


def _hashes(volumes: Volumes, paths: Iterable[str]) -> Iterator[tuple[str, str]]:
    """The digests of these files, with their paths, as they are computed.

    Unreadable files are left out.
    """
    rest = b""
    for chunk in volumes.stream("sh", "-c", _HASH, "sh", *paths):
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            real, _, path = line.decode().partition("  ")
            yield digest_of_hex(real), path
