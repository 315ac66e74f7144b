"""Fetches through the caches what is missing of images, until their volumes have it.

Manifests come first: they tell which blobs several images share. Each blob is fetched once, and
linked into the other repositories that need it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
from tqdm import tqdm

from host import progress_bar
from ops import priming, waiting
from ops.docker.volumes import Volumes, folder
from ops.halt import Halt
from ops.registry import fetch
from ops.registry.rounds import Tries, in_parallel
from plan.caches.cache import Cache
from plan.images import manifests, storage
from plan.images.completeness import Result, verified
from plan.images.digest import SHA256, digest_of
from plan.images.manifests import Descriptor
from plan.images.reference import ImageReference, Platform
from plan.images.storage import Store
from plan.images.warm import Wanted, has_manifest, is_awaited, lacking, missing_links

# The registry stores a blob after its answer has ended; that takes a while on a slow disk.
SETTLE_SECONDS = 30
POLL_SECONDS = 0.2


@dataclass(kw_only=True)
class Filling(Tries):
    """One run.

    Attributes:
        caches: by host.
        stores: host -> what its cache contained before.
        below: host -> its upstream, if that may be a proxy cache that must fetch first.
        fetched_manifests: (host, repository, digest) -> size in bytes, of new manifests.
        wanted: host -> the configs and layers that were missing in its cache.
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
        """(host, blob) of every blob that must be fetched from the upstream."""
        return tuple(
            (host, blob) for host, blobs in self.wanted.items() for blob in blobs if blob.fetch
        )

    @property
    def unique_bytes(self) -> int:
        """Bytes of everything that was missing, each blob counted once."""
        return sum(self.fetched_manifests.values()) + sum(blob.size for _, blob in self.to_fetch)


def fill(doing: Filling, missing: Sequence[ImageReference]) -> None:
    """Fetch the manifests, then each blob once."""
    with progress_bar.bar("manifests", len(missing), unit="image") as bar:
        parts = in_parallel(
            doing,
            "images",
            [((image.host, str(image)), image) for image in missing],
            lambda image: _parts(doing, image, bar),
        )
    by_host: dict[str, list[tuple[str, Descriptor]]] = {}
    for image, of_image in zip(missing, parts, strict=True):
        named = ((image.repository, part) for part in of_image or ())
        by_host.setdefault(image.host, []).extend(named)
    doing.wanted = {host: lacking(doing.stores[host], named) for host, named in by_host.items()}
    with progress_bar.bar("fetching", sum(blob.size for _, blob in doing.to_fetch)) as bar:
        in_parallel(
            doing,
            "blobs",
            [((host, blob.digest), (host, blob)) for host, blob in doing.to_fetch],
            lambda one: _blob(doing, *one, bar),
        )


def _blob(doing: Filling, host: str, wanted: Wanted, bar: "tqdm[Any]") -> None:
    """Fetch a blob through its cache.

    To a cache, a Harbor proxy cache answers 404 for a blob that it would have to fetch: it is made
    to fetch first (docs/adr/0018).
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
            # The upstream may not be a Harbor; then only the first error tells what is wrong.
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
    """Yields what to call with received bytes of a blob; the bar goes back if the blob fails."""
    received: list[int] = []

    def tell(size: int) -> None:
        halt.check()
        received.append(size)
        bar.update(size)

    try:
        yield tell
    except fetch.FetchError:
        bar.update(-sum(received))
        raise


def _parts(doing: Filling, image: ImageReference, bar: "tqdm[Any]") -> tuple[Descriptor, ...]:
    """Fetch an image's manifests; returns its config and layers."""
    parts: list[Descriptor] = []
    fetched, to_fetch = set[str](), [image.wanted]
    while to_fetch:
        if (reference := to_fetch.pop()) in fetched:
            continue
        fetched.add(reference)
        manifest = _manifest(doing, image, reference)
        if manifest.is_index:
            entries = storage.entries(manifest, image, doing.platform)
            if entries is None:
                raise fetch.FetchError(f"{image}: there is none for {doing.platform}")
            to_fetch += [entry.digest for entry in entries]
        else:
            parts += manifest.refers_to
    bar.update()
    return tuple(parts)


def _manifest(doing: Filling, image: ImageReference, reference: str) -> manifests.Manifest:
    cache = fetch.of_cache(doing.caches[image.host])
    try:
        content = fetch.manifest(cache, image.repository, reference)
    except fetch.FetchError as error:
        raise _explained(doing, image, reference, error) from error
    digest = digest_of(content)
    if not has_manifest(doing.stores[image.host], image.repository, digest):
        doing.fetched_manifests[image.host, image.repository, digest] = len(content)
    return manifests.parse(content)


def _explained(
    doing: Filling, image: ImageReference, reference: str, error: fetch.FetchError
) -> fetch.FetchError:
    """The error with the upstream's answer added, if the cache does not pass that on.

    Any other diagnosis of an upstream that does not deliver belongs here: the error returned has
    the upstream's status and Retry-After, which decide on retries.
    """
    if error.status != httpx.codes.NOT_FOUND:
        return error
    cache = fetch.of_cache(doing.caches[image.host])
    trouble = fetch.upstream_trouble(cache, image.repository)
    if trouble is None and not reference.startswith(SHA256):
        trouble = fetch.limit_on_manifests(cache, image.repository)
    if trouble is None:
        return error
    _, _, answer = str(trouble).partition(": ")
    return fetch.FetchError(
        f"{error}; its upstream: {answer}",
        status=trouble.status,
        retry_after=trouble.retry_after,
    )


def settled(doing: Filling, images: Sequence[ImageReference]) -> tuple[Result, ...]:
    """What is missing of every image in the end, read from the volumes again.

    Also links blobs into the repositories that did not fetch them, each as soon as the registry has
    stored it.
    """

    def look() -> tuple[Result, ...]:
        while _linked(doing, stores := doing.volumes.stores()):
            continue
        return verified(stores, images, doing.platform, {})

    def is_done(results: tuple[Result, ...]) -> bool:
        return not any(is_awaited(result.image, result.faults, doing.said) for result in results)

    return waiting.until(is_done, look, seconds=SETTLE_SECONDS, pause=POLL_SECONDS)


def _linked(doing: Filling, stores: Mapping[str, Store]) -> bool:
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
