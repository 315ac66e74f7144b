"""`warm`: fills the caches before a cluster boots, so that every byte comes from upstream once.

Several nodes that pull one image at once would make a cold cache fetch it several times.
"""

import argparse
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace

import docker

from host.errors import TalosCacheError
from host.locks import only_one
from host.paths import user_cache
from ops.cache_filling import SETTLE_SECONDS, Filling, fill, settled
from ops.commands import image_selection
from ops.commands.image_selection import ImageSelection
from ops.commands.warm_report import Failure, Report, as_json, as_text
from ops.docker import api, cache_metrics
from ops.docker.volumes import opened
from ops.errors import OpsError
from ops.registry import fetch, upstreams_asked
from ops.registry.ping import failure, wait_for_answer
from ops.registry.upstreams_asked import Found
from ops.stack import stack_files, stack_secrets
from plan import diagnosis
from plan.caches.cache import Cache, of_settings
from plan.images.completeness import verified
from plan.images.reference import ImageReference, Platform, parse_platform
from plan.images.warm import reasons
from plan.problems import listed
from plan.settings.stack import Settings

DEFAULT_PARALLEL = 4


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """What the command line says."""

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
        help="how many to fetch at once (default: %(default)s)",
    )
    command.add_argument(
        "--json", dest="as_json", action="store_true", help="the report as one JSON object"
    )


def run(arguments: Arguments) -> int:
    """Fill the caches with the images of a list; 1 if one is not complete afterwards."""
    if arguments.parallel < 1:
        raise OpsError(f"--parallel {arguments.parallel}: at least 1")
    paths = _below_paths(stack_files.check(arguments.stack))
    settings = stack_secrets.settings_of(arguments.stack, upstreams=paths)
    platform = parse_platform(arguments.selection.platform)
    hosts = {upstream.host for upstream in settings.upstreams}
    images = image_selection.named(arguments.selection, arguments.stack, hosts, settings)
    if not images:
        raise OpsError(
            "which images? --images FILE, --talos VERSION, --cluster NAME or --nodes NAME"
        )
    local, behind = image_selection.by_backend(images, settings)
    report = _warm_caches(settings, local, platform, arguments.parallel) if local else None
    filled, trouble = None, None
    if behind:
        from ops.harbor import images as harbor_images  # few stacks have one

        try:
            asked = harbor_images.access(settings)
            filled = harbor_images.warm(asked, behind, platform, arguments.parallel)
        except OpsError as error:  # what the caches got is told all the same
            trouble = error
    found = _asked_why(arguments.stack, settings, report) if report else Found()
    if arguments.as_json:
        print(as_json(report, filled, found.lines, trouble))
    elif report or filled:
        print(as_text(report, filled, found))
    if trouble:
        raise trouble
    return int(bool((report and report.failures) or (filled and filled.failures)))


def _warm_caches(
    settings: Settings,
    images: Sequence[ImageReference],
    platform: Platform,
    parallel: int,
) -> Report:
    lock = user_cache() / "locks" / f"warm-{settings.prefix}.lock"
    sources: AbstractContextManager[Mapping[str, fetch.Source]] = nullcontext({})
    if _below_paths(settings):
        sources = upstreams_asked.sources_below_paths(settings)
    # Two clusters of a stack are warmed at once: what one fetches the other would fetch again.
    with only_one(lock), sources as below:
        return warm(
            api.connect(),
            of_settings(settings),
            images,
            platform,
            parallel,
            offline=settings.offline,
            below=below,
        )


def _below_paths(settings: Settings) -> tuple[str, ...]:
    """The upstreams that are asked and have their images below a path."""
    if settings.offline:
        return ()
    return tuple(upstream.host for upstream in settings.cached if upstream.path_prefix)


def _asked_why(stack: str, settings: Settings, report: Report) -> Found:
    """What is wrong with upstreams from which not everything came, and with their caches' ways.

    In whole sentences, with what to do.
    """
    repositories = {failed.image.host: failed.image.repository for failed in report.failures}
    hosts = sorted(repositories)
    if not hosts:
        return Found()
    try:
        found = upstreams_asked.found(stack, hosts, repositories)
    except TalosCacheError as error:  # the report is worth more
        from ops import passphrase  # most need none

        said = f"{', '.join(hosts)}: not asked what is wrong: {error}"
        way_out = filter(None, (said, passphrase.advice(stack)))
        return Found(sick=dict.fromkeys(hosts, "\n".join(way_out)))
    names = {cache.host: cache.name for cache in of_settings(settings)}
    then = ", then run warm again"
    cut_off = {
        host: f"{host}: {diagnosis.cut_off(said)}; {diagnosis.way_back(names[host], then)}"
        for host, said in found.cut_off.items()
    }
    return replace(found, cut_off=cut_off)


def warm(
    client: docker.DockerClient,
    caches: Sequence[Cache],
    images: Sequence[ImageReference],
    platform: Platform,
    parallel: int,
    *,
    offline: bool,
    below: Mapping[str, fetch.Source] | None = None,
) -> Report:
    """Fetch what the caches lack of these images; what is complete is not touched.

    Args:
        client: of Docker.
        caches: of the stack.
        images: that are wanted.
        platform: which entry of an index is wanted.
        parallel: how much to fetch at once.
        offline: whether the caches ask no upstream.
        below: host -> its upstream, where that may be a proxy cache that has to fetch first.

    Raises:
        OpsError: something is missing and the set is offline, or a cache does not answer.
    """
    started = time.monotonic()
    with opened(client, caches, writable=True) as volumes:
        stores = volumes.stores()
        missing = [one.image for one in verified(stores, images, platform, {}) if one.faults]
        concerned = [cache for cache in caches if cache.host in {one.host for one in missing}]
        _refuse(concerned, missing, offline=offline)
        before = [cache_metrics.pulled(client, cache) for cache in concerned]
        doing = Filling(
            caches={cache.host: cache for cache in caches},
            volumes=volumes,
            stores=stores,
            platform=platform,
            parallel=parallel,
            below=below or {},
        )
        fill(doing, missing)
        failed = [one for one in settled(doing, images) if one.faults]
        upstream_bytes = _from_upstream(client, concerned, before)
    gone = {(host, digest) for host, held in stores.items() for digest in held.gone}
    return Report(
        images=len(images),
        complete_before=len(images) - len(missing),
        upstream_bytes=upstream_bytes,
        unique_bytes=doing.unique_bytes,
        seconds=time.monotonic() - started,
        failures=tuple(
            Failure(image=one.image, why=reasons(one.image, one.faults, doing.said, gone))
            for one in failed
        ),
    )


def _from_upstream(
    client: docker.DockerClient, caches: Sequence[Cache], before: Sequence[cache_metrics.Pulled]
) -> int | None:
    """Bytes that came since `before`; None where a cache was, or is being, started anew."""
    for cache in caches:
        wait_for_answer(cache.local_endpoint, SETTLE_SECONDS)
    try:
        after = [cache_metrics.pulled(client, cache) for cache in caches]
    except OpsError:  # it says nothing at this moment; what failed, and why, is still to be told
        return None
    return cache_metrics.difference(before, after)


def _refuse(
    concerned: Sequence[Cache], missing: Sequence[ImageReference], *, offline: bool
) -> None:
    if offline and missing:
        raise OpsError(
            "the stack is offline, and not all of the images are complete: import these, or take "
            f"'offline' out of the stack file\n{listed(missing)}"
        )
    for cache in concerned:
        if why := failure(cache.local_endpoint):
            raise OpsError(f"the cache {cache.name} does not answer ({why}): make up first")
