"""What caches' volumes contain, with the time of each link: it says when something was fetched."""

from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor

import docker
from docker.errors import APIError
from docker.utils.socket import STDOUT

from ops.docker.api import execute
from ops.docker.volumes import MOUNT, UNWRITTEN_MINUTES, Volumes, by_folder, opened
from plan.caches.cache import Cache
from plan.caches.cache_plan import DATA_PATH
from plan.images.storage import ROOT, STAGING
from plan.images.volume_images import File, Volume
from plan.upstreams import slug

AT_ONCE = 8
# What is printed of a file: "SIZE,SECONDS path", the time of its last change.
_PRINT = "-exec busybox stat -c '%s,%Y %n' {} +"
# Caches may be at work: what is gone before it has been looked at is left out. Other errors count.
_GONE = "No such file or directory"


def _looked_for(find: str) -> str:
    """A script that runs this in the folder of all volumes, whatever goes away meanwhile."""
    return (
        f"cd {MOUNT} || exit 1; "
        f"{{ {find} 2>&1 1>&3 | busybox grep -v '{_GONE}$' >&2; }} 3>&1 && exit 1; exit 0"
    )


_LINKS = _looked_for(f"find . -name _uploads -prune -o -type f -name link {_PRINT}")
# The same of some repositories, in a cache's own container.
EVERY = ""
_END = "that is all"
_LINKS_IN = (
    f"cd {DATA_PATH}/{ROOT} 2>/dev/null && for name; do "
    f'find "repositories/$name" -name _uploads -prune -o -type f -name link {_PRINT}; done; '
    f"echo {_END}"
)
# Links, and files not written to for long.
_FILES = _looked_for(
    f"find . -type f '(' -name link ! -path '*/{STAGING}*/*' -o "
    "'(' -name data -path '*/_uploads/*' -o -name '*.tmp' -o -name '*.new' "
    f"-o -path '*/{STAGING}*/*' ')' -mmin +{UNWRITTEN_MINUTES} ')' "
    f"{_PRINT}"
)


def contents(volumes: Volumes) -> tuple[Volume, ...]:
    """The content of every open volume."""
    if not volumes.present:
        return ()
    stores = volumes.stores_as_they_are()
    files = _files(volumes, _FILES)
    return tuple(
        Volume(host=cache.host, store=stores[cache.host], files=files.get(cache.host, {}))
        for cache in volumes.present
    )


def links(client: docker.DockerClient, caches: Sequence[Cache]) -> dict[str, dict[str, File]]:
    """Host -> path below ROOT -> link, of every cache that has a volume.

    Raises:
        OpsError: a volume can't be read.
    """
    with ThreadPoolExecutor(max_workers=AT_ONCE) as pool:
        inside = list(pool.map(lambda cache: links_in(client, cache, [EVERY]), caches))
    pairs = zip(caches, inside, strict=True)
    found = {cache.host: files for cache, files in pairs if files is not None}
    # To open volumes takes longer than all of the above.
    if others := [cache for cache in caches if cache.host not in found]:
        with opened(client, others) as volumes:
            found |= _files(volumes, _LINKS) if volumes.present else {}
    return found


def links_in(
    client: docker.DockerClient, cache: Cache, repositories: Collection[str]
) -> dict[str, File] | None:
    """Path below ROOT -> link, read in the cache's own container; None if that is not possible.

    Args:
        client: of Docker.
        cache: theirs.
        repositories: by their names in the cache, or EVERY.
    """
    argv = ["sh", "-c", _LINKS_IN, "sh", *sorted(repositories)]
    try:
        _, frames = execute(client, cache.name, argv)
        printed = b"".join(some for stream, some in frames if stream == STDOUT).decode()
    except APIError:  # it is down, or starts again right now
        return None
    *lines, end = printed.splitlines() or [""]
    if end != _END:
        return None
    rows = (line.partition(" ") for line in lines)
    return {path: file(word) for word, _, path in rows}


def _files(volumes: Volumes, script: str) -> dict[str, dict[str, File]]:
    listed = by_folder(volumes.run("sh", "-c", script))
    return {
        cache.host: {path: file(word) for word, path in listed.get(slug(cache.host), [])}
        for cache in volumes.present
    }


def file(word: str) -> File:
    """From "SIZE,SECONDS"."""
    size, written = map(int, word.split(","))
    return File(size=size, written=written)
