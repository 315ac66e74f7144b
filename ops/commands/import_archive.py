"""`import`: copies an archive's images into the caches' volumes, and checks every digest.

A blob is put in place only when it is complete and has its digest. Links are written when all blobs
are there and make up the images, tags last; boot assets are put in place after that. So whenever an
import ends, the caches serve what they served before, and the next one removes what is half done.
"""

import argparse
import gzip
import io
import json
import tarfile
import tempfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import docker
import zstandard
from docker.errors import APIError, ImageLoadError, ImageNotFound
from requests import RequestException

from host import progress_bar
from host.locks import only_one
from host.paths import user_cache
from ops.archive import boot_assets, reader, talos_layout
from ops.archive.reader import Members
from ops.archive.staging import Blob, Into, compare, copied, no_leftovers, take_blobs
from ops.chunks import chunks
from ops.commands.arguments import add_json
from ops.commands.cache_restart import not_back, stopped
from ops.docker import api, volume_hashes
from ops.docker.volumes import folder, opened
from ops.errors import OpsError
from ops.stack import stack_files
from plan.caches.cache import Cache, of_settings
from plan.caches.cache_plan import VOLUME_LABELS
from plan.images import archive, storage, talos_image_cache
from plan.images.archive import ArchiveError, BootAsset, Lock
from plan.images.digest import digest_of
from plan.problems import listed
from plan.settings.stack import Settings


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """The arguments of the command line."""

    stack: str
    file: Path
    replace_tags: bool
    as_json: bool


def add_arguments(command: argparse.ArgumentParser) -> None:
    """The options of the command."""
    command.add_argument(
        "file",
        type=Path,
        help="an archive from export, or a folder from talosctl image cache-create",
    )
    command.add_argument(
        "--replace-tags",
        action="store_true",
        help="move tags that mean another image in a cache to the archive's image",
    )
    add_json(command)


def run(arguments: Arguments) -> int:
    """Import an archive, or a folder of talosctl's, into the caches; they may run meanwhile."""
    settings = stack_files.check(arguments.stack)
    bring = _import_folder if arguments.file.is_dir() else _import_archive
    try:
        # Two at once would remove each other's staged files.
        with only_one(user_cache() / "locks" / f"import-{settings.prefix}.lock"):
            new = bring(arguments, settings)
    except (tarfile.TarError, zstandard.ZstdError, zlib.error, gzip.BadGzipFile, EOFError) as error:
        raise OpsError(
            f"{arguments.file} is refused: it is truncated, damaged, or not an archive from export "
            f"({error}). Complete blobs are kept: copy the file again and run import again"
        ) from error
    except RequestException:  # from the docker package, and an OSError too
        raise
    except OSError as error:
        raise OpsError(
            f"importing {arguments.file} failed: {error}. Complete blobs are kept: run import again"
        ) from error
    except ArchiveError as error:
        raise OpsError(f"{arguments.file} is refused: {error}") from error
    print(json.dumps(new, indent=2) if arguments.as_json else _readable(new))
    return 0


def _import_archive(arguments: Arguments, settings: Settings) -> dict[str, int]:
    try:
        file = arguments.file.open("rb")
    except OSError as error:
        raise OpsError(f"{arguments.file} can't be read: {error}") from error
    client = api.connect()
    with file, reader.opened(file) as members:
        lock = _lock(members)
        concerned = _concerned(lock, of_settings(settings))
        _load(members, client, settings.cache.image, lock)
        with (
            _opened(client, lock, concerned, replace_tags=arguments.replace_tags) as into,
            boot_assets.staging(settings.prefix) as assets,
        ):
            received = _members(members, lock, into, assets)
            _refuse_missing(lock, received)
            _link(lock, into)
            boot_assets.place(lock.boot_assets, assets)
            _forget(client, lock, into, arguments.stack)
    return {
        "images": len(lock.images),
        "newBlobs": received.new,
        "bootAssets": len(lock.boot_assets),
    }


def _import_folder(arguments: Arguments, settings: Settings) -> dict[str, int]:
    read = talos_layout.reader(arguments.file)
    # Whatever is there of an index is the image: there is no platform to check it for.
    lock = Lock(
        platform="",
        registry_image="",
        registry_digest="",
        images=talos_layout.images(read()),
        boot_assets=(),
    )
    concerned = _concerned(lock, of_settings(settings))
    client = api.connect()
    with _opened(client, lock, concerned, replace_tags=arguments.replace_tags) as into:
        new = _files(read(), lock, into)
        _link(lock, into)
        _forget(client, lock, into, arguments.stack)
    return {"images": len(lock.images), "newBlobs": new, "bootAssets": 0}


@contextmanager
def _opened(
    client: docker.DockerClient,
    lock: Lock,
    concerned: Sequence[Cache],
    *,
    replace_tags: bool,
) -> Iterator[Into]:
    """The volumes, created if missing, once it is clear that no tag conflicts."""
    for cache in concerned:
        _ensure_volume(client, cache)
    with opened(client, concerned, writable=True) as volumes:
        stores = volumes.stores()
        into = Into(
            volumes=volumes,
            caches={cache.host: cache for cache in concerned},
            stores=stores,
            wanted=lock.by_host,
            damaged=volume_hashes.damaged(volumes, stores, lock.by_host),
        )
        _refuse_conflicts(lock, into, replace=replace_tags)
        with no_leftovers(into):
            yield into


def _lock(members: Members) -> Lock:
    first = members.next()
    if first is None or first.name != archive.LOCK:
        raise ArchiveError(f"it does not begin with {archive.LOCK}: export did not create it")
    content = members.content(first, archive.LOCK_BYTES)
    return archive.parse_lock(content.read().decode(errors="replace"))


def _concerned(lock: Lock, caches: Sequence[Cache]) -> tuple[Cache, ...]:
    if unknown := sorted(set(lock.hosts) - {cache.host for cache in caches}):
        raise ArchiveError(
            f"it has images of {', '.join(unknown)}, but this stack has no cache for them: add "
            "them to 'upstreams' in the stack file"
        )
    return tuple(cache for cache in caches if cache.host in lock.hosts)


def _load(members: Members, client: docker.DockerClient, image: str, lock: Lock) -> None:
    """Load the second member, the registry's image: caches need it, and so does every import."""
    member = members.next()
    if member is None or member.name != archive.REGISTRY_IMAGE:
        raise ArchiveError(f"{archive.REGISTRY_IMAGE} does not follow its {archive.LOCK}")
    content = members.content(member, archive.REGISTRY_IMAGE_BYTES)
    try:
        client.images.get(image)
    except ImageNotFound:
        with tempfile.TemporaryFile() as spooled:
            compare(lock.registry_digest, copied(content, spooled))
            spooled.seek(0)
            _load_checked(spooled, client, image, lock)
    else:
        compare(lock.registry_digest, copied(content))


def _load_checked(checked: IO[bytes], client: docker.DockerClient, image: str, lock: Lock) -> None:
    if lock.registry_image != image:
        raise ArchiveError(
            f"it contains {lock.registry_image}, but this stack uses {image}, which is not on "
            f"this machine: write cache.image: {lock.registry_image}"
        )
    try:
        with api.sent(chunks(checked)) as content:
            client.images.load(content)
        client.images.get(image)
    except (APIError, ImageLoadError) as error:
        raise ArchiveError(f"Docker can't load its registry image: {error}") from error


def _ensure_volume(client: docker.DockerClient, cache: Cache) -> None:
    """Create the volume as `up` would; an existing one stays as it is."""
    client.api.create_volume(cache.name, labels=VOLUME_LABELS)


def _refuse_conflicts(lock: Lock, into: Into, *, replace: bool) -> None:
    tags = {
        host: {name: repository.tags for name, repository in store.repositories.items()}
        for host, store in into.stores.items()
    }
    if (conflicts := archive.conflicts(lock, tags)) and not replace:
        raise ArchiveError(
            "caches have other images under the same tags; no image was changed. --replace-tags "
            f"moves these tags to the archive's images\n{listed(conflicts)}"
        )


@dataclass(kw_only=True)
class _Received:
    """What was read from an archive.

    Attributes:
        names: of all members after the registry's image.
        manifests: digest -> content of every manifest and index.
        new: how many blobs were missing in a cache.
    """

    new: int = 0
    names: set[str] = field(default_factory=set)
    manifests: dict[str, bytes] = field(default_factory=dict)


def _members(members: Members, lock: Lock, into: Into, staged: Path) -> _Received:
    """Read every member that the lock names: blobs into volumes, boot assets into a folder."""
    assets = {f"{archive.BOOT_ASSETS}{asset.path}": asset for asset in lock.boot_assets}
    blobs = {archive.blob_member(digest): digest for digest in lock.blobs}
    sizes = {name: lock.blobs[digest] for name, digest in blobs.items()}
    sizes |= {name: asset.size for name, asset in assets.items()}
    received, manifests = _Received(), lock.manifests

    def incoming() -> Iterator[Blob]:
        while (member := members.next()) is not None:
            _refuse_unknown(member, sizes, received.names)
            received.names.add(member.name)
            content = members.content(member, sizes.get(member.name, archive.LOCK_BYTES))
            if digest := blobs.get(member.name):
                if digest in manifests:
                    received.manifests[digest] = content.read()
                    content = io.BytesIO(received.manifests[digest])
                yield Blob(digest=digest, size=member.size, content=content)
                bar.update(member.size)
            elif asset := assets.get(member.name):
                between.append((asset, content))  # Docker does not have to wait for these
                return

    between: list[tuple[BootAsset, IO[bytes]]] = []
    with progress_bar.bar("importing", lock.size) as bar:
        received.new += take_blobs(into, incoming())
        while between:
            asset, content = between.pop()
            boot_assets.take(asset, content, staged)
            bar.update(asset.size)
            received.new += take_blobs(into, incoming())
    return received


def _refuse_unknown(member: tarfile.TarInfo, sizes: Mapping[str, int], before: set[str]) -> None:
    """Refuse a member that the lock does not name."""
    if member.name in before:
        raise ArchiveError(f"it has a file twice: {member.name}")
    if member.name in sizes:
        if member.size != sizes[member.name]:
            raise ArchiveError(f"{member.name} does not have the size in its {archive.LOCK}")
    elif member.name not in (archive.LAYOUT, archive.INDEX):
        raise ArchiveError(f"it has a file that is not in its {archive.LOCK}: {member.name}")


def _files(files: talos_layout.Files, lock: Lock, into: Into) -> int:
    """Copy every blob and manifest of an image from a folder; returns how many were new."""
    seen = set[str]()

    def incoming() -> Iterator[Blob]:
        for name, size, content in files:
            if talos_layout.is_blob(name):
                digest = talos_image_cache.blob_digest(name)
            else:
                manifest = talos_layout.manifest(name, size, content)
                digest = digest_of(manifest)
                content = io.BytesIO(manifest)
            # A manifest is in every repository that has it, and in the file of its tag.
            if digest in lock.blobs and digest not in seen:
                seen.add(digest)
                yield Blob(digest=digest, size=size, content=content)
                bar.update(size)

    with progress_bar.bar("importing", lock.size) as bar:
        new = take_blobs(into, incoming())
    if lost := lock.blobs.keys() - seen:
        raise ArchiveError(f"it was changed while it was read: {min(lost)} is gone")
    return new


def _link(lock: Lock, into: Into) -> None:
    """Link what is not linked yet; of each image its tag last."""
    links: dict[str, dict[str, str]] = {host: {} for host in into.caches}
    for locked in lock.images:
        image = locked.image
        repository = into.stores[image.host].repository(image.repository)
        name = into.caches[image.host].stored(image.repository)
        for part in locked.parts:
            is_manifest = part.part in archive.MANIFESTS
            if part.digest not in (repository.revisions if is_manifest else repository.layers):
                link = storage.revision_link if is_manifest else storage.layer_link
                links[image.host][link(name, part.digest)] = part.digest
        if image.tag and repository.tags.get(image.tag) != locked.digest:
            for path in storage.tag_links(name, image.tag, locked.digest):
                links[image.host][path] = locked.digest
    for host, cache in into.caches.items():
        into.volumes.place_links(folder(cache), links[host])


def _forget(client: docker.DockerClient, lock: Lock, into: Into, stack: str) -> None:
    """Restart running caches that remember the wrong size of a blob that was damaged."""
    for host, digests in into.damaged.items():
        sizes = into.stores[host].blobs
        if any(sizes[digest] != lock.blobs[digest] for digest in digests):
            with stopped(client, into.caches[host], stack) as ran:
                pass
            if ran and (why := not_back(into.caches[host])):
                raise OpsError(why)


def _refuse_missing(lock: Lock, received: _Received) -> None:
    wanted = {archive.blob_member(digest) for digest in lock.blobs}
    wanted |= {f"{archive.BOOT_ASSETS}{asset.path}" for asset in lock.boot_assets}
    if missing := len(wanted - received.names):
        raise ArchiveError(
            f"it is truncated: {missing} of {len(wanted)} files are missing. Complete blobs are "
            "kept: copy the file again and run import again"
        )
    # The lock may name other parts than the manifests do.
    if incomplete := archive.incomplete(lock, received.manifests):
        raise ArchiveError(f"it does not have all parts of {', '.join(incomplete)}")


def _readable(new: dict[str, int]) -> str:
    return (
        f"{new['images']} images are complete in the caches ({new['newBlobs']} blobs were new), "
        f"{new['bootAssets']} boot assets are in place"
    )
