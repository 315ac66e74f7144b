"""`warm`: fills the caches before a cluster boots, so that every byte comes from upstream once.

If several nodes pull one image at once through a cold cache, it fetches the image several times.
"""

import argparse
import json
from collections.abc import Mapping
from dataclasses import dataclass

from ops.backends.backend import FillReport
from ops.backends.caches import below_paths
from ops.backends.choice import backends_of
from ops.commands import image_selection
from ops.commands.arguments import add_json
from ops.commands.image_selection import ImageSelection
from ops.errors import OpsError
from ops.stack import stack_files, stack_secrets
from plan.images.reference import parse_platform

DEFAULT_PARALLEL = 4


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """The arguments of the command line."""

    stack: str
    selection: ImageSelection
    parallel: int
    as_json: bool


def add_arguments(command: argparse.ArgumentParser) -> None:
    """The options of the command."""
    image_selection.add_arguments(command)
    command.add_argument(
        "--parallel",
        type=int,
        default=DEFAULT_PARALLEL,
        metavar="N",
        help="how many downloads at once (default: %(default)s)",
    )
    add_json(command)


def run(arguments: Arguments) -> int:
    """Fill the caches with the images of a list; exits with 1 if one is incomplete afterwards."""
    if arguments.parallel < 1:
        raise OpsError(f"--parallel {arguments.parallel}: must be at least 1")
    paths = below_paths(stack_files.check(arguments.stack))
    settings = stack_secrets.settings_of(arguments.stack, upstreams=paths)
    platform = parse_platform(arguments.selection.platform)
    hosts = {upstream.host for upstream in settings.upstreams}
    images = image_selection.named(arguments.selection, arguments.stack, hosts, settings)
    if not images:
        raise OpsError(
            "no images selected: add --images FILE, --talos VERSION, --cluster NAME or --nodes NAME"
        )
    reports: dict[str | None, FillReport] = {}
    trouble: tuple[str | None, OpsError] | None = None
    for backend, wanted in backends_of(images, arguments.stack, settings, lambda: settings):
        try:
            reports[backend.name] = backend.fill(wanted, platform, arguments.parallel)
        except OpsError as error:  # raised below, after the reports so far
            trouble = backend.name, error
            break
    if arguments.as_json and (shown := _as_json(reports, trouble)):
        print(json.dumps(shown, indent=2))
    elif reports:
        print("\n".join(report.as_text() for report in reports.values()))
    if trouble:
        raise trouble[1]
    return int(not all(report.is_complete for report in reports.values()))


def _as_json(
    reports: Mapping[str | None, FillReport], trouble: tuple[str | None, OpsError] | None
) -> dict[str, object]:
    shown: dict[str, object] = {}
    for name, report in reports.items():
        shown |= {name: report.as_json()} if name else report.as_json()
    if trouble and trouble[0]:
        shown[trouble[0]] = {"complete": False, "error": str(trouble[1])}
    return shown
