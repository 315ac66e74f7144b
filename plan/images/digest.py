"""Digests of content, as registries write them: `sha256:` and 64 hexadecimal digits."""

import hashlib
import re
from collections.abc import Iterable, Iterator

SHA256 = "sha256:"
PATTERN = rf"{SHA256}[0-9a-f]{{64}}"
_DIGEST = re.compile(PATTERN)


def is_digest(text: str) -> bool:
    """Whether a text is a digest and nothing else."""
    return _DIGEST.fullmatch(text) is not None


def digest_of_hex(digits: str) -> str:
    """The digest with these hexadecimal digits."""
    return f"{SHA256}{digits}"


def hex_of(digest: str) -> str:
    """The hexadecimal digits of a digest."""
    return digest.removeprefix(SHA256)


def digest_of(content: bytes) -> str:
    """The digest of content."""
    return digest_of_hex(hashlib.sha256(content).hexdigest())


class Hashed:
    """Iterates over pieces of content; `digest` is that of the pieces so far."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = pieces
        self._hash = hashlib.sha256()

    def __iter__(self) -> Iterator[bytes]:
        for piece in self._pieces:
            self._hash.update(piece)
            yield piece

    @property
    def digest(self) -> str:
        """The digest of the pieces so far."""
        return digest_of_hex(self._hash.hexdigest())
