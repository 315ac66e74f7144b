"""The caches of this machine as a backend: what is in their volumes, and how to fill them."""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace

import docker

from host.console import say
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
from plan.traffic.counters import Counters


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
        """What their volumes contain; the caches need not run."""
        with opened(api.connect(), of_settings(self.settings)) as volumes:
            stores = volumes.stores()
            chosen = images or everything(stores)
            digests = _digests(stores, images, platform) if images else _all_digests(stores)
            damaged = volume_hashes.damaged(volumes, stores, digests) if deep else {}
        results = verified(stores, chosen, platform, damaged)
        return Status(results=results, strays=_strays(results, damaged))

    def fill(self, images: Sequence[ImageReference], platform: Platform, parallel: int) -> Report:
        """Pull through the caches what is missing in their volumes.

        Raises:
            OpsError: something is missing and the stack is offline, or a cache does not answer.
        """
        settings = self.settings
        lock = user_cache() / "locks" / f"warm-{settings.prefix}.lock"
        sources: AbstractContextManager[Mapping[str, fetch.Source]] = nullcontext({})
        if below_paths(settings):
            sources = upstreams_asked.sources_below_paths(settings)
        # Two clusters of a stack may be warmed at once, and would both fetch the same blobs.
        with only_one(lock), sources as below:
            report = warm(
                api.connect(),
                of_settings(settings),
                images,
                platform,
                parallel,
                offline=settings.offline,
                below=below,
                tell=lambda missing: _tell_limits(self.stack, missing),
            )
        return replace(report, found=_asked_why(self.stack, settings, report))


def below_paths(settings: Settings) -> tuple[str, ...]:
    """The hosts of upstreams with a path prefix; none if the stack is offline."""
    if settings.offline:
        return ()
    return tuple(upstream.host for upstream in settings.cached if upstream.path_prefix)


def _tell_limits(stack: str, missing: Sequence[ImageReference]) -> None:
    """Say whether the upstreams allow that many pulls; it may be worth more to wait, or to log in.

    An upstream that can't be asked is reported when the images have failed.
    """
    try:
        for line in upstreams_asked.forecast(stack, Counter(image.host for image in missing)):
            say(line)
    except TalosCacheError as error:
        say(f"could not check limits on pulls: {error}")


def _asked_why(stack: str, settings: Settings, report: Report) -> Found:
    """What is wrong with the upstreams of failed images, or with the caches' connections to them.

    In full sentences that say what to do.
    """
    repositories = {failed.image.host: failed.image.repository for failed in report.failures}
    hosts = sorted(repositories)
    if not hosts:
        return Found()
    try:
        found = upstreams_asked.found(stack, hosts, repositories)
    except TalosCacheError as error:  # the report is worth more
        from ops import passphrase  # rarely needed

        unchecked = f"{', '.join(hosts)}: could not check what is wrong: {error}"
        lines = filter(None, (unchecked, passphrase.advice(stack)))
        return Found(sick=dict.fromkeys(hosts, "\n".join(lines)))
    names = {cache.host: cache.name for cache in of_settings(settings)}
    then = ", then run warm again"
    cut_off = {
        host: f"{host}: {diagnosis.cut_off(answer)}; {diagnosis.way_back(names[host], then)}"
        for host, answer in found.cut_off.items()
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
    tell: Callable[[Sequence[ImageReference]], None] = lambda _: None,
) -> Report:
    """Fetch what is missing of these images; what is complete is not touched.

    Args:
        client: of Docker.
        caches: of the stack.
        images: to have complete.
        platform: which entry of an index to fetch.
        parallel: how many downloads at once.
        offline: whether the caches use no upstream.
        below: host -> its upstream, if that may be a proxy cache that must fetch first.
        tell: called with what is missing, before anything is fetched.

    Raises:
        OpsError: something is missing and the stack is offline, or a cache does not answer.
    """
    started = time.monotonic()
    with opened(client, caches, writable=True) as volumes:
        stores = volumes.stores()
        results = verified(stores, images, platform, {})
        missing = [result.image for result in results if result.faults]
        concerned = [cache for cache in caches if cache.host in {image.host for image in missing}]
        _refuse(concerned, missing, offline=offline)
        tell(missing)
        before = [cache_metrics.counted(client, cache) for cache in concerned]
        doing = Filling(
            caches={cache.host: cache for cache in caches},
            volumes=volumes,
            stores=stores,
            platform=platform,
            parallel=parallel,
            below=below or {},
        )
        fill(doing, missing)
        failed = [result for result in settled(doing, images) if result.faults]
        upstream_bytes = _from_upstream(client, concerned, before)
    gone = {(host, digest) for host, store in stores.items() for digest in store.gone}
    return Report(
        images=len(images),
        complete_before=len(images) - len(missing),
        upstream_bytes=upstream_bytes,
        unique_bytes=doing.unique_bytes,
        seconds=time.monotonic() - started,
        failures=tuple(
            Failure(image=result.image, why=reasons(result.image, result.faults, doing.said, gone))
            for result in failed
        ),
    )


def _from_upstream(
    client: docker.DockerClient, caches: Sequence[Cache], before: Sequence[Counters]
) -> int | None:
    """Bytes fetched since `before`; None if a cache was restarted, or is restarting."""
    for cache in caches:
        wait_for_answer(cache.local_endpoint, SETTLE_SECONDS)
    try:
        after = [cache_metrics.counted(client, cache) for cache in caches]
    except OpsError:  # it does not answer at this moment; the report is worth more
        return None
    return cache_metrics.fetched_between(before, after)


def _refuse(
    concerned: Sequence[Cache], missing: Sequence[ImageReference], *, offline: bool
) -> None:
    if offline and missing:
        raise OpsError(
            "the stack is offline, and not all of the images are complete: import these, or remove "
            f"'offline' from the stack file\n{listed(missing)}"
        )
    for cache in concerned:
        if why := failure(cache.local_endpoint):
            raise OpsError(f"the cache {cache.name} does not answer ({why}): run make up first")


def _digests(
    stores: Mapping[str, Store], images: Iterable[ImageReference], platform: Platform
) -> dict[str, set[str]]:
    digests: dict[str, set[str]] = {}
    for image in images:
        parts = storage.parts(stores[image.host], image, platform)
        digests.setdefault(image.host, set()).update(part.digest for part in parts)
    return digests


def _all_digests(stores: Mapping[str, Store]) -> dict[str, set[str]]:
    return {host: set(store.blobs) for host, store in stores.items()}


def _strays(
    results: Sequence[Result], damaged: Mapping[str, frozenset[str]]
) -> tuple[tuple[str, str], ...]:
    """(host, digest) of damaged blobs of no image in the results: of other platforms, mostly."""
    reported = {(result.image.host, fault.digest) for result in results for fault in result.faults}
    blobs = ((host, digest) for host, digests in damaged.items() for digest in digests)
    return tuple(sorted(blob for blob in blobs if blob not in reported))
