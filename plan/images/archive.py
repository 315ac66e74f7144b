"""What an archive of images says of itself: its lock file, its index, and the names inside.

The images are an OCI image layout (image specification v1.1); `index.json` names each with the
annotation `org.opencontainers.image.ref.name`, the whole reference.
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
# The folders that talosctl keeps boot images and CNI plugins in, below its own; nothing else is
# taken from an archive, or put there.
ASSET_FOLDERS = ("cache", "cni")
# Some 9,000 images of ten parts. What is read of a lock is kept in memory, ten times its size.
LOCK_BYTES = 16 * 1024 * 1024
# Every object of a lock has a digest in it. Without this, a lock of nothing but empty ones would
# become thirty times its size.
_OBJECT_BYTES = 64
# Of all manifests together, which are kept until the last of them has come: some 20,000 images.
ALL_MANIFESTS_BYTES = 64 * 1024 * 1024
# A registry has 60 MB; one of somebody's own making may bring more along.
REGISTRY_IMAGE_BYTES = 1024 * 1024 * 1024
# A path below the two folders: file systems have 255 bytes for a name, some of them for a while.
_NAME_BYTES, _NAMES = 240, 8
# Characters of what is wrong with a lock.
_WHY = 500
_PARTS = ("index", "manifest", "config", "layer")


class ArchiveError(TalosCacheError):
    """The archive can't be used; the text says why and what to do."""


@dataclass(frozen=True, kw_only=True)
class LockedImage:
    """One image of the archive.

    Attributes:
        image: as it was asked for.
        media_type: of its manifest or index.
        parts: every blob of it, the manifest or index behind the reference first.
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
    """A file of the folder that talosctl keeps boot images and CNI plugins in.

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
        platform: which image of each index is there.
        registry_image: name of the caches' own image.
        registry_digest: of that image as a file, in Docker's own format.
        images: with every tag frozen to its digest.
        boot_assets: by path.
    """

    platform: str
    registry_image: str
    registry_digest: str
    images: tuple[LockedImage, ...]
    boot_assets: tuple[BootAsset, ...]

    @cached_property
    def blobs(self) -> dict[str, int]:
        """Digest -> size in bytes of every blob, once."""
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
        """Upstream -> digests of the blobs that its images have."""
        found: dict[str, set[str]] = {}
        for image in self.images:
            found.setdefault(image.image.host, set()).update(part.digest for part in image.parts)
        return found

    @property
    def hosts(self) -> tuple[str, ...]:
        """Upstreams that the images belong to."""
        return tuple(sorted({image.image.host for image in self.images}))


def lock_text(lock: Lock) -> str:
    """The lock file."""
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
        ArchiveError: it is none, it is of a newer format, or it says what can't be.
    """
    try:
        if text.count("{") + text.count("[") > LOCK_BYTES // _OBJECT_BYTES:
            raise ValueError("it is made of brackets")
        value: Any = foreign_json.read(text)
        found = value["format"]
    except (ValueError, KeyError, TypeError) as error:
        raise ArchiveError(f"its {LOCK} is none: make the archive again with export") from error
    if found != FORMAT:
        raise ArchiveError(
            f"it has format {cut(repr(found), _WHY)}, and this version reads {FORMAT}: use the "
            "version of this project that made it, or make it again"
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
        raise ArchiveError(f"its {LOCK} is damaged ({why}): make the archive again") from error
    if _manifests_bytes(lock) > ALL_MANIFESTS_BYTES:
        raise ArchiveError(
            f"its {LOCK} names manifests of more than {ALL_MANIFESTS_BYTES} bytes: export fewer "
            "images at a time, with --images"
        )
    return lock


def fits(lock: Lock) -> bool:
    """Whether an archive with this lock is one that `import` takes."""
    # The digest of the registry's image is not in it yet.
    text = len(lock_text(lock)) + LINK_BYTES
    return text <= LOCK_BYTES and _manifests_bytes(lock) <= ALL_MANIFESTS_BYTES


def index_text(images: Iterable[LockedImage]) -> str:
    """`index.json` of the image layout."""
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
    """Tags that a cache has already, for another image.

    Args:
        lock: of the archive.
        tags: host -> repository -> tag -> digest, as the caches hold them.
    """
    found = []
    for locked in lock.images:
        image = locked.image
        held = tags.get(image.host, {}).get(image.repository, {}).get(image.tag)
        if image.tag and held not in (None, locked.digest):
            found.append(f"{image}: the cache has {held}, the archive {locked.digest}")
    return tuple(found)


def incomplete(lock: Lock, contents: Mapping[str, bytes]) -> tuple[str, ...]:
    """Images that are not all there once everything that the lock names is.

    Args:
        lock: of the archive.
        contents: digest -> content of each of its manifests and indexes.
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
    """A volume that holds this image and nothing else, as the lock describes it."""
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
        raise ValueError(f"no platform: {value['platform']!r}") from None


def _locked(entry: Mapping[str, object]) -> LockedImage:
    name = str(entry["image"])
    host = name.partition("/")[0]
    try:
        (image,) = parse_list(name, LOCK, (host,))
    except ImageListError:
        raise ValueError(f"no image: {name!r}") from None
    parts = tuple(_part(part) for part in _list(entry["parts"]))
    if not parts or parts[0].part not in MANIFESTS or parts[0].digest != entry["digest"]:
        raise ValueError(f"{name} does not begin with its manifest")
    return LockedImage(image=image, media_type=str(entry["mediaType"]), parts=parts)


def _part(entry: Mapping[str, object]) -> Part:
    part = Part(part=str(entry["part"]), digest=_digest(entry), size=_size(entry))
    if part.part not in _PARTS:
        raise ValueError(f"no part of an image: {part.part}")
    if part.part in MANIFESTS and part.size > MANIFEST_BYTES:
        raise ValueError(f"no size of a manifest: {part.size}")
    return part


def _asset(entry: Mapping[str, object]) -> BootAsset:
    path = str(entry["path"])
    if not _is_asset(path):
        raise ValueError(f"no file below {' or '.join(ASSET_FOLDERS)}: {path!r}")
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
        raise ValueError(f"no digest: {entry[key]}")
    return str(entry[key])


def _size(entry: Mapping[str, object]) -> int:
    if not isinstance(entry["size"], int) or entry["size"] < 0:
        raise ValueError(f"no size: {entry['size']}")
    return entry["size"]


def _list(value: object) -> list[Mapping[str, object]]:
    if not isinstance(value, list):
        raise TypeError("no list")
    return value
