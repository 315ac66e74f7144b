"""`export`: one archive with everything that a machine without network needs."""

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import docker
from docker.errors import ImageNotFound
from requests import RequestException

from host import progress_bar
from ops.archive import boot_assets, talos_layout
from ops.archive.writer import ArchiveWriter, new_archive
from ops.chunks import chunks
from ops.commands import image_selection
from ops.commands.arguments import add_json
from ops.commands.image_selection import ImageSelection
from ops.commands.verify import told_aside
from ops.docker import api
from ops.docker.volumes import Volumes, folder, opened
from ops.errors import OpsError
from ops.stack import stack_files
from plan.caches.cache import of_settings
from plan.images import archive, manifests, storage
from plan.images.archive import Lock, LockedImage
from plan.images.completeness import (
    Result,
    everything,
    verified,
)
from plan.images.digest import Hashed
from plan.images.reference import ImageReference, Platform, parse_platform
from plan.images.storage import Store, blob_path
from plan.problems import listed

ARCHIVE, FLAT, OCI = "archive", "talos-flat", "talos-oci"


@dataclass(frozen=True, kw_only=True)
class Arguments:
    """What the command line says."""

    stack: str
    file: Path
    layout: str
    selection: ImageSelection
    with_boot_assets: bool
    as_json: bool


def add_arguments(command: argparse.ArgumentParser) -> None:
    """The options of the command."""
    command.add_argument("file", type=Path, help="the archive, such as talos.tar.zst")
    command.add_argument(
        "--layout",
        choices=(ARCHIVE, FLAT, OCI),
        default=ARCHIVE,
        help="archive: everything import needs, in one file; talos-flat, talos-oci: a folder with "
        "the images alone, as talosctl image cache-create makes them (default: %(default)s)",
    )
    image_selection.add_arguments(command)
    command.add_argument(
        "--no-boot-assets", dest="with_boot_assets", action="store_false", help="images only"
    )
    add_json(command)


def run(arguments: Arguments) -> int:
    """Write images, the registry and boot assets into one archive."""
    settings = stack_files.check(arguments.stack)
    caches = of_settings(settings)
    selection, hosts = arguments.selection, {cache.host for cache in caches}
    platform = parse_platform(selection.platform)
    named = image_selection.named(selection, arguments.stack, hosts, settings)
    if arguments.file.exists():
        raise OpsError(f"{arguments.file} exists already: remove it, or choose another name")
    if not arguments.file.parent.is_dir():
        raise OpsError(f"there is no folder {arguments.file.parent}: create it, or choose another")
    client = api.connect()
    with opened(client, caches) as volumes:
        stores = {cache.host: storage.EMPTY for cache in caches} | volumes.stores()
        # Sorted by cache: import writes those of one volume in one call.
        wanted = sorted(named or everything(stores), key=lambda image: image.host)
        results = verified(stores, wanted, platform, {})
        images = tuple(result.image for result in results if not result.faults)
        left_out = tuple(result for result in results if result.faults)
        if not images or (named and left_out):
            _refuse_incomplete(left_out, platform)
        packed = arguments.layout == ARCHIVE
        lock = Lock(
            platform=str(platform),
            registry_image=settings.cache.image,
            registry_digest="",  # not known before Docker has written the image
            images=tuple(_locked(stores[image.host], image, platform) for image in images),
            boot_assets=boot_assets.downloaded() if packed and arguments.with_boot_assets else (),
        )
        if packed:
            _refuse_too_large(lock)
            _write(client, volumes, stores, lock, arguments.file)
        else:
            _write_folder(volumes, stores, lock, platform, arguments)
    size = arguments.file.stat().st_size if packed else lock.size
    report = {
        "file": str(arguments.file),
        "bytes": size,
        "images": len(lock.images),
        "blobs": len(lock.blobs),
        "bootAssets": len(lock.boot_assets),
        "leftOut": [str(result.image) for result in left_out],
    }
    text = f"{arguments.file}: {len(lock.images)} images, {len(lock.boot_assets)} boot assets"
    print(json.dumps(report, indent=2) if arguments.as_json else f"{text}, {size / 1e6:.1f} MB")
    return _tell_left_out(left_out, platform)


def _refuse_incomplete(incomplete: Sequence[Result], platform: Platform) -> None:
    """Stop if there is nothing to export, or not all that a list names."""
    if not incomplete:
        raise OpsError("the caches hold no image: pull some, or fill them with warm")
    raise OpsError(
        f"{len(incomplete)} images are not complete for {platform}: verify shows what is "
        f"missing, warm fetches it\n{listed([one.image for one in incomplete])}"
    )


def _tell_left_out(left_out: Sequence[Result], platform: Platform) -> int:
    """Report what is not in the archive; 1 if that includes an image that was pulled."""
    for result in left_out:
        if result.is_aside:
            print(f"left out: {told_aside(result)}", file=sys.stderr)
    if incomplete := [result.image for result in left_out if not result.is_aside]:
        print(
            f"export: {len(incomplete)} images are left out, because they are not complete for "
            f"{platform}: verify shows what is missing, warm fetches it\n{listed(incomplete)}",
            file=sys.stderr,
        )
    return int(bool(incomplete))


def _refuse_too_large(lock: Lock) -> None:
    if not archive.fits(lock):
        raise OpsError(
            f"{len(lock.images)} images are too many for one archive: export fewer at a time, with "
            "--images"
        )


def _locked(store: Store, image: ImageReference, platform: Platform) -> LockedImage:
    parts = storage.parts(store, image, platform)
    content = store.manifests[parts[0].digest]
    return LockedImage(image=image, media_type=manifests.parse(content).media_type, parts=parts)


def _write(
    client: docker.DockerClient,
    volumes: Volumes,
    stores: dict[str, Store],
    lock: Lock,
    path: Path,
) -> None:
    with _full_disk_told(path), new_archive(path) as writer:
        _add_registry_image(writer, client, lock, path.parent)
        _add_text(writer, archive.LAYOUT, archive.LAYOUT_CONTENT)
        _add_text(writer, archive.INDEX, archive.index_text(lock.images))
        with progress_bar.bar("exporting", lock.size) as bar:
            sizes = lock.blobs
            contents = _contents(volumes, stores, list(sizes))
            for (digest, size), content in zip(sizes.items(), contents, strict=True):
                writer.add(archive.blob_member(digest), size, content, digest)
                bar.update(size)
            for asset in lock.boot_assets:
                name = f"{archive.BOOT_ASSETS}{asset.path}"
                writer.add(name, asset.size, boot_assets.content(asset), asset.digest)
                bar.update(asset.size)


def _write_folder(
    volumes: Volumes,
    stores: dict[str, Store],
    lock: Lock,
    platform: Platform,
    arguments: Arguments,
) -> None:
    def source(digests: Sequence[str]) -> Iterator[Iterator[bytes]]:
        return _contents(volumes, stores, digests)

    with _full_disk_told(arguments.file):
        if arguments.layout == FLAT:
            talos_layout.write_flat(arguments.file, lock.images, source)
        else:
            talos_layout.write_oci(arguments.file, lock.images, platform, source)


@contextmanager
def _full_disk_told(path: Path) -> Iterator[None]:
    try:
        yield
    except RequestException:  # from Docker's client; it is an OSError too
        raise
    except OSError as error:
        raise OpsError(
            f"writing {path} failed: {error}. Nothing of it is kept: fix that, and run export again"
        ) from error


def _add_text(writer: ArchiveWriter, name: str, text: str) -> None:
    content = text.encode()
    writer.add(name, len(content), [content])


def _add_registry_image(
    writer: ArchiveWriter, client: docker.DockerClient, lock: Lock, beside: Path
) -> None:
    """The lock, which names the digest of the registry's image, and then this image."""
    try:
        image = client.images.get(lock.registry_image)
    except ImageNotFound as error:
        raise OpsError(
            f"the registry's image {lock.registry_image} is not on this machine: make setup"
        ) from error
    hashed = Hashed(image.save(named=lock.registry_image))
    with tempfile.TemporaryFile(dir=beside) as spooled:
        spooled.writelines(hashed)
        size, digest = spooled.tell(), hashed.digest
        _add_text(writer, archive.LOCK, archive.lock_text(replace(lock, registry_digest=digest)))
        spooled.seek(0)
        writer.add(archive.REGISTRY_IMAGE, size, chunks(spooled), digest)


def _contents(
    volumes: Volumes, stores: dict[str, Store], digests: Sequence[str]
) -> Iterator[Iterator[bytes]]:
    """These blobs in turn, each from the first cache that has it."""
    files = []
    for digest in digests:
        cache = next(one for one in volumes.present if digest in stores[one.host].blobs)
        size = stores[cache.host].blobs[digest]
        files.append((f"{folder(cache)}/{blob_path(digest)}", size))
    return volumes.contents(files)
