"""Writes an archive so that a run that was broken off can be gone on with.

Every member is one zstd frame of its own (frames behind each other are one zstd stream), so the
file can be cut at the end of any member. What is whole is noted beside it, after it is on disk.
"""

import hashlib
import json
import os
import tarfile
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import zstandard

from ops.errors import OpsError
from plan import foreign_json
from plan.images.digest import Hashed

# Layers are compressed already: more would cost time and gain nothing.
LEVEL = 3
BLOCK = 512
# Between two notes; each takes a moment, and a run that is killed loses what came since the last.
NOTE_SECONDS = 1.0
PRIVATE = 0o600


class ArchiveWriter:
    """An archive under its name with `.partial` behind it, until `finish`.

    Args:
        path: of the archive.
        key: says what goes into it; what was written with another key is thrown away.
    """

    def __init__(self, path: Path, key: str) -> None:
        self._path = path
        self._partial = path.with_name(f"{path.name}.partial")
        self._noted = path.with_name(f"{path.name}.partial.json")
        self._key = hashlib.sha256(key.encode()).hexdigest()
        self._ends = self._written_before()
        self._noted_ends = len(self._ends)
        self._noted_at = 0.0
        self._compressor = zstandard.ZstdCompressor(level=LEVEL)
        self._file: BinaryIO = os.fdopen(
            os.open(self._partial, os.O_RDWR | os.O_CREAT, PRIVATE), "r+b"
        )
        self._file.truncate(max(self._ends.values(), default=0))
        self._file.seek(0, os.SEEK_END)

    def has(self, name: str) -> bool:
        """Whether a run before has written this member whole."""
        return name in self._ends

    def begin_again(self) -> None:
        """Throw away what a run before has written."""
        self._ends = {}
        self._noted_ends = 0
        self._noted.unlink(missing_ok=True)
        self._file.seek(0)
        self._file.truncate()

    def add(self, name: str, size: int, content: Iterable[bytes], digest: str = "") -> None:
        """Write one member.

        Args:
            name: in the archive.
            size: in bytes.
            content: that many bytes.
            digest: of the content; empty where nobody knows it.

        Raises:
            OpsError: the content is of another size or digest.
        """
        entry = tarfile.TarInfo(name)
        entry.size = size
        hashed, written = Hashed(content), 0
        with self._compressor.stream_writer(self._file, closefd=False) as out:
            out.write(entry.tobuf(tarfile.PAX_FORMAT))
            for chunk in hashed:
                written += len(chunk)
                out.write(chunk)
            out.write(b"\0" * (-size % BLOCK))
        if written != size or digest not in ("", hashed.digest):
            raise OpsError(
                f"{name} is damaged: {written} bytes with digest {hashed.digest}, and not {size} "
                f"bytes with {digest or 'any'}. Run repair, then export again"
            )
        self._ends[name] = self._file.tell()
        if time.monotonic() - self._noted_at > NOTE_SECONDS:
            self._note()

    def finish(self) -> None:
        """End the archive and give it its name."""
        with self._compressor.stream_writer(self._file, closefd=False) as out:
            out.write(b"\0" * 2 * BLOCK)
        self._sync()
        self._file.close()
        self._partial.rename(self._path)
        self._noted.unlink(missing_ok=True)

    def close(self) -> None:
        """Leave what is whole of it, to be gone on with."""
        if self._file.closed:
            return
        with self._file, suppress(OSError):  # of a full disk: what was noted before is as true
            self._file.truncate(max(self._ends.values(), default=0))
            if len(self._ends) > self._noted_ends:
                self._note()

    def _note(self) -> None:
        self._sync()
        new = self._noted.with_name(f"{self._noted.name}.new")
        new.write_text(json.dumps({"key": self._key, "ends": self._ends}))
        new.rename(self._noted)
        self._noted_ends = len(self._ends)
        self._noted_at = time.monotonic()

    def _sync(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())

    def _written_before(self) -> dict[str, int]:
        try:
            noted = foreign_json.read(self._noted.read_text())
            size = self._partial.stat().st_size
        except (FileNotFoundError, ValueError):
            return {}
        if not isinstance(noted, dict) or noted.get("key") != self._key:
            return {}
        ends: dict[str, int] = noted["ends"]
        return ends if max(ends.values(), default=0) <= size else {}
