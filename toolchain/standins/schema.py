"""What a resource accepts: checking inputs and comparing them, without knowing what they are for.

A table of `Field`s describes the inputs of one resource type. `problems` finds everything in the
inputs that the table does not allow. `changes` compares two sets of inputs the way Docker would see
them: the order of a set does not matter, and a default is the same as nothing.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from toolchain.standins.serving import OFFICIAL_HINT
from toolchain.standins.values import UNKNOWN, Secret, Value, holds_unknown

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
    choices: tuple[str, ...] = ()


ANYTHING = Field(kind="any")


class Problem(NamedTuple):
    """Why an input is refused. `path` is where it is, say `ports[0].internal`."""

    path: str
    reason: str


class Change(NamedTuple):
    """How one input differs from before."""

    kind: ChangeKind
    replaces: bool


def text(
    *,
    required: bool = False,
    default: str | None = None,
    in_place: bool = False,
    choices: tuple[str, ...] = (),
) -> Field:
    """A string."""
    return Field(
        kind="text", required=required, default=default, in_place=in_place, choices=choices
    )


def whole(*, required: bool = False, default: int = 0, in_place: bool = False) -> Field:
    """A whole number that is not negative."""
    return Field(kind="whole", required=required, default=default, in_place=in_place)


def flag(*, default: bool = False, in_place: bool = False) -> Field:
    """A truth value."""
    return Field(kind="flag", default=default, in_place=in_place)


def many(item: Field, *, in_place: bool = False) -> Field:
    """A list whose order matters."""
    return Field(kind="list", item=item, in_place=in_place)


def unordered(item: Field) -> Field:
    """A list whose order does not matter."""
    return Field(kind="set", item=item)


def mapping(*, in_place: bool = False) -> Field:
    """A map from strings to strings."""
    return Field(kind="map", item=text(), in_place=in_place)


def record(*, in_place: bool = False, **fields: Field) -> Field:
    """An object with the given parts."""
    return Field(kind="record", fields=fields, in_place=in_place)


def problems(
    fields: Mapping[str, Field], values: Mapping[str, Value], owner: str, path: str = ""
) -> Iterator[Problem]:
    """Everything in `values` that the table does not allow. `owner` is the resource type's name."""
    for key in values:
        if key not in fields:
            where = _join(path, key)
            yield Problem(
                where,
                f"the stand-in plugin does not implement the property {where!r} of {owner}; "
                f"{OFFICIAL_HINT}",
            )
    for key, spec in fields.items():
        value = values.get(key)
        if value is not None:
            yield from _value_problems(spec, value, owner, _join(path, key))
        elif spec.required:
            where = _join(path, key)
            yield Problem(where, f"{owner} needs the property {where!r}")


def normalise(spec: Field, value: Value) -> Value:
    """The value in the one form in which equal values are equal; None where it says nothing."""
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
    """The inputs that differ. An unknown differs from everything, also from itself."""
    found = {}
    for key, spec in fields.items():
        before, after = normalise(spec, old.get(key)), normalise(spec, new.get(key))
        if before != after or holds_unknown(after):
            found[key] = Change(_change_kind(old.get(key), new.get(key)), not spec.in_place)
    return found


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


def _change_kind(old: Value, new: Value) -> ChangeKind:
    if old is None:
        return "ADD"
    return "DELETE" if new is None else "UPDATE"


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key
