"""Machine config patches in a stack file."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from plan.settings.checks import (
    Checks,
)

# Where a patch applies, in the order in which talosctl applies them.
SCOPES = ("all", "controlPlanes", "workers")
PATCH_KEYS = dict(zip(("patches", "controlPlanePatches", "workerPatches"), SCOPES, strict=True))
# An escape in JSON: a surrogate pair, or any other.
_ESCAPE = re.compile(r"\\(?:u(d[89ab]..)\\u(?:d[c-f]..)|.)")


@dataclass(frozen=True, kw_only=True)
class Patch:
    """A machine config patch; exactly one of `file` and `text` is set.

    Attributes:
        scope: one of SCOPES.
        file: path of a YAML file, relative to the project.
        text: YAML.
    """

    scope: str
    file: str = ""
    text: str = ""

    def __repr__(self) -> str:
        """Leave the text out: a patch may contain secrets, and tracebacks show reprs."""
        return f"Patch(scope={self.scope!r}, file={self.file!r})"


def parse_patches(check: Checks, group: Mapping[str, Any]) -> tuple[Patch, ...]:
    """All patches of a cluster, those for all nodes first."""
    patches: list[Patch] = []
    for key, scope in PATCH_KEYS.items():
        value = group.get(key)
        if value is not None and not isinstance(value, list):
            row = check.key(f"cluster.{key}")
            check.hidden(row.path, row.rule, row.fix)
            continue
        for index, item in enumerate(value or []):
            patch = _patch(check, f"cluster.{key}[{index}]", scope, item)
            patches += [patch] if patch else []
    return tuple(patches)


def _patch(check: Checks, path: str, scope: str, item: object) -> Patch | None:
    # A list is not a patch: `plan.talos` reports it, with what it was meant to be.
    if isinstance(item, (Mapping, list)) and item and (written := _as_yaml(item)):
        return Patch(scope=scope, text=written)
    if isinstance(item, str) and item.strip().strip("@"):
        is_file = item.startswith("@")
        return Patch(scope=scope, file=item[1:]) if is_file else Patch(scope=scope, text=item)
    rule = "a non-empty mapping, YAML text of one, or @ followed by a YAML file's path"
    check.hidden(path, rule, "write something like {machine: {network: {hostname: one}}}")
    return None


def _as_yaml(item: Mapping[str, Any] | list[Any]) -> str | None:
    """As JSON, which is YAML too; None if that is impossible, as with a date for a key."""
    try:
        written = json.dumps(item, default=str)
    except (RecursionError, TypeError, ValueError):
        return None
    return _ESCAPE.sub(_whole, written)


def _whole(escape: re.Match[str]) -> str:
    """An escape as YAML writes it: JSON needs two above U+FFFF, for instance for an emoji."""
    if not escape[1]:
        return escape[0]
    character = json.loads(f'"{escape[0]}"')
    return f"\\U{ord(character):08x}"
