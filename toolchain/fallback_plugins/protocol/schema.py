"""What a resource accepts: checks and compares inputs, without knowing what they are for.

A table of `Field`s describes the inputs of one resource type. `problems` finds everything in the
inputs that the table does not allow. `changes` compares what a resource is with what it should be:
the order of a set does not matter, and a default counts as absent.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Literal, NamedTuple

from toolchain.fallback_plugins.protocol.server import not_implemented
from toolchain.fallback_plugins.protocol.values import UNKNOWN, Secret, Value, holds_unknown, reveal

Kind = Literal["text", "whole", "flag", "list", "set", "map", "record", "any"]
ChangeKind = Literal["ADD", "DELETE", "UPDATE"]

NAMES: Mapping[Kind, str] = {
    "text": "a string",
    "whole": "a whole number",
    "flag": "true or false",
    "list": "a list",
    "set": "a list",
    "map": "a map of strings",
    "record": "an object",
}


@dataclass(frozen=True, kw_only=True)
class Field:
    """One input, or one part of a nested input."""

    kind: Kind
    item: "Field | None" = None
    fields: "Mapping[str, Field]" = field(default_factory=dict)
    required: bool = False
    default: Value = None
    in_place: bool = False
    """A change of it does not replace the resource."""
    computed: bool = False
    """An absent value leaves it as it is."""
    as_one: bool = False
    """A set that differs in any part is reported as changed as a whole."""
    choices: tuple[str, ...] = ()
    pattern: str = ""


ANYTHING = Field(kind="any")


class Problem(NamedTuple):
    """Why an input is refused. `path` says where it is, such as `ports[0].internal`."""

    path: str
    reason: str


class Change(NamedTuple):
    """How one input, or one part of it, differs from before."""

    kind: ChangeKind
    replaces: bool


def text(
    *,
    required: bool = False,
    default: str | None = None,
    in_place: bool = False,
    computed: bool = False,
    choices: tuple[str, ...] = (),
    pattern: str = "",
) -> Field:
    """A string."""
    return Field(
        kind="text",
        required=required,
        default=default,
        in_place=in_place,
        computed=computed,
        choices=choices,
        pattern=pattern,
    )


def whole(
    *, required: bool = False, default: int = 0, in_place: bool = False, computed: bool = False
) -> Field:
    """A whole number that is not negative."""
    return Field(
        kind="whole", required=required, default=default, in_place=in_place, computed=computed
    )


def flag(*, default: bool = False, in_place: bool = False) -> Field:
    """A truth value."""
    return Field(kind="flag", default=default, in_place=in_place)


def many(item: Field, *, in_place: bool = False, computed: bool = False) -> Field:
    """A list whose order matters."""
    return Field(kind="list", item=item, in_place=in_place, computed=computed)


def unordered(item: Field, *, computed: bool = False, as_one: bool = False) -> Field:
    """A list whose order does not matter."""
    return Field(kind="set", item=item, computed=computed, as_one=as_one)


def mapping(*, in_place: bool = False) -> Field:
    """A map from strings to strings."""
    return Field(kind="map", item=text(), in_place=in_place)


def record(*, in_place: bool = False, computed: bool = False, **fields: Field) -> Field:
    """An object with the given parts."""
    return Field(kind="record", fields=fields, in_place=in_place, computed=computed)


def problems(
    fields: Mapping[str, Field], values: Mapping[str, Value], owner: str, path: str = ""
) -> Iterator[Problem]:
    """Everything in `values` that the table does not allow. `owner` is the resource type's name."""
    for key in values:
        if key not in fields:
            full_path = _join(path, key)
            yield Problem(full_path, not_implemented(f"the property {full_path!r} of {owner}"))
    for key, spec in fields.items():
        value = values.get(key)
        if value is not None:
            yield from _value_problems(spec, value, owner, _join(path, key))
        elif spec.required:
            full_path = _join(path, key)
            yield Problem(full_path, f"{owner} needs the property {full_path!r}")


def normalise(spec: Field, value: Value) -> Value:
    """The value in a form in which equal values compare equal; None if it is absent."""
    if isinstance(value, Secret):
        return normalise(spec, value.value)
    if value is UNKNOWN:
        return UNKNOWN
    if value is None or value in ("", [], {}):
        return spec.default
    if spec.kind == "record":
        return _normalise_record(spec.fields, value)
    if spec.kind in ("list", "set"):
        items = [normalise(spec.item or ANYTHING, item) for item in value]
        return sorted(items, key=_sort_key) if spec.kind == "set" else items
    if spec.kind == "map":
        return {key: normalise(text(), item) for key, item in value.items()}
    return value


def changes(
    fields: Mapping[str, Field], old: Mapping[str, Value], new: Mapping[str, Value]
) -> dict[str, Change]:
    """What differs, by property path. An unknown differs from everything, also from itself."""
    changed: dict[str, Change] = {}
    for key, spec in fields.items():
        before, after = normalise(spec, old.get(key)), normalise(spec, new.get(key))
        if spec.computed and after == spec.default:
            continue
        if before != after or holds_unknown(after):
            kinds = _kinds(spec, (old.get(key), new.get(key)), (before, after))
            changed |= {key + part: Change(kind, not spec.in_place) for part, kind in kinds}
    return changed


def with_defaults(fields: Mapping[str, Field], values: Mapping[str, Value]) -> Value:
    """The values, with defaults for the absent ones if these are not empty."""
    defaults = {key: spec.default for key, spec in fields.items() if spec.default}
    present = {
        key: _with_defaults_inside(fields[key], value) if key in fields else value
        for key, value in values.items()
    }
    return {**defaults, **present}


def _with_defaults_inside(spec: Field, value: Value) -> Value:
    if isinstance(value, Secret):
        return Secret(_with_defaults_inside(spec, value.value))
    if spec.kind == "record" and isinstance(value, dict):
        return with_defaults(spec.fields, value)
    if spec.kind in ("list", "set") and isinstance(value, list):
        return [_with_defaults_inside(spec.item or ANYTHING, item) for item in value]
    return value


def _value_problems(spec: Field, value: Value, owner: str, path: str) -> Iterator[Problem]:
    if isinstance(value, Secret):
        yield from _value_problems(spec, value.value, owner, path)
    elif value is UNKNOWN:
        return
    elif not _fits(spec.kind, value):
        yield Problem(path, f"{path!r} must be {NAMES[spec.kind]}")
    elif spec.kind == "record":
        yield from problems(spec.fields, value, owner, path)
    elif spec.kind in ("list", "set", "map"):
        for key, item in value.items() if spec.kind == "map" else enumerate(value):
            yield from _value_problems(spec.item or ANYTHING, item, owner, f"{path}[{key}]")
    elif spec.choices and value not in spec.choices:
        yield Problem(path, f"{path!r} must be one of: {', '.join(spec.choices)}")
    elif spec.pattern and not re.fullmatch(spec.pattern, value):
        yield Problem(path, f"{path!r} must match {spec.pattern}")


def _fits(kind: Kind, value: Value) -> bool:
    if kind == "flag":
        return isinstance(value, bool)
    if kind == "whole":
        return isinstance(value, int) and not isinstance(value, bool) and value >= 0
    if kind == "text":
        return isinstance(value, str)
    if kind in ("list", "set"):
        return isinstance(value, list)
    if kind in ("map", "record"):
        return isinstance(value, dict)
    return True


def _normalise_record(fields: Mapping[str, Field], value: Mapping[str, Value]) -> Value:
    parts = {key: normalise(spec, value.get(key)) for key, spec in fields.items()}
    return {key: part for key, part in parts.items() if part is not None}


def _sort_key(value: Value) -> str:
    return json.dumps(value, sort_keys=True, default=repr)


def _kinds(
    spec: Field, raw: tuple[Value, Value], plain: tuple[Value, Value]
) -> Iterator[tuple[str, ChangeKind]]:
    """How a value differs, for each part of it that does: where in it, and how."""
    old, new = (reveal(value) for value in raw)
    if old in (None, [], {}) or new in (None, [], {}, ""):
        # An emptied map is shown key by key.
        if spec.kind == "map" and isinstance(old, dict) and old:
            yield from ((_key(key), "DELETE") for key in sorted(old))
        else:
            yield "", "ADD" if old in (None, [], {}) else "DELETE"
    elif spec.kind == "map" and not holds_unknown(plain[1]):
        for key in sorted({*old, *new}):
            if old.get(key) != new.get(key):
                kind: ChangeKind = "UPDATE" if key in old and key in new else "ADD"
                yield _key(key), kind if key in new else "DELETE"
    elif spec.kind in ("list", "set") and not spec.as_one and not holds_unknown(plain[1]):
        yield from _items(plain[0], plain[1])
    else:
        yield "", "UPDATE"


def _items(old: list[Value], new: list[Value]) -> Iterator[tuple[str, ChangeKind]]:
    removed = [index for index, item in enumerate(old) if item not in new]
    added = [index for index, item in enumerate(new) if item not in old]
    if not removed and not added:
        yield "", "UPDATE"
    for before, after in zip_longest(removed, added):
        if before is None:
            yield f"[{after}]", "ADD"
        else:
            yield f"[{before}]", "DELETE" if after is None else "UPDATE"


def _key(key: str) -> str:
    return f".{key}" if key.isidentifier() else f"[{json.dumps(key)}]"


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key
