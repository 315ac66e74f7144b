"""Fetches through caches what they lack of images, until their volumes have it.

Manifests come first: only they tell which blobs several images share. Each blob is fetched once,
and linked into the other repositories that want it.
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

# The registry stores a blob after its answer has ended; a slow disk takes its time for that.
SETTLE_SECONDS = 30
POLL_SECONDS = 0.2


@dataclass(kw_only=True)
class Filling(Tries):
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


def fill(doing: Filling, missing: Sequence[ImageReference]) -> None:
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


def _blob(doing: Filling, host: str, wanted: Wanted, bar: "tqdm[Any]") -> None:
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


def _parts(doing: Filling, image: ImageReference, bar: "tqdm[Any]") -> tuple[Descriptor, ...]:
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
    """The same with what its upstream says, where the cache keeps that to itself.

    Whatever else is found out about the upstream of a host that does not deliver belongs here: what
    is given back has its status and its Retry-After, and is tried again by these.
    """
    if error.status != httpx.codes.NOT_FOUND:
        return error
    cache = fetch.of_cache(doing.caches[image.host])
    trouble = fetch.upstream_trouble(cache, image.repository)
    if trouble is None and not reference.startswith(SHA256):
        trouble = fetch.limit_on_manifests(cache, image.repository)
    if trouble is None:
        return error
    _, _, words = str(trouble).partition(": ")
    return fetch.FetchError(
        f"{error}; its upstream: {words}",
        status=trouble.status,
        retry_after=trouble.retry_after,
    )


def settled(doing: Filling, images: Sequence[ImageReference]) -> tuple[Result, ...]:
    """What every image lacks in the end, read from the volumes again.

    Blobs are linked here into the repositories that did not fetch them, each as soon as the
    registry has stored it.
    """

    def look() -> tuple[Result, ...]:
        while _linked(doing, stores := doing.volumes.stores()):
            continue
        return verified(stores, images, doing.platform, {})

    def is_done(results: tuple[Result, ...]) -> bool:
        return not any(is_awaited(one.image, one.faults, doing.said) for one in results)

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
