"""Images made of files: layers are written to disk, for they hold hundreds of megabytes.

Formats: the OCI image specification, v1.1.
"""

import gzip
import hashlib
import io
import json
import shutil
import tarfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from demo.images import CONFIG, LAYER, MANIFEST, Blob, Manifest

# Layers go over loopback only: the time to compress them counts, their size hardly does.
COMPRESSION = 1
CHUNK = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One member of a layer.

    Attributes:
        path: inside the image, without a leading slash.
        content: of a file; a path is read when the layer is written.
        mode: permission bits.
        kind: one of tarfile's types.
        target: of a link.
    """

    path: str
    content: bytes | Path = b""
    mode: int = 0o644
    kind: bytes = tarfile.REGTYPE
    target: str = ""


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A compressed archive on disk.

    Attributes:
        path: of the file.
        digest: of its bytes.
        size: in bytes.
        diff_id: digest of the archive before it was compressed.
    """

    path: Path
    digest: str
    size: int
    diff_id: str


@dataclass(frozen=True, kw_only=True)
class Image:
    """What stands behind one or more tags of a repository.

    Attributes:
        repository: as in `library/busybox`, without a host.
        tags: all of this image.
        layers: lowest first.
        config: what a container is started with, as in `{"Cmd": ["sh"]}`.
    """

    repository: str
    tags: tuple[str, ...]
    layers: tuple[Layer, ...]
    config: dict[str, Any]

    def blob(self) -> Blob:
        """The image's configuration."""
        return Blob(
            _json(
                {
                    "architecture": "amd64",
                    "os": "linux",
                    "config": self.config,
                    "rootfs": {
                        "type": "layers",
                        "diff_ids": [layer.diff_id for layer in self.layers],
                    },
                }
            )
        )

    def manifest(self) -> Manifest:
        """What the tags point to."""
        config = self.blob()
        content = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": _descriptor(CONFIG, config.digest, len(config.content)),
            "layers": [_descriptor(LAYER, layer.digest, layer.size) for layer in self.layers],
        }
        return Manifest(media_type=MANIFEST, content=_json(content))


class _Tally(io.RawIOBase):
    """Passes bytes on, and hashes them on the way."""

    def __init__(self, out: io.RawIOBase | io.BufferedIOBase) -> None:
        self._out = out
        self._hash = hashlib.sha256()

    @property
    def digest(self) -> str:
        return f"sha256:{self._hash.hexdigest()}"

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._hash.update(data)
        self._out.write(data)
        return len(data)


def program(path: str, source: Path) -> Entry:
    """An executable file."""
    return Entry(path=path, content=source, mode=0o755)


def folder(path: str, mode: int = 0o755) -> Entry:
    """A folder; those above a member are added by themselves."""
    return Entry(path=path, mode=mode, kind=tarfile.DIRTYPE)


def link(path: str, target: str) -> Entry:
    """A symbolic link."""
    return Entry(path=path, mode=0o777, kind=tarfile.SYMTYPE, target=target)


def hard_link(path: str, target: str) -> Entry:
    """A second name of a member before it."""
    return Entry(path=path, mode=0o755, kind=tarfile.LNKTYPE, target=target)


def layer_of(path: Path, entries: Iterable[Entry]) -> Layer:
    """Write a layer that holds `entries`, the same bytes every time."""

    def write(out: _Tally) -> None:
        known: set[str] = set()
        with tarfile.open(fileobj=out, mode="w|") as archive:
            for entry in entries:
                # Without an entry of its own a folder's mode would be up to who unpacks it.
                above = [str(parent) for parent in PurePosixPath(entry.path).parents][-2::-1]
                for missing in (name for name in above if name not in known):
                    _add(archive, folder(missing))
                known.update(above)
                known.add(entry.path)
                _add(archive, entry)

    return _compressed(path, write)


def layer_from_archive(path: Path, archive: Path) -> Layer:
    """Write a layer that is a tar archive as it stands."""

    def write(out: _Tally) -> None:
        with archive.open("rb") as source:
            shutil.copyfileobj(source, out, CHUNK)

    return _compressed(path, write)


def _compressed(path: Path, write: Callable[[_Tally], None]) -> Layer:
    with path.open("wb") as file:
        outer = _Tally(file)
        with gzip.GzipFile("", "wb", COMPRESSION, outer, mtime=0) as compressor:
            inner = _Tally(compressor)
            write(inner)
    return Layer(path=path, digest=outer.digest, size=path.stat().st_size, diff_id=inner.digest)


def _add(archive: tarfile.TarFile, entry: Entry) -> None:
    member = tarfile.TarInfo(entry.path)
    member.mode, member.type, member.linkname = entry.mode, entry.kind, entry.target
    if isinstance(entry.content, bytes):
        member.size = len(entry.content)
        archive.addfile(member, io.BytesIO(entry.content))
    else:
        member.size = entry.content.stat().st_size
        with entry.content.open("rb") as source:
            archive.addfile(member, source)


def _descriptor(media_type: str, digest: str, size: int) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest, "size": size}


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
