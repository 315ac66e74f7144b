"""Sizes in bytes, as people write them."""

import re
from collections.abc import Collection

BYTES = {
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
_SIZE = re.compile(rf"(\d+(?:\.\d+)?) ?({'|'.join(BYTES)})")


def parse_size(text: str) -> int:
    """Read a size: 20GB, 500MB (powers of 1000), 20GiB (of 1024).

    Returns:
        Bytes.

    Raises:
        ValueError: it is not a size.
    """
    if not (match := _SIZE.fullmatch(text.strip())):
        raise ValueError("a size is a number and a unit, such as 20GB, 500MB or 20GiB")
    return round(float(match[1]) * BYTES[match[2]])


def whole(units: Collection[str], most_digits: int, *, zero: bool = True) -> re.Pattern[str]:
    """The pattern of a size in a stack file: a whole number followed by a unit.

    Args:
        units: allowed units.
        most_digits: of the number.
        zero: whether the number may be 0, or begin with 0.
    """
    count = rf"[0-9]{{1,{most_digits}}}" if zero else rf"[1-9][0-9]{{0,{most_digits - 1}}}"
    return re.compile(rf"(?P<count>{count})(?P<unit>{'|'.join(units)})")


def parse_whole(value: object, pattern: re.Pattern[str]) -> int | None:
    """Read a size that matches a pattern of `whole`.

    Returns:
        Bytes; None if it is not such a size.
    """
    match = pattern.fullmatch(value) if isinstance(value, str) else None
    return int(match["count"]) * BYTES[match["unit"]] if match else None


def amount(size: int) -> str:
    """A size for people, in powers of 1000."""
    if size >= 1e9:
        return f"{size / 1e9:.2f} GB"
    if size >= 1e6:
        return f"{size / 1e6:.1f} MB"
    return f"{size / 1e3:.1f} kB" if size >= 1e3 else f"{size} B"
