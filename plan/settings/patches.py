"""Machine config patches in a stack file."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from plan.settings.checks import (
    Checks,
)

# Where a patch applies; the order is that in which talosctl applies them.
SCOPES = ("all", "controlPlanes", "workers")
PATCH_KEYS = dict(zip(("patches", "controlPlanePatches", "workerPatches"), SCOPES, strict=True))
# In JSON: that of a character made of two halves, or any other.
_ESCAPE = re.compile(r"\\(?:u(d[89ab]..)\\u(?:d[c-f]..)|.)")


@dataclass(frozen=True, kw_only=True)
class Patch:
    """One machine config patch of the user's; exactly one of `file` and `text` is given.

    Attributes:
        scope: one of SCOPES.
        file: path of a YAML file, relative to the project, until it has been read.
        text: YAML.
    """

    scope: str
    file: str = ""
    text: str = ""

    def __repr__(self) -> str:
        """Leave the text out: a patch may hold secrets, and tracebacks show reprs."""
        return f"Patch(scope={self.scope!r}, file={self.file!r})"


def parse_patches(check: Checks, group: Mapping[str, Any]) -> tuple[Patch, ...]:
    """All patches of a cluster, those for all nodes first."""
    found: list[Patch] = []
    for key, scope in PATCH_KEYS.items():
        value = group.get(key)
        if value is not None and not isinstance(value, list):
            row = check.key(f"cluster.{key}")
            check.hidden(row.path, row.rule, row.fix)
            continue
        for index, item in enumerate(value or []):
            patch = _patch(check, f"cluster.{key}[{index}]", scope, item)
            found += [patch] if patch else []
    return tuple(found)


def _patch(check: Checks, path: str, scope: str, item: object) -> Patch | None:
    # A list is no patch, but what it was meant to be is told with the others.
    if isinstance(item, (Mapping, list)) and item and (written := _as_yaml(item)):
        return Patch(scope=scope, text=written)
    if isinstance(item, str) and item.strip().strip("@"):
        is_file = item.startswith("@")
        return Patch(scope=scope, file=item[1:]) if is_file else Patch(scope=scope, text=item)
    rule = "a mapping with something in it, YAML text that is one, or @ and a YAML file's path"
    check.hidden(path, rule, "write for instance {machine: {network: {hostname: one}}}")
    return None


def _as_yaml(item: Mapping[str, Any] | list[Any]) -> str | None:
    """As JSON, which is YAML too; None if it can't be, as with a date for a key."""
    try:
        written = json.dumps(item, default=str)
    except (RecursionError, TypeError, ValueError):
        return None
    return _ESCAPE.sub(_whole, written)


def _whole(escape: re.Match[str]) -> str:
    """An escape as YAML has it: JSON makes two of a character above U+FFFF, as of any emoji."""
    if not escape[1]:
        return escape[0]
    character = json.loads(f'"{escape[0]}"')
    return f"\\U{ord(character):08x}"
