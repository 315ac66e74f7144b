"""Reads and writes the folders of `talosctl image cache-create`, flat ones and OCI layouts.

The OCI layout has one image, whose only layer is the flat folder as a tar archive.
"""

import gzip
import hashlib
import io
import json
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Any

from host import progress_bar
from ops.archive import reader as reading
from ops.archive.staging import copied
from ops.errors import OpsError
from plan import foreign_json
from plan.images import talos_image_cache
from plan.images.archive import (
    ALL_MANIFESTS_BYTES,
    BLOBS,
    INDEX,
    LAYOUT,
    LAYOUT_CONTENT,
    ArchiveError,
    LockedImage,
    blob_member,
)
from plan.images.digest import Hashed, digest_of, digest_of_hex
from plan.images.manifests import MANIFEST_BYTES
from plan.images.reference import Platform
from plan.images.storage import Part
from plan.images.talos_image_cache import BLOB_FOLDER, MANIFEST_FOLDER

# A cluster's images are some 300 files; a layer of nothing but names could have millions.
MOST_FILES = 100_000
# Host, repository, tag or digest: each of them is far shorter.
NAME_BYTES = 1024
FILE, FOLDER = 0o644, 0o755
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
# Path, size in bytes, content of each file; the content can't be read once the next one has come.
Files = Iterator[tuple[str, int, IO[bytes]]]
# Yields blobs' contents by their digests; one can't be read once the next one has come.
Source = Callable[[Sequence[str]], Iterable[Iterable[bytes]]]


def reader(path: Path) -> Callable[[], Files]:
    """A function that yields the files of a folder, each time it is called.

    Raises:
        ArchiveError: it is of neither kind.
    """
    if (path / MANIFEST_FOLDER).is_dir():
        return lambda: _flat(path)
    if (path / INDEX).is_file():
        layer = _layer(path)
        return lambda: _tarred(layer)
    raise ArchiveError(
        f"it is a folder with neither {MANIFEST_FOLDER} nor {INDEX}: talosctl image cache-create "
        "did not create it"
    )


def images(files: Files) -> tuple[LockedImage, ...]:
    """Every image in a folder.

    Raises:
        ArchiveError: one is not complete, or a file is not what its name says.
    """
    contents: dict[str, bytes] = {}
    blobs: dict[str, int] = {}
    whole = 0
    for name, size, content in files:
        if len(name) > NAME_BYTES:
            raise ArchiveError(f"a name in it is too long: {name[:NAME_BYTES]}...")
        if is_blob(name):
            blobs[talos_image_cache.blob_digest(name)] = size
            continue
        contents[name] = manifest(name, size, content)
        whole += size
        if whole > ALL_MANIFESTS_BYTES:
            raise ArchiveError(f"its manifests have more than {ALL_MANIFESTS_BYTES} bytes")
    return talos_image_cache.images(contents, blobs)


def manifest(name: str, size: int, content: IO[bytes]) -> bytes:
    """The content of a file that should be a manifest or an index.

    Raises:
        ArchiveError: it is too large for one.
    """
    if size > MANIFEST_BYTES:
        raise ArchiveError(f"{name} in it is too large for a manifest: {size} bytes")
    return content.read(size)


def is_blob(name: str) -> bool:
    """Whether a file is a config or a layer; the others are manifests and indexes."""
    return name.startswith(f"{BLOB_FOLDER}/")


def write_flat(path: Path, wanted: Iterable[LockedImage], source: Source) -> None:
    """Write a flat folder.

    Raises:
        OpsError: a blob's content does not have its digest.
    """
    files = talos_image_cache.files(wanted)
    size = sum(part.size for part in files.values())
    with _new_folder(path) as folder, progress_bar.bar("exporting", size) as bar:
        for name, part, content in _with_contents(files, source):
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("wb") as file:
                file.writelines(_checked(part, content))
            bar.update(part.size)


def write_oci(
    path: Path, wanted: Iterable[LockedImage], platform: Platform, source: Source
) -> None:
    """Write an OCI layout whose image names this platform.

    Raises:
        OpsError: a blob's content does not have its digest.
    """
    with _new_folder(path) as folder:
        (folder / BLOBS).mkdir(parents=True)
        layer, unpacked = _write_layer(folder, talos_image_cache.files(wanted), source)
        config = _write_json(
            folder,
            _CONFIG,
            {
                **_platform(platform),
                "config": {},
                "rootfs": {"type": "layers", "diff_ids": [unpacked]},
                "history": [{"created_by": "talos-cache export"}],
            },
        )
        content = {"schemaVersion": 2, "mediaType": _MANIFEST, "config": config, "layers": [layer]}
        entry = {**_write_json(folder, _MANIFEST, content), "platform": _platform(platform)}
        (folder / INDEX).write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
        (folder / LAYOUT).write_text(LAYOUT_CONTENT)


@contextmanager
def _new_folder(path: Path) -> Iterator[Path]:
    """A folder that gets its name once all of it is there; if anything fails, nothing is left."""
    partial = path.with_name(f"{path.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)  # of an export that was killed
    try:
        partial.mkdir()
        yield partial
        partial.rename(path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _with_contents(
    files: Mapping[str, Part], source: Source
) -> Iterator[tuple[str, Part, Iterable[bytes]]]:
    contents = source([part.digest for part in files.values()])
    for (name, part), content in zip(files.items(), contents, strict=True):
        yield name, part, content


def _flat(path: Path) -> Files:
    for folder in (BLOB_FOLDER, MANIFEST_FOLDER):
        for file in sorted((path / folder).rglob("*")):
            if file.is_file():
                with file.open("rb") as content:
                    yield file.relative_to(path).as_posix(), file.stat().st_size, content


def _layer(path: Path) -> Path:
    """The one layer of the one image, checked."""
    try:
        (entry,) = _json(path / INDEX)["manifests"]
        (layer,) = _json(_blob(path, entry))["layers"]
        return _blob(path, layer)
    except (KeyError, TypeError, ValueError) as error:
        raise ArchiveError(
            "it is not a layout of talosctl image cache-create: that has one image with one layer "
            f"({error!r})"
        ) from error


def _json(file: Path) -> Any:
    with file.open("rb") as content:
        return foreign_json.read(manifest(file.name, file.stat().st_size, content))


def _blob(path: Path, entry: Mapping[str, Any]) -> Path:
    digest = str(entry["digest"])
    file = path / blob_member(digest)
    if PurePosixPath(blob_member(digest)).parent != PurePosixPath(BLOBS) or not file.is_file():
        raise ArchiveError(f"it does not have {digest}")
    with file.open("rb") as content:
        found = copied(content)
    if found != digest:
        raise ArchiveError(f"a file in it was changed: {digest} has another digest")
    return file


def _tarred(layer: Path) -> Files:
    with layer.open("rb") as file, reading.opened(file) as members:
        for _ in range(MOST_FILES):
            if (member := members.next()) is None:
                return
            name = member.name.removeprefix("./")
            if member.isdir():
                continue
            content = members.content(member, member.size)
            if name.startswith((f"{BLOB_FOLDER}/", f"{MANIFEST_FOLDER}/")):
                yield name, member.size, content
    raise ArchiveError(f"its layer has more than {MOST_FILES} files")


def _write_layer(
    layout: Path, files: Mapping[str, Part], source: Source
) -> tuple[dict[str, Any], str]:
    """Write the layer; returns its descriptor and the digest of its unpacked content."""
    size = sum(part.size for part in files.values())
    with tempfile.NamedTemporaryFile(dir=layout, delete=False) as file:
        packed = _Hashing(file)
        # Layers are compressed already: storing them as they are is fastest.
        with gzip.GzipFile(
            filename="", fileobj=packed, mode="wb", compresslevel=0, mtime=0
        ) as zipped:
            unpacked = _Hashing(zipped)
            with (
                tarfile.open(fileobj=unpacked, mode="w|") as members,
                progress_bar.bar("exporting", size) as bar,
            ):
                for folder in sorted({str(one) for name in files for one in _parents(name)}):
                    members.addfile(_entry(folder, 0, tarfile.DIRTYPE))
                for name, part, pieces in _with_contents(files, source):
                    content = _Content(_checked(part, pieces))
                    members.addfile(_entry(name, part.size, tarfile.REGTYPE), content)
                    content.end()
                    bar.update(part.size)
    written = Path(file.name)
    descriptor = {
        "mediaType": _LAYER,
        "digest": packed.digest,
        "size": written.stat().st_size,
    }
    written.chmod(FILE)
    written.rename(layout / blob_member(packed.digest))
    return descriptor, unpacked.digest


def _write_json(layout: Path, media_type: str, value: object) -> dict[str, Any]:
    content = json.dumps(value).encode()
    digest = digest_of(content)
    (layout / blob_member(digest)).write_bytes(content)
    return {"mediaType": media_type, "digest": digest, "size": len(content)}


def _platform(platform: Platform) -> dict[str, str]:
    variant = {"variant": platform.variant} if platform.variant else {}
    return {"architecture": platform.architecture, "os": platform.os, **variant}


def _parents(name: str) -> Iterable[PurePosixPath]:
    return list(PurePosixPath(name).parents)[:-1]


def _entry(name: str, size: int, kind: bytes) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.size, entry.type = size, kind
    entry.mode = FOLDER if kind == tarfile.DIRTYPE else FILE
    return entry


def _checked(part: Part, content: Iterable[bytes]) -> Iterator[bytes]:
    hashed = Hashed(content)
    yield from hashed
    if hashed.digest != part.digest:
        raise OpsError(
            f"the {part.part} {part.digest} is damaged: it has the digest {hashed.digest}. Run "
            "repair, then export again"
        )


class _Hashing(io.RawIOBase):
    """Passes on what is written, and computes its digest."""

    def __init__(self, file: IO[bytes] | gzip.GzipFile) -> None:
        self._file = file
        self._hashed = hashlib.sha256()

    @property
    def digest(self) -> str:
        return digest_of_hex(self._hashed.hexdigest())

    def write(self, some: Any) -> int:
        self._hashed.update(some)
        self._file.write(some)
        return len(some)


class _Content(io.RawIOBase):
    """Chunks of bytes that can be read as a file."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = b""

    def read(self, size: int = -1) -> bytes:
        while len(self._rest) < size and (piece := next(self._pieces, None)) is not None:
            self._rest += piece
        some, self._rest = self._rest[:size], self._rest[size:]
        return some

    def end(self) -> None:
        """Read to the end: only after the last chunk is it known whether the digest is right."""
        for _ in self._pieces:
            pass
