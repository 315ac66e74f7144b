"""Has proxy caches of Harbor fetch images; only manifests are sent here."""

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from host.errors import TalosCacheError
from ops import priming
from ops.halt import Halt
from ops.harbor.busy import Upstream
from ops.harbor.client import trusting
from ops.registry import fetch as fetching
from ops.registry.fetch import FetchError, Source
from ops.registry.tokens import TokenAuth
from plan.harbor.artifacts import Delivered
from plan.harbor.desired import mirror_url
from plan.images import manifests
from plan.images.reference import ImageReference, Platform

# So long Harbor waits for the blobs of a manifest before it fetches them by itself, which fails
# where one is still on its way. For the tag, and the platforms of an index, it waits longer.
PATIENCE_SECONDS = 200
# So long it waits for the platforms of an index. Where one has failed, nobody is kept for longer.
INDEX_SECONDS = 400
Part = tuple[str, str, str]  # upstream's host, repository, digest
Item = TypeVar("Item")
Outcome = TypeVar("Outcome")


@dataclass(frozen=True, kw_only=True)
class Pulled:
    """What a pull did.

    Attributes:
        transferred: bytes of manifests and blobs that Harbor got, each once in a repository.
        delivered: image -> what came of it.
        said: image -> why it did not come, for those that did not.
    """

    transferred: int
    delivered: Mapping[ImageReference, Delivered]
    said: Mapping[ImageReference, str]


def source(url: str, project: str, username: str, password: str, ca_pem: str = "") -> Source:
    """A project of Harbor as a registry.

    Args:
        url: of the Harbor.
        project: name of the proxy cache.
        username: of a robot, or of a user; empty for nobody.
        password: of it.
        ca_pem: certificates to trust beside the machine's own.
    """
    return fetching.source(
        mirror_url(url, project), auth=TokenAuth(username, password), context=trusting(ca_pem)
    )


def pull(
    registries: Mapping[str, Source],
    images: Sequence[ImageReference],
    platform: Platform,
    parallel: int,
    has: Callable[[ImageReference, str], bool],
    progress: Callable[[int], object],
) -> Pulled:
    """Make Harbor store images: all platforms of an index.

    Args:
        registries: upstream's host -> its proxy cache.
        images: of these upstreams.
        platform: which entry of an index is wanted.
        parallel: how many images, and how many blobs, to fetch at once.
        has: whether Harbor has stored a manifest of an image already, with all that belongs to it.
        progress: told the number of bytes of every blob that Harbor got.
    """
    wanted = tuple(dict.fromkeys(images))
    said: dict[ImageReference, str] = {}

    def tried(
        work: Callable[[Item], Outcome], item: Item, names: Iterable[ImageReference]
    ) -> Outcome | None:
        try:
            return work(item)
        except TalosCacheError as error:
            said.update(dict.fromkeys(names, str(error)))
            return None

    halt = Halt()
    with (
        ThreadPoolExecutor(max_workers=parallel) as blobs,
        ThreadPoolExecutor(max_workers=parallel) as walks,
        halt.on_failure(),
    ):
        run = _Pull(registries, platform, blobs, has, progress, halt)
        digests = list(walks.map(lambda image: tried(run.ask, image, [image]), wanted))
        contents = _contents(zip(wanted, digests, strict=True))
        # Each by itself, not all manifests first: Harbor waits for what they refer to.
        found = list(walks.map(lambda one: tried(run.fetch, one, one.names), contents))
    delivered = {
        image: what
        for one, what in zip(contents, found, strict=True)
        if what
        for image in one.names
    }
    return Pulled(transferred=run.transferred, delivered=delivered, said=said)


@dataclass(frozen=True, kw_only=True)
class _Content:
    """What one or more images of a repository are names for."""

    digest: str
    names: tuple[ImageReference, ...]


def _contents(asked: Iterable[tuple[ImageReference, str | None]]) -> tuple[_Content, ...]:
    names: dict[Part, tuple[ImageReference, ...]] = {}
    for image, digest in asked:
        if digest is not None:
            part = (image.host, image.repository, digest)
            names[part] = (*names.get(part, ()), image)
    return tuple(_Content(digest=part[2], names=some) for part, some in names.items())


class _Pull:
    """One run of `pull`, whose arguments these are."""

    def __init__(
        self,
        registries: Mapping[str, Source],
        platform: Platform,
        pool: ThreadPoolExecutor,
        has: Callable[[ImageReference, str], bool],
        progress: Callable[[int], object],
        halt: Halt,
    ) -> None:
        self._upstreams = {host: Upstream(host, one, halt) for host, one in registries.items()}
        self._platform = platform
        self._pool = pool
        self._has = has
        self._progress = progress
        self._halt = halt
        self._started = time.monotonic()
        self._lock = threading.Lock()
        self._sizes: dict[Part, int] = {}
        self._fetches: dict[Part, Future[None]] = {}

    @property
    def transferred(self) -> int:
        """Bytes of what Harbor got, each manifest and blob once in a repository."""
        return sum(self._sizes.values())

    def ask(self, image: ImageReference) -> str:
        """The digest of what an image is a name for.

        Only a HEAD of the tag before the first GET, of whatever name, makes Harbor set it. A GET
        makes it remember the index for seven days, and answer every HEAD from that, so that the tag
        is never set. One by tag is the worst: even a HEAD before it does not help.
        """
        tagged = ""
        if image.tag:
            try:
                tagged = self._upstreams[image.host].ask(
                    lambda registry: fetching.head(registry, image.repository, image.tag)
                )
            except FetchError:
                if not image.digest:
                    raise
        # With both the digest decides, and the tag is set only where it is still for it.
        return image.digest or tagged

    def fetch(self, content: _Content) -> Delivered:
        """Fetch what images are names for."""
        if time.monotonic() > self._started + PATIENCE_SECONDS:
            self._ask_again(content)
        started = time.monotonic()
        delivered = self._fetch(content)
        if time.monotonic() > started + PATIENCE_SECONDS:
            self._ask_again(content)
            delivered = self._fetch(content)
        return delivered

    def _ask_again(self, content: _Content) -> None:
        """Harbor waits so long, and no longer, for what it has been asked for."""
        for image in content.names:
            self.ask(image)

    def _fetch(self, content: _Content) -> Delivered:
        image, digest = content.names[0], content.digest
        manifest = self._manifest(image, digest)
        if not manifest.is_index:
            if not self._has(image, digest):
                self._blobs(image, manifest)
            return Delivered(digest=digest)
        chosen, left_out = self._entries(image, manifest, is_wanted=True)
        return Delivered(
            digest=digest,
            platforms=tuple(dict.fromkeys(one.digest for one in manifest.refers_to)),
            chosen=chosen,
            left_out=left_out,
        )

    def _entries(
        self, image: ImageReference, index: manifests.Manifest, *, is_wanted: bool
    ) -> tuple[str | None, str | None]:
        """Fetch all manifests of an index, whatever becomes of one.

        Harbor waits for them, and sets no tag for seven days, for whoever wants which platform, if
        none has come by then.

        Args:
            image: that it belongs to.
            index: with these manifests.
            is_wanted: whether a node takes one of them; false in an index of others.

        Returns:
            The digest of the one that a node takes; why the first of the others did not come.

        Raises:
            TalosCacheError: that one did not come; or one of them, if none is wanted.
        """
        entry = manifests.chosen(index, self._platform) if is_wanted else None
        wanted = entry.digest if entry else None
        failed: dict[str, Exception] = {}
        deadline = time.monotonic() + INDEX_SECONDS
        all_of_it = dict.fromkeys((wanted, *(one.digest for one in index.refers_to)))
        for digest in filter(None, all_of_it):
            if failed and time.monotonic() > deadline:
                break
            try:
                self._walk(image, digest, is_wanted=digest == wanted)
            except TalosCacheError as error:
                failed[digest] = error
        if is_wanted and not wanted:
            raise FetchError(f"{image}: there is none for {self._platform}")
        why = next(iter(failed.values()), None)  # of the wanted one, if that failed
        if why and (not is_wanted or wanted in failed):
            raise why
        return wanted, str(why) if why else None

    def _walk(self, image: ImageReference, digest: str, *, is_wanted: bool) -> None:
        """Fetch a manifest, or an index, with all that it refers to and Harbor does not have."""
        self._halt.check()
        if self._has(image, digest):
            return
        manifest = self._manifest(image, digest)
        if manifest.is_index:
            self._entries(image, manifest, is_wanted=is_wanted)
        else:
            self._blobs(image, manifest)

    def _manifest(self, image: ImageReference, digest: str) -> manifests.Manifest:
        content = self._upstreams[image.host].ask(
            lambda registry: fetching.manifest(registry, image.repository, digest)
        )
        with self._lock:
            self._sizes[image.host, image.repository, digest] = len(content)
        return manifests.parse(content)

    def _blobs(self, image: ImageReference, manifest: manifests.Manifest) -> None:
        """Fetch what a manifest refers to, each once: Harbor keeps it by repository."""
        sizes = {one.digest: one.size for one in manifest.refers_to}
        parts = [(image.host, image.repository, digest) for digest in sizes]
        with self._lock:
            for part in parts:
                if part not in self._fetches:
                    self._fetches[part] = self._pool.submit(self._blob, part, sizes[part[2]])
        for part in parts:
            self._fetches[part].result()

    def _blob(self, part: Part, size: int) -> None:
        host, repository, digest = part
        fetched = self._upstreams[host].ask(
            lambda registry: priming.prime(registry, repository, digest, size, self._halt)
        )
        if not fetched:
            return
        self._progress(size)
        with self._lock:
            self._sizes[part] = size
