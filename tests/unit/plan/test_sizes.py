"""Sizes as people write them."""

import pytest

from plan import sizes


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("20GB", 20 * 10**9),
        ("500MB", 5 * 10**8),
        ("20GiB", 20 * 2**30),
        ("1.5 TB", 15 * 10**11),
        (" 3kB", 3000),
        ("3KB", 3000),
        ("2KiB", 2048),
        ("0B", 0),
    ],
)
def test_a_size_is_a_number_and_a_unit(text, size):
    assert sizes.parse_size(text) == size


@pytest.mark.parametrize("text", ["", "20", "GB", "-1GB", "20gb", "20G", "1,5GB", "1e3GB", "20GBs"])
def test_anything_else_is_refused(text):
    with pytest.raises(ValueError, match="a number and a unit"):
        sizes.parse_size(text)


@pytest.mark.parametrize(
    ("size", "shown"),
    [(0, "0 B"), (999, "999 B"), (40_000, "40.0 kB"), (2_000_000, "2.0 MB"), (10**9, "1.00 GB")],
)
def test_little_is_not_shown_as_nothing(size, shown):
    assert sizes.amount(size) == shown
