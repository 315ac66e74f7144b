"""What to download from the upstream to fill a cache: every blob once.

distribution would fetch a blob again for every repository it is requested from. A blob that the
volume has from another repository needs only a link.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from plan.images.manifests import Descriptor
from plan.images.reference import ImageReference
from plan.images.storage import MISSING, Fault, Store


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """A missing blob.

    Attributes:
        size: in bytes.
        fetch: whether it must be downloaded, through the first of `repositories`.
        repositories: where it is missing; at least one.
    """

    digest: str
    size: int
    fetch: bool
    repositories: tuple[str, ...]


def lacking(store: Store, parts: Iterable[tuple[str, Descriptor]]) -> tuple[Wanted, ...]:
    """The blobs missing in one cache, of these (repository, config or layer); each once.

    A blob of the wrong size does not count as missing: the registry would keep serving it, and
    `repair` finds it.
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
    """Whether a repository can serve a manifest or an index without its upstream."""
    return digest in store.repository(repository).revisions and digest in store.blobs


def missing_links(store: Store, wanted: Iterable[Wanted]) -> tuple[tuple[str, str], ...]:
    """(Repository, digest) of links that can be written now: the blob exists, the link does not.

    Args:
        store: what the cache has now.
        wanted: what was missing before.
    """
    return tuple(
        (name, blob.digest)
        for blob in wanted
        if blob.digest in store.blobs
        for name in blob.repositories
        if not _is_linked(store, name, blob.digest)
    )


def is_awaited(
    image: ImageReference, faults: Iterable[Fault], errors: Mapping[tuple[str, str], str]
) -> bool:
    """Whether a missing part of an image was delivered, and may still be stored in the volume.

    Args:
        image: the image.
        faults: its faults.
        errors: (host, image or digest) -> why the registry did not deliver it.
    """
    return (image.host, str(image)) not in errors and any(
        fault.problem == MISSING and (image.host, fault.digest) not in errors for fault in faults
    )


def reasons(
    image: ImageReference,
    faults: Iterable[Fault],
    errors: Mapping[tuple[str, str], str],
    gone: Collection[tuple[str, str]] = (),
) -> tuple[str, ...]:
    """Why an image is incomplete, each reason once; for the arguments see `is_awaited`.

    `gone` has (host, digest) of what the cache once had: while it runs, it remembers that.
    """

    def is_gone(fault: Fault) -> bool:
        # The cache fetches a manifest again by itself. It trusts its memory only for blobs.
        return fault.part in ("config", "layer") and (image.host, fault.digest) in gone

    def reason(fault: Fault) -> str:
        if is_gone(fault):
            return f"{fault.part} {fault.digest}: its file is gone from the volume; run repair"
        return errors.get((image.host, fault.digest)) or _text(fault)

    of_image = errors.get((image.host, str(image)))
    if of_image and not any(map(is_gone, faults)):
        return (of_image,)
    return tuple(dict.fromkeys(map(reason, faults)))


def _is_linked(store: Store, repository: str, digest: str) -> bool:
    return digest in store.repository(repository).layers


def _text(fault: Fault) -> str:
    what = f"{fault.part} {fault.digest}".rstrip()
    if fault.problem == MISSING:
        return f"{what}: delivered, but not stored; the cache's log says why"
    return f"{what}: {fault.problem}; run repair"
