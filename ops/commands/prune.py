"""`prune`: makes the caches smaller. Pinned images stay, the least recently used go first.

A cache is stopped while its blobs are removed, because it would go on announcing them. What to
remove is computed again once it is stopped, so that images pulled meanwhile stay complete.
"""

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from pathlib import Path

import docker

from host import progress_bar
from ops.commands import image_selection, ledger
from ops.commands.arguments import add_json
from ops.commands.cache_restart import not_back, stopped
from ops.docker import api
from ops.docker.volumes import MOUNT, UNWRITTEN_MINUTES, Volumes, by_folder, folder, opened
from ops.errors import OpsError
from ops.stack import stack_files
from plan import sizes
from plan.caches.cache import Cache, of_settings
from plan.images import pruning
from plan.images.pruning import Decision, Going
from plan.images.reference import ImageReference, parse_list, parse_platform
from plan.images.storage import STAGING, blob_folder
from plan.images.volume_images import (
    File,
    Removal,
    Volume,
)
from plan.problems import listed
from plan.settings.stack import Settings
from plan.upstreams import slug

# Few enough to keep the bar moving.
REMOVED_AT_ONCE = 500
# Links, and files not written to for long. Files under way may be gone before `stat`: left out.
_FILES = (
    f"cd {MOUNT} && find . -type f '(' -name link ! -path '*/{STAGING}*/*' -o "
    "'(' -name data -path '*/_uploads/*' -o -name '*.tmp' -o -name '*.new' "
    f"-o -path '*/{STAGING}*/*' ')' -mmin +{UNWRITTEN_MINUTES} ')' "
    "-exec busybox stat -c '%s,%Y %n' {} +"
)
# Level by level: a folder of empty folders is empty after that. No name here has a space.
_EMPTY = (
    'cd "$0" && while found=$(find repositories -mindepth 1 -type d -empty) && [ -n "$found" ]; do '
    'echo "$found" | busybox xargs busybox rmdir || exit 1; done'
)
Sets = Mapping[str, Sequence[ImageReference]]


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """The arguments of the command line.

    Attributes:
        size: of all caches together, as the user writes it.
        lists: files, each a pinned set.
        talos_versions: releases, the images of each a pinned set.
        clusters: names of clusters, the images of each a pinned set.
        yes: whether to remove images, and not only show them.
    """

    stack: str
    size: str
    lists: Sequence[str]
    talos_versions: Sequence[str]
    clusters: Sequence[str]
    platform: str
    yes: bool
    as_json: bool


def add_arguments(command: argparse.ArgumentParser) -> None:
    """The options of the command."""
    command.add_argument(
        "--to",
        dest="size",
        required=True,
        metavar="SIZE",
        help="size of all caches together, such as 20GB, 500MB or 20GiB",
    )
    image_selection.add_repeatable(
        command,
        "--keep FILE",
        "lists",
        "keep the images of this list, one per line; may be given several times",
    )
    image_selection.add_repeatable(
        command,
        "--keep-talos VERSION",
        "talos_versions",
        "keep the images that talosctl of that release lists for this version, which are neither "
        "the node image nor the installer; may be given several times",
    )
    image_selection.add_repeatable(
        command,
        "--keep-cluster NAME",
        "clusters",
        "keep all images that this cluster of the stack needs to boot; may be given several times",
    )
    command.add_argument(
        "--platform",
        default=image_selection.DEFAULT_PLATFORM,
        help="which entry of a multi-platform image must be there for a kept image to be complete; "
        "other entries stay too (default: %(default)s)",
    )
    command.add_argument(
        "--yes", action="store_true", help="remove the images; without it, only show them"
    )
    add_json(command)


def run(arguments: Arguments) -> int:
    """Remove the least recently used images down to a size; without --yes, only show them."""
    settings = stack_files.check(arguments.stack)
    caches = of_settings(settings)
    try:
        budget = sizes.parse_size(arguments.size)
    except ValueError as error:
        raise OpsError(f"--to '{arguments.size}': {error}") from error
    platform = parse_platform(arguments.platform)
    sets = _stored(_sets(arguments, {cache.host for cache in caches}, settings), caches)
    client = api.connect()
    days = {
        host: uses.days for host, uses in ledger.updated(client, arguments.stack, caches).items()
    }
    with opened(client, caches) as volumes:
        read = _read(volumes)
    decision = pruning.decide(read, sets, days, budget, platform)
    do = arguments.yes and decision.fits
    if not arguments.as_json:
        print(_tables(decision))
    after = dict(decision.after)
    if do:
        after |= _pruned(client, caches, read, sets, decision, arguments.stack)
    if arguments.as_json:
        print(_as_json(decision, done=do, after=after))
    _refuse(decision)
    if not arguments.as_json:
        print(_last_line(decision, after, done=do))
    return int(bool(decision.refused))


def _sets(arguments: Arguments, hosts: set[str], settings: Settings) -> Sets:
    sets: dict[str, tuple[ImageReference, ...]] = {}
    for file in arguments.lists:
        name = Path(file).stem
        if name in sets:
            raise OpsError(f"--keep {file}: there is already a set '{name}'; rename the file")
        sets[name] = parse_list(image_selection.read(file), file, hosts)
    for version in arguments.talos_versions:
        sets[f"talos {version}"] = image_selection.of_talos(version, hosts)
    for name in arguments.clusters:
        cluster = image_selection.cluster_named(settings, name)
        sets[f"cluster {name}"] = image_selection.of_cluster(cluster, hosts)
    return sets


def _stored(sets: Sets, caches: Sequence[Cache]) -> Sets:
    """The sets, with repositories by the names that they have in volumes and in the ledger."""
    by_host = {cache.host: cache for cache in caches}
    return {
        name: tuple(
            replace(image, repository=by_host[image.host].stored(image.repository))
            for image in images
        )
        for name, images in sets.items()
    }


def _read(volumes: Volumes) -> tuple[Volume, ...]:
    """The content of every open volume."""
    if not volumes.present:
        return ()
    stores = volumes.stores_as_they_are()
    files = _files(volumes)
    return tuple(
        Volume(host=cache.host, store=stores[cache.host], files=files.get(slug(cache.host), {}))
        for cache in volumes.present
    )


def _files(volumes: Volumes) -> dict[str, dict[str, File]]:
    """Folder of a cache below MOUNT -> path below ROOT -> file."""
    listed = by_folder(volumes.run("sh", "-c", _FILES))
    return {top: {path: _file(word) for word, path in rows} for top, rows in listed.items()}


def _file(word: str) -> File:
    """From "SIZE,SECONDS", the time of its last change."""
    size, written = map(int, word.split(","))
    return File(size=size, day=datetime.fromtimestamp(written, timezone.utc).date().isoformat())


def _pruned(
    client: docker.DockerClient,
    caches: Sequence[Cache],
    read: Sequence[Volume],
    sets: Sets,
    decision: Decision,
    stack: str,
) -> dict[str, int]:
    """Remove what was decided on, cache by cache; returns host -> bytes that are left."""
    by_host = {volume.host: volume for volume in read}
    after = {}
    for cache in caches:
        going = [one for one in decision.going if one.image.host == cache.host]
        if cache.host in by_host and cache.host not in decision.refused:
            todo = pruning.removal(by_host[cache.host], sets, going)
            if not todo.is_empty:
                after[cache.host] = _prune(client, cache, sets, going, stack)
    return after


def _prune(
    client: docker.DockerClient, cache: Cache, sets: Sets, going: Sequence[Going], stack: str
) -> int:
    """Stop a cache and remove these images from it; returns the bytes that are left."""
    _refuse_others(client, cache)
    with (
        stopped(client, cache, stack) as ran,
        opened(client, [cache], writable=True) as volumes,
    ):
        (volume,) = _read(volumes)
        todo = pruning.removal(volume, sets, going)
        _remove(volumes, cache, todo)
    if ran and (why := not_back(cache)):
        raise OpsError(why)
    return volume.size - todo.size


def _remove(volumes: Volumes, cache: Cache, todo: Removal) -> None:
    """Remove tags first and blobs last: whenever this ends, no tag points to what is gone."""
    root = folder(cache)
    blobs = sorted(todo.blobs)
    count = len(todo.tags) + len(todo.files) + len(blobs)
    with progress_bar.bar(f"pruning {cache.host}", count, unit="file") as bar:
        for files in (todo.tags, todo.files):
            _rm(volumes, [f"{root}/{path}" for path in files], bar.update)
        # To the registry a repository exists while it has folders; an interrupted run left some.
        volumes.run("sh", "-c", _EMPTY, root)
        _rm(volumes, [f"{root}/{blob_folder(digest)}" for digest in blobs], bar.update)


def _rm(volumes: Volumes, paths: Sequence[str], tell: Callable[[int], object]) -> None:
    for start in range(0, len(paths), REMOVED_AT_ONCE):
        some = paths[start : start + REMOVED_AT_ONCE]
        volumes.run("busybox", "rm", "-r", *some)
        tell(len(some))


def _refuse_others(client: docker.DockerClient, cache: Cache) -> None:
    """Stop if another container has the volume: it may read or write what is about to go."""
    users = client.api.containers(filters={"volume": cache.name})
    names = [name.lstrip("/") for user in users for name in user["Names"]]
    if others := [name for name in names if name != cache.name]:
        raise OpsError(
            f"the volume {cache.name} is in use by {', '.join(others)}, perhaps another command of "
            "this project: wait until it ends, or stop it; nothing was removed from this cache"
        )


def _refuse(decision: Decision) -> None:
    """Say why nothing goes, or why a cache is left alone.

    Raises:
        OpsError: what must stay is larger than the size.
    """
    refused = list(decision.refused.values())
    reasons = f"\n{listed(refused)}" if refused else ""
    if not decision.fits:
        shown = _telling_apart(decision.floor, decision.budget)
        raise OpsError(
            f"{shown(decision.floor)} must stay ({shown(decision.pinned)} pinned), more than --to "
            f"{shown(decision.budget)}: give a larger size, or pin fewer images; nothing was "
            f"changed{reasons}"
        )
    if reasons:
        print(f"prune: left alone, because what is needed is unknown:{reasons}", file=sys.stderr)


def _tables(decision: Decision) -> str:
    totals = sum(decision.before.values()), sum(decision.after.values())
    lines = [f"{'cache':<40}  {'before':>10}  {'after':>10}"]
    lines += [
        f"{host:<40}  {_amount(size):>10}  {_amount(decision.after[host]):>10}"
        for host, size in decision.before.items()
    ]
    lines.append(f"{'all':<40}  {_amount(totals[0]):>10}  {_amount(totals[1]):>10}")
    if decision.sets:
        lines += ["", f"{'pinned set':<40}  {'size':>10}"]
        lines += [
            f"{one.name:<40}  {_amount(one.size):>10}  "
            f"{one.complete} of {one.images} images are complete"
            for one in decision.sets
        ]
        lines.append(f"{'all, shared blobs once':<40}  {_amount(decision.pinned):>10}")
    if decision.going or any(decision.strays.values()):
        lines += ["", f"{'last used':<10}  {'frees':>10}  image"]
        lines += [
            f"{'-':<10}  {_amount(size):>10}  {host}: parts of no image"
            for host, size in decision.strays.items()
            if size
        ]
        lines += [
            f"{one.last_used or 'never':<10}  {_amount(one.frees):>10}  {one.image}"
            for one in decision.going
        ]
    return "\n".join([*lines, ""])


def _last_line(decision: Decision, after: Mapping[str, int], *, done: bool) -> str:
    count = "1 image" if len(decision.going) == 1 else f"{len(decision.going)} images"
    freed = sum(decision.before.values()) - sum(after.values())
    if done:
        return f"{count} removed, {_amount(freed)} freed, {_amount(sum(after.values()))} left"
    return f"{count} would go, {_amount(freed)}; nothing was changed: --yes does it"


def _amount(size: int) -> str:
    if size >= 1e9:
        return f"{size / 1e9:.2f} GB"
    if size >= 1e6:
        return f"{size / 1e6:.1f} MB"
    return f"{size / 1e3:.1f} kB" if size >= 1e3 else f"{size} B"


def _telling_apart(one: int, other: int) -> Callable[[int], str]:
    """How to write two sizes: rounded, or to the byte if they would look the same."""
    return _amount if _amount(one) != _amount(other) else "{:,} bytes".format


def _as_json(decision: Decision, *, done: bool, after: Mapping[str, int]) -> str:
    return json.dumps(
        {
            "done": done,
            "fits": decision.fits,
            "to": decision.budget,
            "before": decision.before,
            "after": after,
            "pinnedSets": [asdict(one) for one in decision.sets],
            "pinned": decision.pinned,
            "hasToStay": decision.floor,
            "partsOfNoImage": decision.strays,
            "going": [
                {"image": str(one.image), "lastUsed": one.last_used or None, "frees": one.frees}
                for one in decision.going
            ],
            "refused": decision.refused,
        },
        indent=2,
    )
