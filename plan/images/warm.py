"""What has to cross the upstream link to fill a cache: every blob once, whoever wants it.

distribution fetches a blob again for every repository that asks for it. A blob that the volume has
from another repository needs only a link.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from plan.images.manifests import Descriptor
from plan.images.reference import ImageReference
from plan.images.storage import MISSING, Fault, Store


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """A blob that is missing somewhere.

    Attributes:
        size: in bytes.
        fetch: whether it has to come from the upstream, through the first of `repositories`.
        repositories: that lack it; at least one.
    """

    digest: str
    size: int
    fetch: bool
    repositories: tuple[str, ...]


def lacking(store: Store, parts: Iterable[tuple[str, Descriptor]]) -> tuple[Wanted, ...]:
    """What one cache lacks of these (repository, config or layer), each blob once.

    A blob of the wrong size counts as there: the registry would go on serving it, and `repair`
    finds it.
    """
    wanted: dict[str, dict[str, int]] = {}
    for repository, part in parts:
        if not (_is_linked(store, repository, part.digest) and part.digest in store.blobs):
            wanted.setdefault(part.digest, {})[repository] = part.size
    return tuple(
        Wanted(
            digest=digest,
            size=max(repositories.values()),
            fetch=digest not in store.blobs,
            repositories=tuple(repositories),
        )
        for digest, repositories in wanted.items()
    )


def has_manifest(store: Store, repository: str, digest: str) -> bool:
    """Whether a repository serves a manifest, or an index, by itself."""
    return digest in store.repository(repository).revisions and digest in store.blobs


def missing_links(store: Store, wanted: Iterable[Wanted]) -> tuple[tuple[str, str], ...]:
    """(repository, digest) of the links that can be written now: the blob is there, the link not.

    Args:
        store: what the cache holds now.
        wanted: what it lacked before.
    """
    return tuple(
        (name, blob.digest)
        for blob in wanted
        if blob.digest in store.blobs
        for name in blob.repositories
        if not _is_linked(store, name, blob.digest)
    )


def is_awaited(
    image: ImageReference, faults: Iterable[Fault], said: Mapping[tuple[str, str], str]
) -> bool:
    """Whether something that an image lacks was delivered, and may still come into the volume.

    Args:
        image: that it is about.
        faults: what it lacks.
        said: (host, image or digest) -> why the registry did not deliver it.
    """
    return (image.host, str(image)) not in said and any(
        fault.problem == MISSING and (image.host, fault.digest) not in said for fault in faults
    )


def reasons(
    image: ImageReference,
    faults: Iterable[Fault],
    said: Mapping[tuple[str, str], str],
    gone: Collection[tuple[str, str]] = (),
) -> tuple[str, ...]:
    """Why an image is not complete, each reason once; arguments as for `is_awaited`.

    `gone` has (host, digest) of what the cache once had: while it runs it remembers that.
    """

    def is_gone(fault: Fault) -> bool:
        # A manifest comes again by itself: only what it remembers of blobs does it not look up.
        return fault.part in ("config", "layer") and (image.host, fault.digest) in gone

    def reason(fault: Fault) -> str:
        if is_gone(fault):
            return f"{fault.part} {fault.digest}: its file is gone from the volume; repair mends it"
        return said.get((image.host, fault.digest)) or _in_words(fault)

    of_image = said.get((image.host, str(image)))
    if of_image and not any(map(is_gone, faults)):
        return (of_image,)
    return tuple(dict.fromkeys(map(reason, faults)))


def _is_linked(store: Store, repository: str, digest: str) -> bool:
    return digest in store.repository(repository).layers


def _in_words(fault: Fault) -> str:
    what = f"{fault.part} {fault.digest}".rstrip()
    if fault.problem == MISSING:
        return f"{what}: delivered, but not stored; the cache's log says why"
    return f"{what}: {fault.problem}; repair mends it"
