"""Reads a tar archive from front to back, and no more of it than is requested.

Archives are untrusted. A few bytes can expand to gigabytes, in a member and in what tar may put
before one (long names, extended headers), which `tarfile` reads into memory.
"""

import gzip
import io
import tarfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import IO, Protocol

import zstandard

from plan.images.archive import ArchiveError

# What comes before a member: a header of 512 bytes and, for a long name, up to two more.
HEADER_BYTES = 64 * 1024
# The magic numbers that compressed archives begin with.
GZIP, ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
# Zstd keeps this much unpacked data in memory. Export needs 2 MiB, and every decoder should allow
# 8 MiB (RFC 8878); the library would allow 128 MiB.
WINDOW_BYTES = 8 * 1024 * 1024


class Members:
    """The members of an archive, one after the other; see `opened`."""

    def __init__(self, archive: tarfile.TarFile, limited: "_Limited") -> None:
        self._archive = archive
        self._limited = limited
        self._last = 0  # bytes of the last member: the next one reads what is left of it

    def next(self) -> tarfile.TarInfo | None:
        """The next member; None at the end.

        Raises:
            ArchiveError: what comes before it is too large.
        """
        self._limited.allow(HEADER_BYTES + self._last)
        self._last = 0
        # `tarfile` would keep the headers of all members.
        self._archive.members = []  # type: ignore[attr-defined]  # the stubs leave it out
        self._archive.pax_headers = {}
        return self._archive.next()

    def content(self, member: tarfile.TarInfo, most: int) -> IO[bytes]:
        """The content of the last member.

        Raises:
            ArchiveError: it is larger than `most` bytes, or not a regular file.
        """
        content = self._archive.extractfile(member) if member.isreg() else None
        if content is None:
            raise ArchiveError(f"{member.name} in it is not a regular file")
        if not 0 <= member.size <= most:
            raise ArchiveError(
                f"{member.name} in it has {member.size} bytes, but at most {most} are expected"
            )
        self._limited.allow(member.size)
        self._last = member.size
        return content


@contextmanager
def opened(file: io.BufferedReader) -> Iterator[Members]:
    """The members of an archive; it may be compressed, with gzip or zstd.

    Raises:
        tarfile.TarError, zstandard.ZstdError, zlib.error, EOFError: it is damaged.
    """
    with _plain(file) as plain:
        limited = _Limited(plain)
        limited.allow(HEADER_BYTES)
        with tarfile.open(fileobj=limited, mode="r|") as archive:
            yield Members(archive, limited)


def _plain(file: io.BufferedReader) -> AbstractContextManager["_Readable"]:
    """The unpacked bytes, so that the limit holds for these."""
    start = file.peek(len(ZSTD))
    if start.startswith(GZIP):
        return gzip.GzipFile(fileobj=file)
    if start.startswith(ZSTD):
        unpacker = zstandard.ZstdDecompressor(max_window_size=WINDOW_BYTES)
        return unpacker.stream_reader(file, read_across_frames=True, closefd=False)
    return nullcontext(file)


class _Readable(Protocol):
    def read(self, size: int = -1, /) -> bytes: ...


class _Limited(io.RawIOBase):
    """Gives as many bytes as are allowed, plus what `tarfile` reads ahead."""

    def __init__(self, file: _Readable) -> None:
        self._file = file
        self._left = 0

    def allow(self, size: int) -> None:
        self._left = size + 2 * tarfile.RECORDSIZE

    def read(self, size: int = -1) -> bytes:
        some = self._file.read(size)
        self._left -= len(some)
        if self._left < 0:
            raise ArchiveError("it has more data than it declares: export did not create it")
        return some
