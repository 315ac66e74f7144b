"""The caches of this machine: what they hold, by their volumes, and having them hold more."""

import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace

import docker

from host.errors import TalosCacheError
from host.locks import only_one
from host.paths import user_cache
from ops.backends.backend import Status
from ops.backends.cache_filling import SETTLE_SECONDS, Filling, fill, settled
from ops.backends.cache_report import Failure, Report
from ops.docker import api, cache_metrics, volume_hashes
from ops.docker.volumes import opened
from ops.errors import OpsError
from ops.registry import fetch, upstreams_asked
from ops.registry.ping import failure, wait_for_answer
from ops.registry.upstreams_asked import Found
from plan import diagnosis
from plan.caches.cache import Cache, of_settings
from plan.images import storage
from plan.images.completeness import Result, everything, verified
from plan.images.reference import ImageReference, Platform
from plan.images.storage import Store
from plan.images.warm import reasons
from plan.problems import listed
from plan.settings.stack import Settings


@dataclass(frozen=True)
class CachesBackend:
    """See `Backend`.

    Attributes:
        stack: whose caches they are.
        settings: of the stack; to fill caches below a path, with the secrets opened.
    """

    stack: str
    settings: Settings
    name: None = None

    def status(self, images: Sequence[ImageReference], platform: Platform, *, deep: bool) -> Status:
        """What their volumes hold; whether the caches run makes no difference."""
        with opened(api.connect(), of_settings(self.settings)) as volumes:
            stores = volumes.stores()
            chosen = images or everything(stores)
            digests = _digests(stores, images, platform) if images else _all_digests(stores)
            damaged = volume_hashes.damaged(volumes, stores, digests) if deep else {}
        results = verified(stores, chosen, platform, damaged)
        return Status(results=results, strays=_strays(results, damaged))

    def fill(self, images: Sequence[ImageReference], platform: Platform, parallel: int) -> Report:
        """Pull through the caches what their volumes lack.

        Raises:
            OpsError: something is missing and the set is offline, or a cache does not answer.
        """
        settings = self.settings
        lock = user_cache() / "locks" / f"warm-{settings.prefix}.lock"
        sources: AbstractContextManager[Mapping[str, fetch.Source]] = nullcontext({})
        if below_paths(settings):
            sources = upstreams_asked.sources_below_paths(settings)
        # Two clusters of a stack are warmed at once: what one fetches the other would fetch again.
        with only_one(lock), sources as below:
            report = warm(
                api.connect(),
                of_settings(settings),
                images,
                platform,
                parallel,
                offline=settings.offline,
                below=below,
            )
        return replace(report, found=_asked_why(self.stack, settings, report))


def below_paths(settings: Settings) -> tuple[str, ...]:
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
) -> tuple[tuple[str, str], ...]:
    """(host, digest) of damaged blobs of no image looked at: other platforms', mostly."""
    told = {(result.image.host, fault.digest) for result in results for fault in result.faults}
    strays = ((host, digest) for host, digests in damaged.items() for digest in digests)
    return tuple(sorted(stray for stray in strays if stray not in told))
