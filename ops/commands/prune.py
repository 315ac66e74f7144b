"""`prune`: makes the caches smaller. Pinned images stay, the least recently used go first."""

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from ops.commands import image_selection, ledger
from ops.commands.arguments import add_json
from ops.commands.image_removal import removed
from ops.docker import api
from ops.docker.volume_contents import contents
from ops.docker.volumes import opened
from ops.errors import OpsError
from ops.stack import stack_files
from plan import sizes
from plan.caches.cache import Cache, of_settings
from plan.images import pruning
from plan.images.pruning import Decision
from plan.images.reference import ImageReference, parse_list, parse_platform
from plan.problems import listed
from plan.settings.stack import Settings

# Name -> images that stay.
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
        read = contents(volumes)
    decision = pruning.decide(read, sets, days, budget, platform)
    do = arguments.yes and decision.fits
    if not arguments.as_json:
        print(_tables(decision))
    after = dict(decision.after)
    if do:
        after |= removed(
            client,
            caches,
            [volume for volume in read if volume.host not in decision.refused],
            lambda volume: pruning.removal(volume, sets, decision.going),
            arguments.stack,
        )
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
        f"{host:<40}  {sizes.amount(size):>10}  {sizes.amount(decision.after[host]):>10}"
        for host, size in decision.before.items()
    ]
    lines.append(f"{'all':<40}  {sizes.amount(totals[0]):>10}  {sizes.amount(totals[1]):>10}")
    if decision.sets:
        lines += ["", f"{'pinned set':<40}  {'size':>10}"]
        lines += [
            f"{one.name:<40}  {sizes.amount(one.size):>10}  "
            f"{one.complete} of {one.images} images are complete"
            for one in decision.sets
        ]
        lines.append(f"{'all, shared blobs once':<40}  {sizes.amount(decision.pinned):>10}")
    if decision.going or any(decision.strays.values()):
        lines += ["", f"{'last used':<10}  {'frees':>10}  image"]
        lines += [
            f"{'-':<10}  {sizes.amount(size):>10}  {host}: parts of no image"
            for host, size in decision.strays.items()
            if size
        ]
        lines += [
            f"{one.last_used or 'never':<10}  {sizes.amount(one.frees):>10}  {one.image}"
            for one in decision.going
        ]
    return "\n".join([*lines, ""])


def _last_line(decision: Decision, after: Mapping[str, int], *, done: bool) -> str:
    count = "1 image" if len(decision.going) == 1 else f"{len(decision.going)} images"
    left = sum(after.values())
    freed = sum(decision.before.values()) - left
    if done:
        return f"{count} removed, {sizes.amount(freed)} freed, {sizes.amount(left)} left"
    return f"{count} would go, {sizes.amount(freed)}; nothing was changed: --yes does it"


def _telling_apart(one: int, other: int) -> Callable[[int], str]:
    """How to write two sizes: rounded, or to the byte if they would look the same."""
    return sizes.amount if sizes.amount(one) != sizes.amount(other) else "{:,} bytes".format


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
