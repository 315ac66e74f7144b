"""Sizes in bytes, as people write them."""

import re

_UNITS = {
    "B": 1,
    "kB": 10**3,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
    "TiB": 2**40,
}
_SIZE = re.compile(rf"(\d+(?:\.\d+)?) ?({'|'.join(_UNITS)})")


def parse_size(text: str) -> int:
    """Read a size: 20GB, 500MB (powers of 1000), 20GiB (of 1024).

    Returns:
        Bytes.

    Raises:
        ValueError: it is none.
    """
    if not (match := _SIZE.fullmatch(text.strip())):
        raise ValueError("a size is a number and a unit: write it as in 20GB, 500MB or 20GiB")
    return round(float(match[1]) * _UNITS[match[2]])
