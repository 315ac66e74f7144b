"""Removes images from caches' volumes.

A cache is stopped while its blobs are removed, because it would go on announcing them. What to
remove is computed again once it is stopped, so that images pulled meanwhile stay complete.
"""

from collections.abc import Callable, Sequence

import docker

from host import progress_bar
from host.errors import TalosCacheError
from ops.commands.cache_restart import not_back, stopped
from ops.docker.volume_contents import contents
from ops.docker.volumes import Volumes, folder, opened
from ops.errors import OpsError
from plan.caches.cache import Cache
from plan.images.storage import blob_folder
from plan.images.volume_images import Removal, Volume

# Few enough to keep the bar moving.
REMOVED_AT_ONCE = 500
# Level by level: a folder of empty folders is empty after that. No name here has a space.
_EMPTY = (
    'cd "$0" && while found=$(find repositories -mindepth 1 -type d -empty) && [ -n "$found" ]; do '
    'echo "$found" | busybox xargs busybox rmdir || exit 1; done'
)
# What is to be removed from a volume as it is now.
Todo = Callable[[Volume], Removal]


def removed(
    client: docker.DockerClient,
    caches: Sequence[Cache],
    read: Sequence[Volume],
    todo: Todo,
    stack: str,
) -> dict[str, int]:
    """Remove images, cache by cache.

    Args:
        client: of Docker.
        caches: of the stack.
        read: the volumes to remove from, as they were when it was decided what goes.
        todo: what goes; computed again when a cache is stopped.
        stack: whose caches these are.

    Returns:
        Host -> bytes that are left, of each cache that something was removed from.

    Raises:
        OpsError: a cache is in use by another program, or does not answer afterwards; says from
            which other caches something has been removed before.
        TalosCacheError: a cache must be left alone.
    """
    by_host = {volume.host: volume for volume in read}
    concerned = [
        cache
        for cache in caches
        if cache.host in by_host and not todo(by_host[cache.host]).is_empty
    ]
    for cache in concerned:
        _refuse_others(client, cache, "nothing was removed")
    after: dict[str, int] = {}
    for cache in concerned:
        try:
            after[cache.host] = _remove_from(client, cache, todo, stack)
        except TalosCacheError as error:
            done = f"; removed before that: what was to go from {', '.join(after)}" if after else ""
            raise OpsError(f"{error}{done}") from error
    return after


def _remove_from(client: docker.DockerClient, cache: Cache, todo: Todo, stack: str) -> int:
    """Stop a cache and remove images from it; returns the bytes that are left."""
    _refuse_others(client, cache, "nothing was removed from this cache")
    with (
        stopped(client, cache, stack) as ran,
        opened(client, [cache], writable=True) as volumes,
    ):
        (volume,) = contents(volumes)
        removal = todo(volume)
        _remove(volumes, cache, removal)
    if ran and (why := not_back(cache)):
        raise OpsError(why)
    return volume.size - removal.size


def _remove(volumes: Volumes, cache: Cache, removal: Removal) -> None:
    """Remove tags first and blobs last: whenever this ends, no tag points to what is gone."""
    root = folder(cache)
    blobs = sorted(removal.blobs)
    count = len(removal.tags) + len(removal.files) + len(blobs)
    with progress_bar.bar(f"removing from {cache.host}", count, unit="file") as bar:
        for files in (removal.tags, removal.files):
            _rm(volumes, [f"{root}/{path}" for path in files], bar.update)
        # To the registry a repository exists while it has folders; an interrupted run left some.
        volumes.run("sh", "-c", _EMPTY, root)
        _rm(volumes, [f"{root}/{blob_folder(digest)}" for digest in blobs], bar.update)


def _rm(volumes: Volumes, paths: Sequence[str], tell: Callable[[int], object]) -> None:
    for start in range(0, len(paths), REMOVED_AT_ONCE):
        some = paths[start : start + REMOVED_AT_ONCE]
        volumes.run("busybox", "rm", "-r", *some)
        tell(len(some))


def _refuse_others(client: docker.DockerClient, cache: Cache, so: str) -> None:
    """Stop if another container has the volume: it may read or write what is about to go."""
    users = client.api.containers(filters={"volume": cache.name})
    names = [name.lstrip("/") for user in users for name in user["Names"]]
    if others := [name for name in names if name != cache.name]:
        raise OpsError(
            f"the volume {cache.name} is in use by {', '.join(others)}, perhaps another command of "
            f"this project: wait until it ends, or stop it; {so}"
        )
