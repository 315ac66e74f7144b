"""Content in chunks, so that no large file is read into memory at once."""

from collections.abc import Iterator
from typing import IO

CHUNK_BYTES = 1024 * 1024


def chunks(file: IO[bytes]) -> Iterator[bytes]:
    """The rest of a file."""
    while chunk := file.read(CHUNK_BYTES):
        yield chunk
