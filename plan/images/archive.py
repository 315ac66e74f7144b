"""The metadata of an image archive: its lock file, its index, and the names of its members.

The images are an OCI image layout (image specification v1.1); `index.json` names each with the
annotation `org.opencontainers.image.ref.name`, the full reference.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from host.errors import TalosCacheError
from plan import foreign_json
from plan.images import storage
from plan.images.digest import hex_of, is_digest
from plan.images.manifests import MANIFEST_BYTES
from plan.images.reference import (
    ImageReference,
    parse_list,
    parse_platform,
)
from plan.images.storage import LINK_BYTES, Part, Repository, Store
from plan.problems import ImageListError, cut

FORMAT = 1
LOCK = "talos-cache.json"
REGISTRY_IMAGE = "registry-image.tar"
LAYOUT = "oci-layout"
INDEX = "index.json"
BLOBS = "blobs/sha256/"
BOOT_ASSETS = "boot-assets/"
LAYOUT_CONTENT = '{"imageLayoutVersion": "1.0.0"}'
MANIFESTS = ("index", "manifest")
# The folders, in talosctl's own, of boot images and CNI plugins. Nothing else is read from there,
# or from an archive.
ASSET_FOLDERS = ("cache", "cni")
# About 9,000 images of ten parts. A parsed lock takes ten times its size in memory.
LOCK_BYTES = 16 * 1024 * 1024
# Every object of a lock contains a digest, so it has at least this many bytes. Without the check, a
# lock of nothing but empty objects would take thirty times its size in memory.
_OBJECT_BYTES = 64
# For all manifests together, kept in memory until the last one is read: about 20,000 images.
ALL_MANIFESTS_BYTES = 64 * 1024 * 1024
# The registry's image has 60 MB; a user's own build may be larger.
REGISTRY_IMAGE_BYTES = 1024 * 1024 * 1024
# Limits of a path below the two folders. A name has at most 255 bytes, some of which go to a suffix
# while the file is written.
_NAME_BYTES, _NAMES = 240, 8
# Characters of a message about a lock.
_WHY = 500
_PARTS = ("index", "manifest", "config", "layer")


class ArchiveError(TalosCacheError):
    """The archive can't be used; the text says why, and what to do."""


@dataclass(frozen=True, kw_only=True)
class LockedImage:
    """One image of the archive.

    Attributes:
        image: its reference, as exported.
        media_type: of its manifest or index.
        parts: all of its blobs, the manifest or index that the reference names first.
    """

    image: ImageReference
    media_type: str
    parts: tuple[Part, ...]

    @property
    def digest(self) -> str:
        """Of its manifest or index."""
        return self.parts[0].digest


@dataclass(frozen=True, kw_only=True)
class BootAsset:
    """A file in the folders where talosctl keeps boot images and CNI plugins.

    Attributes:
        size: in bytes.
        executable: CNI plugins are programs.
    """

    path: str
    digest: str
    size: int
    executable: bool


@dataclass(frozen=True, kw_only=True)
class Lock:
    """Everything that is in an archive.

    Attributes:
        platform: which entry of each index is included.
        registry_image: reference of the caches' own image.
        registry_digest: of that image as a file, in Docker's own format.
        images: each tag with its digest.
        boot_assets: ordered by path.
    """

    platform: str
    registry_image: str
    registry_digest: str
    images: tuple[LockedImage, ...]
    boot_assets: tuple[BootAsset, ...]

    @cached_property
    def blobs(self) -> dict[str, int]:
        """Digest -> size in bytes, for every blob."""
        return {part.digest: part.size for image in self.images for part in image.parts}

    @property
    def size(self) -> int:
        """Bytes of all blobs and boot assets."""
        return sum(self.blobs.values()) + sum(asset.size for asset in self.boot_assets)

    @cached_property
    def manifests(self) -> frozenset[str]:
        """Digests of all manifests and indexes."""
        parts = (part for image in self.images for part in image.parts)
        return frozenset(part.digest for part in parts if part.part in MANIFESTS)

    @cached_property
    def by_host(self) -> dict[str, set[str]]:
        """Upstream -> digests of its images' blobs."""
        digests: dict[str, set[str]] = {}
        for image in self.images:
            digests.setdefault(image.image.host, set()).update(part.digest for part in image.parts)
        return digests

    @property
    def hosts(self) -> tuple[str, ...]:
        """Upstreams of the images."""
        return tuple(sorted({image.image.host for image in self.images}))


def lock_text(lock: Lock) -> str:
    """The content of the lock file."""
    return json.dumps(
        {
            "format": FORMAT,
            "platform": lock.platform,
            "registryImage": lock.registry_image,
            "registryDigest": lock.registry_digest,
            "images": [
                {
                    "image": str(locked.image),
                    "digest": locked.digest,
                    "mediaType": locked.media_type,
                    "parts": [asdict(part) for part in locked.parts],
                }
                for locked in lock.images
            ],
            "bootAssets": [asdict(asset) for asset in lock.boot_assets],
        },
        indent=1,
    )


def parse_lock(text: str) -> Lock:
    """Read a lock file.

    Raises:
        ArchiveError: it is not a lock file, has another format, or is damaged.
    """
    try:
        if text.count("{") + text.count("[") > LOCK_BYTES // _OBJECT_BYTES:
            raise ValueError("too many brackets")
        value: Any = foreign_json.read(text)
        format_version = value["format"]
    except (ValueError, KeyError, TypeError) as error:
        raise ArchiveError(f"its {LOCK} is not a lock file: export the archive again") from error
    if format_version != FORMAT:
        raise ArchiveError(
            f"its format is {cut(repr(format_version), _WHY)}, this version reads {FORMAT}: use "
            "the version of this project that exported it, or export it again"
        )
    try:
        lock = Lock(
            platform=_platform(value),
            registry_image=str(value["registryImage"]),
            registry_digest=_digest(value, "registryDigest"),
            images=tuple(_locked(entry) for entry in value["images"]),
            boot_assets=tuple(_asset(entry) for entry in value["bootAssets"]),
        )
    except (ValueError, KeyError, TypeError) as error:
        why = cut(repr(error), _WHY)
        raise ArchiveError(f"its {LOCK} is damaged ({why}): export the archive again") from error
    if _manifests_bytes(lock) > ALL_MANIFESTS_BYTES:
        raise ArchiveError(
            f"the manifests in its {LOCK} exceed {ALL_MANIFESTS_BYTES} bytes: export fewer "
            "images at a time, with --images"
        )
    return lock


def fits(lock: Lock) -> bool:
    """Whether `import` accepts an archive with this lock."""
    # The digest of the registry's image is still to be added.
    text = len(lock_text(lock)) + LINK_BYTES
    return text <= LOCK_BYTES and _manifests_bytes(lock) <= ALL_MANIFESTS_BYTES


def index_text(images: Iterable[LockedImage]) -> str:
    """The content of `index.json` of the image layout."""
    manifests = [
        {
            "mediaType": locked.media_type,
            "digest": locked.digest,
            "size": locked.parts[0].size,
            "annotations": {"org.opencontainers.image.ref.name": str(locked.image)},
        }
        for locked in images
    ]
    return json.dumps({"schemaVersion": 2, "manifests": manifests})


def blob_member(digest: str) -> str:
    """Name of a blob in the archive."""
    return f"{BLOBS}{hex_of(digest)}"


def conflicts(lock: Lock, tags: Mapping[str, Mapping[str, Mapping[str, str]]]) -> tuple[str, ...]:
    """Tags that a cache already has, with another digest.

    Args:
        lock: of the archive.
        tags: host -> repository -> tag -> digest in the caches.
    """
    lines = []
    for locked in lock.images:
        image = locked.image
        cached = tags.get(image.host, {}).get(image.repository, {}).get(image.tag)
        if image.tag and cached not in (None, locked.digest):
            lines.append(f"{image}: the cache has {cached}, the archive {locked.digest}")
    return tuple(lines)


def incomplete(lock: Lock, contents: Mapping[str, bytes]) -> tuple[str, ...]:
    """Images that would be incomplete even with everything that the lock names.

    Args:
        lock: of the archive.
        contents: digest -> content of each manifest and index.
    """
    platform = parse_platform(lock.platform)
    return tuple(
        str(locked.image)
        for locked in lock.images
        if storage.faults(_alone(locked, contents), locked.image, platform)
    )


def _manifests_bytes(lock: Lock) -> int:
    sizes = lock.blobs
    return sum(sizes[digest] for digest in lock.manifests)


def _alone(locked: LockedImage, contents: Mapping[str, bytes]) -> Store:
    """A volume with nothing but this image, as the lock describes it."""
    revisions = frozenset(part.digest for part in locked.parts if part.part in MANIFESTS)
    blobs = {part.digest: part.size for part in locked.parts}
    repository = Repository(
        tags={locked.image.tag: locked.digest},
        revisions=revisions,
        layers=frozenset(blobs.keys() - revisions),
    )
    return Store(
        blobs=blobs, repositories={locked.image.repository: repository}, manifests=contents
    )


def _platform(value: Mapping[str, object]) -> str:
    try:
        return str(parse_platform(str(value["platform"])))
    except ImageListError:
        raise ValueError(f"not a platform: {value['platform']!r}") from None


def _locked(entry: Mapping[str, object]) -> LockedImage:
    name = str(entry["image"])
    host = name.partition("/")[0]
    try:
        (image,) = parse_list(name, LOCK, (host,))
    except ImageListError:
        raise ValueError(f"not an image reference: {name!r}") from None
    parts = tuple(_part(part) for part in _list(entry["parts"]))
    if not parts or parts[0].part not in MANIFESTS or parts[0].digest != entry["digest"]:
        raise ValueError(f"the first part of {name} is not its manifest")
    return LockedImage(image=image, media_type=str(entry["mediaType"]), parts=parts)


def _part(entry: Mapping[str, object]) -> Part:
    part = Part(part=str(entry["part"]), digest=_digest(entry), size=_size(entry))
    if part.part not in _PARTS:
        raise ValueError(f"not a part of an image: {part.part}")
    if part.part in MANIFESTS and part.size > MANIFEST_BYTES:
        raise ValueError(f"too large for a manifest: {part.size}")
    return part


def _asset(entry: Mapping[str, object]) -> BootAsset:
    path = str(entry["path"])
    if not _is_asset(path):
        raise ValueError(f"not a file below {' or '.join(ASSET_FOLDERS)}: {path!r}")
    if not isinstance(entry["executable"], bool):
        raise ValueError(f"neither true nor false: {entry['executable']}")
    return BootAsset(
        path=path, digest=_digest(entry), size=_size(entry), executable=entry["executable"]
    )


def _is_asset(path: str) -> bool:
    folder, *names = path.split("/")
    if folder not in ASSET_FOLDERS or not 1 <= len(names) <= _NAMES:
        return False
    return all(
        name.isprintable() and len(name.encode()) <= _NAME_BYTES and name not in ("", ".", "..")
        for name in names
    )


def _digest(entry: Mapping[str, object], key: str = "digest") -> str:
    if not is_digest(str(entry[key])):
        raise ValueError(f"not a digest: {entry[key]}")
    return str(entry[key])


def _size(entry: Mapping[str, object]) -> int:
    if not isinstance(entry["size"], int) or entry["size"] < 0:
        raise ValueError(f"not a size: {entry['size']}")
    return entry["size"]


def _list(value: object) -> list[Mapping[str, object]]:
    if not isinstance(value, list):
        raise TypeError("not a list")
    return value
