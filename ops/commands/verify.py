"""`verify`: proof that every image of a list is complete in the caches, without asking anybody.

It reads the caches' volumes and nothing else, in a container that has no network, so the upstreams
can't be asked; whether the caches run makes no difference. Of images behind Harbor it asks Harbor's
API what it lists as held, which fetches nothing either; their content is not hashed.
"""

import argparse
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

from ops.commands import image_selection
from ops.commands.image_selection import ImageSelection
from ops.docker import api, volume_hashes
from ops.docker.volumes import opened
from ops.stack import stack_files, stack_secrets
from plan.caches.cache import of_settings
from plan.images import storage
from plan.images.completeness import Result, everything, verified
from plan.images.reference import ImageReference, Platform, parse_platform
from plan.images.storage import Store
from plan.settings.stack import Settings


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """What the command line says."""

    stack: str
    selection: ImageSelection
    deep: bool
    as_json: bool


def add_arguments(command: argparse.ArgumentParser) -> None:
    """The options of the command."""
    image_selection.add_arguments(command)
    command.add_argument("--deep", action="store_true", help="hash the content of every blob")
    command.add_argument(
        "--json", dest="as_json", action="store_true", help="the report as one JSON object"
    )


def run(arguments: Arguments) -> int:
    """Prove that images are complete in the caches; 1 if one is not, or if there is none."""
    settings = stack_files.check(arguments.stack)
    platform = parse_platform(arguments.selection.platform)
    hosts = {upstream.host for upstream in settings.upstreams}
    selected = image_selection.named(arguments.selection, arguments.stack, hosts, settings)
    local, behind = image_selection.by_backend(selected, settings)
    results: tuple[Result, ...] = ()
    aside: tuple[Result, ...] = ()
    strays: list[tuple[str, str]] = []
    if local or not selected:
        results, strays = _in_volumes(settings, local, platform, deep=arguments.deep)
    if behind:
        from ops.harbor import images as harbor_images  # few stacks have one

        asked = harbor_images.access(stack_secrets.settings_of(arguments.stack))
        results += harbor_images.verify(asked, behind, platform)
    if not selected:  # what a list names is asked for, whatever it is
        aside = tuple(result for result in results if result.is_aside)
        results = tuple(result for result in results if not result.is_aside)
    if arguments.as_json:
        print(_as_json(results, strays, aside, platform, deep=arguments.deep))
    else:
        print(_table(results, strays, aside))
    return int(not _is_complete(results, strays))


def _in_volumes(
    settings: Settings, selected: Sequence[ImageReference], platform: Platform, *, deep: bool
) -> tuple[tuple[Result, ...], list[tuple[str, str]]]:
    """What the caches' volumes lack of these images, or of all; damaged blobs of no image."""
    with opened(api.connect(), of_settings(settings)) as volumes:
        stores = volumes.stores()
        images = selected or everything(stores)
        digests = _digests(stores, images, platform) if selected else _all_digests(stores)
        damaged = volume_hashes.damaged(volumes, stores, digests) if deep else {}
    results = verified(stores, images, platform, damaged)
    return results, _strays(results, damaged)


def _digests(
    stores: Mapping[str, Store], images: Iterable[ImageReference], platform: Platform
) -> dict[str, set[str]]:
    digests: dict[str, set[str]] = {}
    for image in images:
        parts = storage.parts(stores[image.host], image, platform)
        digests.setdefault(image.host, set()).update(part.digest for part in parts)
    return digests


def _all_digests(stores: Mapping[str, Store]) -> dict[str, set[str]]:
    return {host: set(held.blobs) for host, held in stores.items()}


def _strays(
    results: Sequence[Result], damaged: Mapping[str, frozenset[str]]
) -> list[tuple[str, str]]:
    """(host, digest) of damaged blobs of no image looked at: other platforms', mostly."""
    told = {(result.image.host, fault.digest) for result in results for fault in result.faults}
    return sorted(
        (host, digest)
        for host, digests in damaged.items()
        for digest in digests
        if (host, digest) not in told
    )


def _is_complete(results: Sequence[Result], strays: Sequence[tuple[str, str]]) -> bool:
    """Nothing at all proves nothing: a cache that was never filled is no complete one."""
    return bool(results) and not strays and not any(result.faults for result in results)


def told_aside(result: Result) -> str:
    """Why it is not one of the images, in a line."""
    why = {
        storage.LOOKED_AT: "only its manifest was asked for, never the image",
        storage.ATTACHED: f"belongs to {storage.subject_of(result.image.tag)}, and is incomplete",
    }
    return f"{result.image}: {why[result.kind]}"


def _table(
    results: Sequence[Result], strays: Sequence[tuple[str, str]], aside: Sequence[Result]
) -> str:
    lines = [f"not counted: {told_aside(result)}" for result in aside]
    for result in results:
        for fault in result.faults:
            what = f"{fault.part} {fault.digest}".rstrip()
            lines.append(f"{fault.problem:<10}  {result.image!s:<60}  {what}")
        if result.advice:
            lines.append(f"            {result.advice}")
    lines += [f"damaged     {host:<60}  blob {digest}" for host, digest in strays]
    if not results:
        lines.append("the caches hold no image: pull some, fill them with warm, or import")
    complete = sum(not result.faults for result in results)
    size = sum(result.size for result in results) / 1e6
    lines.append(f"{complete} of {len(results)} images are complete ({size:.1f} MB)")
    if strays or any(result.faults and not result.advice for result in results):
        lines.append("missing parts: warm; damaged or wrong size: repair")
    return "\n".join(lines)


def _as_json(
    results: Sequence[Result],
    strays: Sequence[tuple[str, str]],
    aside: Sequence[Result],
    platform: Platform,
    *,
    deep: bool,
) -> str:
    return json.dumps(
        {
            "complete": _is_complete(results, strays),
            "platform": str(platform),
            "deep": deep,
            "images": [
                {
                    "image": str(result.image),
                    "size": result.size,
                    "faults": [asdict(fault) for fault in result.faults],
                    "advice": result.advice,
                }
                for result in results
            ],
            "notCounted": [{"image": str(result.image), "kind": result.kind} for result in aside],
            "damagedElsewhere": [{"host": host, "digest": digest} for host, digest in strays],
        },
        indent=2,
    )
