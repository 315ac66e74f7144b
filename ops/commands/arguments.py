"""From what argparse has read to the frozen dataclass that a command works with."""

import argparse
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar

Arguments = TypeVar("Arguments")
REPORT = "print the report as one JSON object"


def add_json(command: argparse.ArgumentParser, help_text: str = REPORT) -> None:
    """Add the option `--json`, for a field `as_json`."""
    command.add_argument("--json", dest="as_json", action="store_true", help=help_text)


def read(kind: type[Arguments], namespace: argparse.Namespace) -> Arguments:
    """A dataclass with the namespace's values, by name; dataclasses in its fields are filled too.

    Raises:
        AttributeError: the parser has no option for a field.
    """
    values: dict[str, Any] = {}
    for field in fields(kind):  # type: ignore[arg-type] # "any dataclass" has no public type
        if isinstance(field.type, type) and is_dataclass(field.type):
            values[field.name] = read(field.type, namespace)
        else:
            values[field.name] = getattr(namespace, field.name)
    return kind(**values)
