"""From what argparse has read to the frozen dataclass that a command works with."""

import argparse
from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar

from ops.errors import OpsError
from plan.caches.cache import Cache, of_settings
from plan.settings.stack import Settings

Arguments = TypeVar("Arguments")
REPORT = "print the report as one JSON object"


def add_json(command: "argparse._ActionsContainer", help_text: str = REPORT) -> None:
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


def chosen_caches(settings: Settings, upstreams: Sequence[str]) -> tuple[Cache, ...]:
    """The caches of these upstreams; if none are named, all of the stack's.

    Raises:
        OpsError: there is no cache of one of them, or none at all.
    """
    caches = {cache.host: cache for cache in of_settings(settings)}
    behind = {upstream.host for upstream in settings.behind_harbor}
    if not caches and behind:
        raise OpsError("all upstreams of this stack are behind Harbor: look there")
    for host in upstreams:
        if host in behind:
            raise OpsError(f"{host} is behind Harbor, and has no cache here: look there")
        if host not in caches:
            known = ", ".join(caches) or "none"
            raise OpsError(f"there is no cache of '{host}'; the stack's caches: {known}")
    return tuple(caches[host] for host in dict.fromkeys(upstreams or caches))
