"""`verify`: proves that every image of a list is complete in the caches, without any upstream.

It only reads the caches' volumes, in a container without network, so no upstream can be reached;
the caches need not run. Images behind Harbor are looked up in Harbor's API, which fetches nothing
either; their content is not hashed.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from ops.backends.choice import backends_of
from ops.commands import image_selection
from ops.commands.arguments import add_json
from ops.commands.image_selection import ImageSelection
from ops.stack import stack_files, stack_secrets
from plan.images import storage
from plan.images.completeness import Result
from plan.images.reference import Platform, parse_platform


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """The arguments of the command line."""

    stack: str
    selection: ImageSelection
    deep: bool
    as_json: bool


def add_arguments(command: argparse.ArgumentParser) -> None:
    """The options of the command."""
    image_selection.add_arguments(command)
    command.add_argument("--deep", action="store_true", help="hash the content of every blob")
    add_json(command)


def run(arguments: Arguments) -> int:
    """Prove that images are complete in the caches; exits with 1 if one is not, or if none is."""
    stack, settings = arguments.stack, stack_files.check(arguments.stack)
    platform = parse_platform(arguments.selection.platform)
    hosts = {upstream.host for upstream in settings.upstreams}
    selected = image_selection.named(arguments.selection, stack, hosts, settings)
    results: tuple[Result, ...] = ()
    aside: tuple[Result, ...] = ()
    strays: tuple[tuple[str, str], ...] = ()
    for backend, images in backends_of(
        selected, stack, settings, lambda: stack_secrets.settings_of(stack)
    ):
        status = backend.status(images, platform, deep=arguments.deep)
        results, strays = (*results, *status.results), (*strays, *status.strays)
    if not selected:  # an image that a list names counts, whatever it is
        aside = tuple(result for result in results if result.is_aside)
        results = tuple(result for result in results if not result.is_aside)
    if arguments.as_json:
        print(_as_json(results, strays, aside, platform, deep=arguments.deep))
    else:
        print(_table(results, strays, aside))
    return int(not _is_complete(results, strays))


def _is_complete(results: Sequence[Result], strays: Sequence[tuple[str, str]]) -> bool:
    """No images prove nothing: a cache that was never filled is not complete."""
    return bool(results) and not strays and not any(result.faults for result in results)


def told_aside(result: Result) -> str:
    """Why a result does not count as an image, in one line."""
    why = {
        storage.LOOKED_AT: "only its manifest was requested, never the image",
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
        lines.append("the caches have no images: pull some, or run warm or import")
    complete = sum(not result.faults for result in results)
    size = sum(result.size for result in results) / 1e6
    lines.append(f"{complete} of {len(results)} images are complete ({size:.1f} MB)")
    if strays or any(result.faults and not result.advice for result in results):
        lines.append("to fetch missing parts, run warm; to replace damaged ones, run repair")
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
