"""Pulumi values as Python values, and back.

On the wire they are protobuf structs in which secrets and unknowns are marked. Here a secret is a
`Secret` around its value, and an unknown (an output that exists only after an `up`) is `UNKNOWN`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from google.protobuf import struct_pb2  # type: ignore[import-untyped]

from toolchain.fallback_plugins.protocol.server import PluginError, not_implemented

Value = Any
Values = dict[str, Value]

# The signatures below are part of Pulumi's wire format.
SIGNATURE_KEY = "4dabf18193072939515e22adb298388d"
CONFIDENTIAL_SIGNATURE = "1b47061264138c4ac30d75fd1eb44270"
UNKNOWN_TEXT = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
UNKNOWN_TEXTS = frozenset(
    {
        UNKNOWN_TEXT,
        "1c4a061d-8072-4f0a-a4cb-0ff528b18fe7",
        "3eeb2bf0-c639-47a8-9e75-3b44932eb421",
        "6a19a0b0-7e62-4c92-b797-7f8e31da9cc2",
        "030794c1-ac77-496b-92df-f27374a8bd58",
        "e48ece36-62e2-4504-bad9-02848725956a",
        "dd056dcd-154b-4c76-9bd3-c8f88648b5ff",
    }
)


@dataclass(frozen=True)
class Secret:
    """A value that the state must keep encrypted and that is never printed."""

    value: Value

    def __repr__(self) -> str:
        return "Secret(...)"


class Unknown:
    """A value that is known only after an `up`."""

    def __repr__(self) -> str:
        return "UNKNOWN"


UNKNOWN = Unknown()


def decode(struct: struct_pb2.Struct) -> Values:
    """A struct from the engine as Python values. A null counts as absent."""
    return {
        key: _decode(value)
        for key, value in struct.fields.items()
        if value.WhichOneof("kind") != "null_value"
    }


def encode(values: Mapping[str, Value]) -> struct_pb2.Struct:
    """Python values as a struct for the engine."""
    struct = struct_pb2.Struct()
    for key, value in values.items():
        struct.fields[key].CopyFrom(_encode(value))
    return struct


def reveal(value: Value) -> Value:
    """The value without its secret marks, to act on; it must never be returned to the engine."""
    if isinstance(value, Secret):
        return reveal(value.value)
    if isinstance(value, dict):
        return {key: reveal(item) for key, item in value.items()}
    if isinstance(value, list):
        return [reveal(item) for item in value]
    return value


def holds_secret(value: Value) -> bool:
    """Whether the value or anything in it is secret."""
    if isinstance(value, dict):
        return any(holds_secret(item) for item in value.values())
    if isinstance(value, list):
        return any(holds_secret(item) for item in value)
    return isinstance(value, Secret)


def holds_unknown(value: Value) -> bool:
    """Whether the value or anything in it is unknown."""
    if isinstance(value, Secret):
        return holds_unknown(value.value)
    if isinstance(value, dict):
        return any(holds_unknown(item) for item in value.values())
    if isinstance(value, list):
        return any(holds_unknown(item) for item in value)
    return value is UNKNOWN


def _decode(value: struct_pb2.Value) -> Value:
    kind = value.WhichOneof("kind")
    if kind == "string_value":
        return UNKNOWN if value.string_value in UNKNOWN_TEXTS else value.string_value
    if kind == "number_value":
        number = value.number_value
        return int(number) if number.is_integer() else number
    if kind == "bool_value":
        return value.bool_value
    if kind == "list_value":
        return [_decode(item) for item in value.list_value.values]
    if kind == "struct_value":
        return _decode_object(value.struct_value)
    return None


def _decode_object(struct: struct_pb2.Struct) -> Value:
    if SIGNATURE_KEY not in struct.fields:
        return decode(struct)
    if struct.fields[SIGNATURE_KEY].string_value == CONFIDENTIAL_SIGNATURE:
        return Secret(_decode(struct.fields["value"]))
    raise PluginError(not_implemented("assets, archives and resource references"))


def _encode(value: Value) -> struct_pb2.Value:
    if isinstance(value, Secret):
        return _encode({SIGNATURE_KEY: CONFIDENTIAL_SIGNATURE, "value": value.value})
    if value is UNKNOWN:
        return struct_pb2.Value(string_value=UNKNOWN_TEXT)
    if value is None:
        return struct_pb2.Value(null_value=struct_pb2.NULL_VALUE)
    if isinstance(value, bool):
        return struct_pb2.Value(bool_value=value)
    if isinstance(value, int | float):
        return struct_pb2.Value(number_value=value)
    if isinstance(value, str):
        return struct_pb2.Value(string_value=value)
    if isinstance(value, list):
        items = [_encode(item) for item in value]
        return struct_pb2.Value(list_value=struct_pb2.ListValue(values=items))
    if isinstance(value, dict):
        return struct_pb2.Value(struct_value=encode(value))
    raise TypeError(f"not a Pulumi value: {type(value).__name__}")
