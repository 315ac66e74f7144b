"""`purge`: removes single images from the caches, and what only they need."""

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ops.commands import held_images
from ops.commands.arguments import add_json, chosen_caches
from ops.commands.image_removal import removed
from ops.docker import api
from ops.errors import OpsError
from ops.stack import stack_files
from plan import sizes
from plan.caches.cache import Cache
from plan.images import inventory
from plan.images.pruning import Going
from plan.images.reference import ImageReference, parse_list
from plan.settings.stack import Settings


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """The arguments of the command line.

    Attributes:
        images: as the user writes them.
        yes: whether to remove them, and not only show what would go.
    """

    stack: str
    images: Sequence[str]
    yes: bool
    as_json: bool


def add_arguments(command: argparse.ArgumentParser) -> None:
    """The options of the command."""
    command.add_argument(
        "images",
        nargs="+",
        metavar="IMAGE",
        help="with its registry, and a tag or a digest: docker.io/library/busybox:1.36",
    )
    command.add_argument(
        "--yes", action="store_true", help="remove them; without it, only show what would go"
    )
    add_json(command)


def run(arguments: Arguments) -> int:
    """Remove single images, and what only they need; without --yes, only show it."""
    settings = stack_files.check(arguments.stack)
    caches = chosen_caches(settings, ())
    images = _named(arguments.images, caches, settings)
    concerned = [cache for cache in caches if cache.host in {image.host for image in images}]
    client = api.connect()
    volumes = held_images.read(client, arguments.stack, concerned)
    missing = [image for image in images if image.host not in {one.host for one in volumes}]
    going: list[Going] = []
    for volume in volumes:
        if volume.refusal:
            raise OpsError(f"nothing was removed: {volume.refusal}")
        of_cache = [image for image in images if image.host == volume.host]
        missing += inventory.not_there(volume, of_cache)
        going += inventory.going(volume, of_cache)
    by_host = {cache.host: cache for cache in concerned}
    _refuse([by_host[image.host].referred(image) for image in missing], arguments.stack)
    before = [one.volume for one in volumes]
    after = {}
    if arguments.yes:
        after = removed(
            client,
            concerned,
            before,
            lambda volume: inventory.removal(volume, going),
            arguments.stack,
        )
    freed = sum(volume.size - after[volume.host] for volume in before if volume.host in after)
    named = [replace(one, image=by_host[one.image.host].referred(one.image)) for one in going]
    if arguments.as_json:
        print(_as_json(named, done=arguments.yes, freed=freed))
    else:
        print(_table(named, done=arguments.yes, freed=freed))
    return 0


def _named(
    texts: Sequence[str], caches: Sequence[Cache], settings: Settings
) -> tuple[ImageReference, ...]:
    """The images, by the names that their repositories have in the caches.

    Raises:
        OpsError: one is behind Harbor.
        ImageListError: one is not a reference, or of another registry.
    """
    behind = {upstream.host for upstream in settings.behind_harbor}
    for text in texts:
        if (host := text.partition("/")[0]) in behind:
            raise OpsError(f"{text}: {host} is behind Harbor; remove the image there")
    by_host = {cache.host: cache for cache in caches}
    return tuple(
        replace(image, repository=by_host[image.host].stored(image.repository))
        for image in parse_list("\n".join(texts), "IMAGE", by_host)
    )


def _refuse(missing: Sequence[ImageReference], stack: str) -> None:
    if missing:
        names = ", ".join(map(str, missing))
        raise OpsError(
            f"nothing was removed, because the caches do not have {names}, or only as part of "
            f"another image; what they have: talos-cache list --stack {stack}"
        )


def _table(going: Sequence[Going], *, done: bool, freed: int) -> str:
    lines = [f"{'frees':>10}  {'last used':<10}  image"]
    lines += [
        f"{sizes.amount(one.frees):>10}  {one.last_used or '-':<10}  {one.image}" for one in going
    ]
    count = "1 image" if len(going) == 1 else f"{len(going)} images"
    if done:
        lines.append(f"{count} removed, {sizes.amount(freed)} freed")
    else:
        frees = sum(one.frees for one in going)
        lines.append(f"{count} would go, {sizes.amount(frees)}; nothing was changed: --yes does it")
    return "\n".join(lines)


def _as_json(going: Sequence[Going], *, done: bool, freed: int) -> str:
    return json.dumps(
        {
            "done": done,
            "freed": freed,
            "going": [
                {"image": str(one.image), "lastUsed": one.last_used or None, "frees": one.frees}
                for one in going
            ],
        },
        indent=2,
    )
