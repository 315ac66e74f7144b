"""Reads JSON from other programs, which may be anything."""

import json


def read(text: str | bytes) -> object:
    """The value.

    Raises:
        ValueError: it is not JSON, or nested too deeply for Python.
    """
    try:
        value: object = json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    return value
