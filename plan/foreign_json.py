"""Reads JSON that others wrote, which may be anything."""

import json


def read(text: str | bytes) -> object:
    """What it says.

    Raises:
        ValueError: it is no JSON, or it is nested more deeply than Python follows.
    """
    try:
        value: object = json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    return value
