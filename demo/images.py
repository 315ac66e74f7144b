"""Small OCI images made from scratch: an image, an index for two platforms, and an artifact.

Everything is made in memory and byte for byte the same every time, so the digests are known before
any registry has seen them. Formats: the OCI image specification, v1.1.
"""

import gzip
import io
import json
import tarfile
from dataclasses import dataclass
from typing import Any

from plan.images.digest import digest_of

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
EMPTY = "application/vnd.oci.empty.v1+json"


@dataclass(frozen=True)
class Blob:
    """Bytes under their digest."""

    content: bytes

    @property
    def digest(self) -> str:
        """`sha256:` and the hash of the content."""
        return digest_of(self.content)


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """A manifest or an index, as a registry stores and serves it."""

    media_type: str
    content: bytes

    @property
    def digest(self) -> str:
        """`sha256:` and the hash of the content."""
        return Blob(self.content).digest


@dataclass(frozen=True, kw_only=True)
class Image:
    """Everything that belongs to one tag.

    Attributes:
        host: upstream registry in the image reference.
        repository: name after the host.
        tag: tag of the last of `manifests`.
        manifests: the tagged one last, after those that it refers to.
        blobs: configs and layers.
    """

    host: str
    repository: str
    tag: str
    manifests: tuple[Manifest, ...]
    blobs: tuple[Blob, ...]

    @property
    def digest(self) -> str:
        """Digest behind the tag."""
        return self.manifests[-1].digest

    @property
    def reference(self) -> str:
        """`docker.io/library/hello:1`."""
        return f"{self.host}/{self.repository}:{self.tag}"


def single(host: str, repository: str, tag: str, payload: bytes) -> Image:
    """An image for one platform with one layer that contains `payload`."""
    manifest, blobs = _platform_image("amd64", payload)
    return Image(host=host, repository=repository, tag=tag, manifests=(manifest,), blobs=blobs)


def multi_platform(host: str, repository: str, tag: str, payload: bytes) -> Image:
    """An index with an image for each of two platforms."""
    built = {arch: _platform_image(arch, payload + arch.encode()) for arch in ("amd64", "arm64")}
    index = {
        "schemaVersion": 2,
        "mediaType": INDEX,
        "manifests": [
            {
                **_descriptor(MANIFEST, Blob(manifest.content)),
                "platform": {"os": "linux", "architecture": arch},
            }
            for arch, (manifest, _) in built.items()
        ],
    }
    manifests = [manifest for manifest, _ in built.values()]
    return Image(
        host=host,
        repository=repository,
        tag=tag,
        manifests=(*manifests, Manifest(media_type=INDEX, content=_json(index))),
        blobs=tuple(blob for _, blobs in built.values() for blob in blobs),
    )


def artifact(host: str, repository: str, tag: str, payload: bytes) -> Image:
    """An OCI artifact: not an image, its layer is not an archive and its config is empty."""
    config, content = Blob(b"{}"), Blob(payload)
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": "application/vnd.talos-cache.demo",
        "config": _descriptor(EMPTY, config),
        "layers": [_descriptor("text/plain", content)],
    }
    return Image(
        host=host,
        repository=repository,
        tag=tag,
        manifests=(Manifest(media_type=MANIFEST, content=_json(manifest)),),
        blobs=(config, content),
    )


def _platform_image(architecture: str, payload: bytes) -> tuple[Manifest, tuple[Blob, ...]]:
    archive = _tar("payload", payload)
    layer = Blob(gzip.compress(archive, mtime=0))
    config = Blob(
        _json(
            {
                "architecture": architecture,
                "os": "linux",
                "config": {},
                "rootfs": {"type": "layers", "diff_ids": [Blob(archive).digest]},
            }
        )
    )
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": _descriptor(CONFIG, config),
        "layers": [_descriptor(LAYER, layer)],
    }
    return Manifest(media_type=MANIFEST, content=_json(manifest)), (config, layer)


def _tar(name: str, content: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        entry = tarfile.TarInfo(name)
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def _descriptor(media_type: str, blob: Blob) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": blob.digest, "size": len(blob.content)}


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
