"""Durations as Go writes them, which is how talosctl and the registry read them."""

import re

_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}


def seconds(duration: str) -> float:
    """`1h30m` -> 5400.0; the form has been checked (see `Checks.duration`)."""
    parts = re.findall(r"([0-9.]+)(ms|us|ns|h|m|s)", duration)
    return sum(float(count) * _UNITS[unit] for count, unit in parts)
