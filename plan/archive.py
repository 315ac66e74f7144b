"""What an archive of images says of itself: its lock file, its index, and the names inside.

The images are an OCI image layout (image specification v1.1); `index.json` names each with the
annotation `org.opencontainers.image.ref.name`, the whole reference.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass

from plan.images import ImageListError, ImageReference, parse_list
from plan.store import Part

FORMAT = 1
LOCK = "talos-cache.json"
REGISTRY_IMAGE = "registry-image.tar"
LAYOUT = "oci-layout"
INDEX = "index.json"
BLOBS = "blobs/sha256/"
BOOT_ASSETS = "boot-assets/"
LAYOUT_CONTENT = '{"imageLayoutVersion": "1.0.0"}'
MANIFESTS = ("index", "manifest")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_PARTS = ("index", "manifest", "config", "layer")


class ArchiveError(Exception):
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

    @property
    def blobs(self) -> dict[str, int]:
        """Digest -> size in bytes of every blob, once."""
        return {part.digest: part.size for image in self.images for part in image.parts}

    @property
    def size(self) -> int:
        """Bytes of all blobs and boot assets."""
        return sum(self.blobs.values()) + sum(asset.size for asset in self.boot_assets)

    @property
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
        value = json.loads(text)
        found = value["format"]
    except (ValueError, KeyError, TypeError) as error:
        raise ArchiveError(f"its {LOCK} is none: make the archive again with export") from error
    if found != FORMAT:
        raise ArchiveError(
            f"it has format {found!r}, and this version reads {FORMAT}: use the version of this "
            "project that made it, or make it again"
        )
    try:
        return Lock(
            platform=str(value["platform"]),
            registry_image=str(value["registryImage"]),
            registry_digest=_digest(value, "registryDigest"),
            images=tuple(_locked(entry) for entry in value["images"]),
            boot_assets=tuple(_asset(entry) for entry in value["bootAssets"]),
        )
    except (ValueError, KeyError, TypeError, ImageListError) as error:
        raise ArchiveError(f"its {LOCK} is damaged ({error!r}): make the archive again") from error


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
    return f"{BLOBS}{digest.removeprefix('sha256:')}"


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


def _locked(entry: Mapping[str, object]) -> LockedImage:
    name = str(entry["image"])
    host = name.partition("/")[0]
    (image,) = parse_list(name, LOCK, (host,))
    parts = tuple(_part(part) for part in _list(entry["parts"]))
    if not parts or parts[0].part not in MANIFESTS or parts[0].digest != entry["digest"]:
        raise ValueError(f"{name} does not begin with its manifest")
    return LockedImage(image=image, media_type=str(entry["mediaType"]), parts=parts)


def _part(entry: Mapping[str, object]) -> Part:
    part = Part(part=str(entry["part"]), digest=_digest(entry), size=_size(entry))
    if part.part not in _PARTS:
        raise ValueError(f"no part of an image: {part.part}")
    return part


def _asset(entry: Mapping[str, object]) -> BootAsset:
    path = str(entry["path"])
    if path.startswith("/") or ".." in path.split("/") or not path:
        raise ValueError(f"no path below a folder: {path}")
    if not isinstance(entry["executable"], bool):
        raise ValueError(f"neither true nor false: {entry['executable']}")
    return BootAsset(
        path=path, digest=_digest(entry), size=_size(entry), executable=entry["executable"]
    )


def _digest(entry: Mapping[str, object], key: str = "digest") -> str:
    if not _DIGEST.fullmatch(str(entry[key])):
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
