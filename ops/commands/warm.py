"""`warm`: fills the caches before a cluster boots, so that every byte comes from upstream once.

Several nodes that pull one image at once would make a cold cache fetch it several times.
"""

import argparse
import hashlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

import docker
import httpx
from tqdm import tqdm

from host import progress_bar
from host.errors import TalosCacheError
from host.locks import only_one
from host.paths import user_cache
from ops import priming
from ops.caches import Cache, of_settings
from ops.commands import image_selection
from ops.commands.image_selection import ImageSelection
from ops.commands.warm_report import Failure, Report, as_json, as_text
from ops.docker import api, cache_metrics
from ops.docker.volumes import Volumes, folder, opened
from ops.errors import OpsError
from ops.halt import Halt
from ops.registry import fetch, upstreams_asked
from ops.registry.ping import failure, wait_for_answer
from ops.registry.rounds import Tries, in_parallel
from ops.registry.upstreams_asked import Found
from ops.stack import stack_files, stack_secrets
from plan import diagnosis
from plan.images import manifests, storage
from plan.images.completeness import Result, verified
from plan.images.manifests import Descriptor
from plan.images.reference import ImageReference, Platform, parse_platform
from plan.images.storage import Store
from plan.images.warm import Wanted, has_manifest, is_awaited, lacking, missing_links, reasons
from plan.problems import listed
from plan.settings.stack import Settings

DEFAULT_PARALLEL = 4
# The registry stores a blob after its answer has ended; a slow disk takes its time for that.
SETTLE_SECONDS = 30
POLL_SECONDS = 0.2


@dataclass(kw_only=True)
class _Run(Tries):
    """One run.

    Attributes:
        caches: by host.
        stores: host -> what its cache held before.
        below: host -> its upstream, where that may be a proxy cache that has to fetch first.
        fetched_manifests: (host, repository, digest) -> size in bytes, of those not held before.
        wanted: host -> what its cache lacked of configs and layers.
    """

    caches: Mapping[str, Cache]
    volumes: Volumes
    stores: Mapping[str, Store]
    platform: Platform
    below: Mapping[str, fetch.Source] = field(default_factory=dict)
    fetched_manifests: dict[tuple[str, str, str], int] = field(default_factory=dict)
    wanted: dict[str, tuple[Wanted, ...]] = field(default_factory=dict)

    @property
    def to_fetch(self) -> tuple[tuple[str, Wanted], ...]:
        """(host, blob) of what has to come from the upstream."""
        return tuple(
            (host, blob) for host, blobs in self.wanted.items() for blob in blobs if blob.fetch
        )

    @property
    def unique_bytes(self) -> int:
        """Bytes of all that was missing, each once."""
        return sum(self.fetched_manifests.values()) + sum(blob.size for _, blob in self.to_fetch)


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
        doing = _Run(
            caches={cache.host: cache for cache in caches},
            volumes=volumes,
            stores=stores,
            platform=platform,
            parallel=parallel,
            below=below or {},
        )
        _fill(doing, missing)
        failed = [one for one in _settled(doing, images) if one.faults]
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


def _fill(doing: _Run, missing: Sequence[ImageReference]) -> None:
    """Fetch the manifests first: only they tell which blobs several images share."""
    with progress_bar.bar("manifests", len(missing), unit="image") as bar:
        parts = in_parallel(
            doing,
            "images",
            [((image.host, str(image)), image) for image in missing],
            lambda image: _parts(doing, image, bar),
        )
    by_host: dict[str, list[tuple[str, Descriptor]]] = {}
    for image, found in zip(missing, parts, strict=True):
        by_host.setdefault(image.host, []).extend((image.repository, part) for part in found or ())
    doing.wanted = {host: lacking(doing.stores[host], found) for host, found in by_host.items()}
    with progress_bar.bar("fetching", sum(blob.size for _, blob in doing.to_fetch)) as bar:
        in_parallel(
            doing,
            "blobs",
            [((host, blob.digest), (host, blob)) for host, blob in doing.to_fetch],
            lambda one: _blob(doing, *one, bar),
        )


def _blob(doing: _Run, host: str, wanted: Wanted, bar: "tqdm[Any]") -> None:
    """Fetch a blob through its cache.

    A proxy cache of Harbor tells a cache that it does not have what it would have to fetch: it is
    made to fetch first (docs/adr/0018).
    """
    cache, repository = fetch.of_cache(doing.caches[host]), wanted.repositories[0]
    try:
        with _counted(bar, doing.halt) as tell:
            fetch.blob(cache, repository, wanted.digest, tell)
    except fetch.FetchError as error:
        upstream = doing.below.get(host)
        if upstream is None or error.status != httpx.codes.NOT_FOUND:
            raise
        try:
            priming.prime(upstream, repository, wanted.digest, wanted.size, doing.halt)
        except fetch.FetchError as another:
            # What is there need not be a Harbor, and then only the first tells what is wrong.
            raise fetch.FetchError(
                f"{error}; {another}",
                status=another.status,
                retry_after=another.retry_after,
                is_broken_off=another.is_broken_off,
            ) from another
        with _counted(bar, doing.halt) as tell:
            fetch.blob(cache, repository, wanted.digest, tell)


@contextmanager
def _counted(bar: "tqdm[Any]", halt: Halt) -> Iterator[Callable[[int], object]]:
    """To tell a bar what comes of a blob; it is taken back where not all of it does."""
    came: list[int] = []

    def tell(size: int) -> None:
        halt.check()
        came.append(size)
        bar.update(size)

    try:
        yield tell
    except fetch.FetchError:
        bar.update(-sum(came))
        raise


def _parts(doing: _Run, image: ImageReference, bar: "tqdm[Any]") -> tuple[Descriptor, ...]:
    """Fetch an image's manifests; its config and layers."""
    parts: list[Descriptor] = []
    asked, ahead = set[str](), [image.wanted]
    while ahead:
        if (reference := ahead.pop()) in asked:
            continue
        asked.add(reference)
        manifest = _manifest(doing, image, reference)
        if manifest.is_index:
            entries = storage.entries(manifest, image, doing.platform)
            if entries is None:
                raise fetch.FetchError(f"{image}: there is none for {doing.platform}")
            ahead += [entry.digest for entry in entries]
        else:
            parts += manifest.refers_to
    bar.update()
    return tuple(parts)


def _manifest(doing: _Run, image: ImageReference, reference: str) -> manifests.Manifest:
    cache = fetch.of_cache(doing.caches[image.host])
    try:
        content = fetch.manifest(cache, image.repository, reference)
    except fetch.FetchError as error:
        raise _explained(doing, image, reference, error) from error
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    if not has_manifest(doing.stores[image.host], image.repository, digest):
        doing.fetched_manifests[image.host, image.repository, digest] = len(content)
    return manifests.parse(content)


def _explained(
    doing: _Run, image: ImageReference, reference: str, error: fetch.FetchError
) -> fetch.FetchError:
    """The same with what its upstream says, where the cache keeps that to itself.

    Whatever else is found out about the upstream of a host that does not deliver belongs here: what
    is given back has its status and its Retry-After, and is tried again by these.
    """
    if error.status != httpx.codes.NOT_FOUND:
        return error
    cache = fetch.of_cache(doing.caches[image.host])
    trouble = fetch.upstream_trouble(cache, image.repository)
    if trouble is None and not reference.startswith("sha256:"):
        trouble = fetch.limit_on_manifests(cache, image.repository)
    if trouble is None:
        return error
    _, _, words = str(trouble).partition(": ")
    return fetch.FetchError(
        f"{error}; its upstream: {words}",
        status=trouble.status,
        retry_after=trouble.retry_after,
    )


def _settled(doing: _Run, images: Sequence[ImageReference]) -> tuple[Result, ...]:
    """What every image lacks in the end, read from the volumes again.

    Blobs are linked here into the repositories that did not fetch them, each as soon as the
    registry has stored it.
    """
    deadline = time.monotonic() + SETTLE_SECONDS
    while True:
        stores = doing.volumes.stores()
        if _linked(doing, stores):
            continue
        results = verified(stores, images, doing.platform, {})
        awaited = any(is_awaited(one.image, one.faults, doing.said) for one in results)
        if not awaited or time.monotonic() > deadline:
            return results
        time.sleep(POLL_SECONDS)


def _linked(doing: _Run, stores: Mapping[str, Store]) -> bool:
    """Write the links that can be written now; whether there were any."""
    any_missing = False
    for host, wanted in doing.wanted.items():
        cache = doing.caches[host]
        links = {
            storage.layer_link(cache.stored(repository), digest): digest
            for repository, digest in missing_links(stores[host], wanted)
        }
        doing.volumes.place_links(folder(cache), links)
        any_missing = any_missing or bool(links)
    return any_missing
