"""Writes an archive, a tar in a zstd stream, which gets its name when all of it is there."""

import os
import tarfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import zstandard

from ops.errors import OpsError
from plan.images.digest import Hashed

# Layers are compressed already: a higher level would cost time and gain nothing.
LEVEL = 3
BLOCK = 512
PRIVATE = 0o600


class ArchiveWriter:
    """Adds members to an archive; see `new_archive`."""

    def __init__(self, out: zstandard.ZstdCompressionWriter) -> None:
        self._out = out

    def add(self, name: str, size: int, content: Iterable[bytes], digest: str = "") -> None:
        """Write one member.

        Args:
            name: in the archive.
            size: in bytes.
            content: that many bytes.
            digest: of the content; empty if it is not known.

        Raises:
            OpsError: the content has another size or digest.
        """
        entry = tarfile.TarInfo(name)
        entry.size = size
        hashed, written = Hashed(content), 0
        self._out.write(entry.tobuf(tarfile.PAX_FORMAT))
        for chunk in hashed:
            written += len(chunk)
            self._out.write(chunk)
        self._out.write(b"\0" * (-size % BLOCK))
        if written != size or digest not in ("", hashed.digest):
            raise OpsError(
                f"{name} is damaged: {written} bytes with digest {hashed.digest} instead of {size} "
                f"bytes with {digest or 'any digest'}. Run repair, then export again"
            )


@contextmanager
def new_archive(path: Path) -> Iterator[ArchiveWriter]:
    """An archive that gets its name once all of it is on disk; if anything fails, nothing is left.

    Raises:
        OSError: it can't be written.
    """
    partial = path.with_name(f"{path.name}.partial")
    try:
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, PRIVATE)
        with os.fdopen(descriptor, "wb") as file:
            # Not as a context manager: that would write after an error, and fail on a full disk.
            out = zstandard.ZstdCompressor(level=LEVEL).stream_writer(file, closefd=False)
            yield ArchiveWriter(out)
            out.write(b"\0" * 2 * BLOCK)
            out.flush(zstandard.FLUSH_FRAME)
            file.flush()
            os.fsync(file.fileno())
        partial.rename(path)
    finally:
        partial.unlink(missing_ok=True)
