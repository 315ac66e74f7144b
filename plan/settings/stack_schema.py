"""The JSON Schema of stack files, generated from the table of keys.

It is for editors: it checks what can be checked without reading files or comparing keys, and never
rejects what the checks accept. Draft 7, which every yaml-language-server reads.
"""

import re
from collections.abc import Mapping
from typing import Any

from plan.problems import PROJECT
from plan.settings.cluster import ONLY
from plan.settings.credentials import CREDENTIALS, ENCRYPTED_KEY, LOGINS
from plan.settings.documents import below, tops
from plan.settings.key import (
    ANY_HOST,
    BOOLEAN,
    CHOICE,
    ENCRYPTED,
    INTEGER,
    LIST,
    NUMBER,
    REQUIRED,
    Key,
)
from plan.settings.keys import GROUPS, KEYS
from plan.settings.nodes import BOOT_PRESETS
from plan.settings.patches import PATCH_KEYS
from plan.settings.upstreams import HARBOR, HOST, KEYS_OF_A_CACHE
from plan.upstreams import DOCKER_IO_ALIASES, KNOWN

Schema = dict[str, Any]

_WHOLE_IN_TEXT = r"(0|[1-9][0-9]{0,9})(\.0{1,9})?"
_ENCRYPTED = "encrypted"
_REF = "#/definitions/"
# `pulumi config set` without --path writes mappings and lists as JSON in text.
_OBJECT_IN_TEXT, _LIST_IN_TEXT = r"^\s*\{", r"^\s*\["


def stack_schema() -> Schema:
    """The whole schema, ready for `json.dumps`."""
    secret = {
        "description": "a value that `pulumi config set --secret` has encrypted",
        "type": "object",
        "properties": {ENCRYPTED_KEY: {"type": "string"}},
        "required": [ENCRYPTED_KEY],
        "additionalProperties": False,
    }
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": f"A stack file of {PROJECT}",
        "type": ["object", "null"],
        "properties": {
            "config": _config(),
            "encryptionsalt": {"type": "string"},
            "encryptedkey": {"type": "string"},
            "secretsprovider": {"type": "string"},
        },
        "definitions": {_ENCRYPTED: secret, **{top: _definition(top) for top in tops()}},
    }


def _config() -> Schema:
    """Keys with the project's namespace, which editors propose, or without; any others."""
    names = tops()
    return {
        **_not_built_in(),
        "type": ["object", "null"],
        "properties": {f"{PROJECT}:{name}": {"$ref": _REF + name} for name in names},
        "patternProperties": {
            f"^(?!{PROJECT}:)[^:]+:": {},
            **{f"^({PROJECT}:config:)?{name}$": {"$ref": _REF + name} for name in names},
        },
        "additionalProperties": False,
    }


def _not_built_in() -> Schema:
    """An upstream that is not built in needs a URL and a port, unless the backend is Harbor."""
    unknown = {
        "if": {"not": _says("backend", HARBOR)},
        "then": {"type": "object", "required": ["remoteUrl", "port"]},
    }
    upstreams = {"properties": {host: {} for host in KNOWN}, "additionalProperties": unknown}
    starts = (f"{PROJECT}:", "", f"{PROJECT}:config:")
    return {
        "if": {"not": {"anyOf": [_says(f"{start}backend", HARBOR) for start in starts]}},
        "then": {"properties": {f"{start}upstreams": upstreams for start in starts}},
    }


def _definition(top: str) -> Schema:
    if top in KEYS:
        return _value(KEYS[top], nullable=False)
    group = GROUPS[top]
    schema: Schema = {"description": group.description}
    if group.default is not None:
        schema["default"] = group.default
    if top in LOGINS:
        return schema | _login(top)
    if top == CREDENTIALS:
        return schema | _credentials()
    if top == "upstreams":
        return schema | _upstreams()
    if top == "cluster":
        return schema | _clusters()
    return schema | _in_text(_group(below(top)))


def _group(keys: list[Key]) -> Schema:
    required = [key.name for key in keys if key.default is REQUIRED]
    schema: Schema = {
        "type": "object",
        "properties": {key.name: _value(key) for key in keys},
        "additionalProperties": False,
    }
    return schema | ({"required": required} if required else {})


def _in_text(group: Schema) -> Schema:
    """Either as it is, or as JSON in text, which is not checked."""
    return group | {"type": [group["type"], "string"], "pattern": _OBJECT_IN_TEXT}


def _login(group: str) -> Schema:
    """Encrypted as a whole or one by one; `pulumi config rm` leaves an empty mapping behind."""
    return {
        "anyOf": [
            {"type": "object", "maxProperties": 0},
            {"$ref": _REF + _ENCRYPTED},
            _group(below(group)),
        ]
    }


def _credentials() -> Schema:
    of_a_host = _login(f"{CREDENTIALS}.{ANY_HOST}")
    of_a_host["anyOf"].append({"type": "null"})
    hosts = {"type": "object", "additionalProperties": of_a_host}
    return {"anyOf": [{"$ref": _REF + _ENCRYPTED}, hosts]}


def _upstreams() -> Schema:
    upstream = _group(below(f"upstreams.{ANY_HOST}"))
    upstream["type"] = ["object", "null"]
    upstream["if"] = _says("backend", HARBOR)
    defaults = {name: KEYS[f"upstreams.{ANY_HOST}.{name}"].default for name in KEYS_OF_A_CACHE}
    upstream["then"] = _only({name: (None, value) for name, value in defaults.items()})
    return _in_text(
        {
            "type": "object",
            "minProperties": 1,
            "propertyNames": {
                "pattern": _whole(HOST.pattern),
                "not": {"enum": sorted(DOCKER_IO_ALIASES)},
            },
            "additionalProperties": upstream,
        }
    )


def _clusters() -> Schema:
    cluster = _group(below("cluster"))
    presets = cluster["properties"]["presets"]
    # Exactly one preset says what to boot.
    boots = [{"contains": {"const": preset}} for preset in BOOT_PRESETS]
    presets["anyOf"] = [{"type": "null"}, {"maxItems": 0}, {"oneOf": boots}]
    cluster["if"] = _says("provisioner", "qemu")
    cluster["then"], cluster["else"] = (
        _only({name: (None, []) for name, only in ONLY.items() if only == other})
        for other in ("docker", "qemu")
    )
    several = {"type": "array", "items": cluster, "minItems": 1}
    return {"anyOf": [_in_text(cluster), several, {"type": "string", "pattern": _LIST_IN_TEXT}]}


def _says(name: str, value: str) -> Schema:
    return {"type": "object", "properties": {name: {"const": value}}, "required": [name]}


def _only(values: Mapping[str, tuple[object, ...]]) -> Schema:
    """These keys have no other values, if they are there."""
    return {
        "properties": {
            name: {"enum": [value for i, value in enumerate(all_) if value not in all_[:i]]}
            for name, all_ in values.items()
        }
    }


def _value(key: Key, *, nullable: bool = True) -> Schema:
    """A key without a value counts as absent, but at the top level Pulumi reads empty text."""
    schema = _of_type(key)
    if key.path == "bindAddresses":
        schema |= {"type": ["array", "string"], "pattern": _LIST_IN_TEXT, "uniqueItems": True}
    if nullable and key.default is not REQUIRED and "enum" in schema:
        schema["enum"] = [*schema["enum"], None]
    elif nullable and key.default is not REQUIRED:
        types = schema["type"]
        schema["type"] = [*([types] if isinstance(types, str) else types), "null"]
    schema["description"] = f"{key.description} ({key.rule})"
    if key.default not in (None, REQUIRED):
        schema["default"] = list(key.default) if isinstance(key.default, tuple) else key.default
    return schema


def _of_type(key: Key) -> Schema:
    if key.type == ENCRYPTED:
        return {"$ref": _REF + _ENCRYPTED}
    if key.type == CHOICE:
        return {"enum": list(key.choices)}
    if key.type == BOOLEAN:
        return {"type": ["boolean", "string"], "pattern": "^(true|false)$"}
    if key.type in (INTEGER, NUMBER):
        kind, text = ("integer", _WHOLE_IN_TEXT) if key.type == INTEGER else ("number", key.pattern)
        span = {"minimum": key.least, "maximum": key.most}
        return {"type": [kind, "string"], **span, "pattern": _whole(text)}
    if key.name in PATCH_KEYS:
        mapping = {"type": "object", "minProperties": 1}
        return {"type": "array", "items": {"anyOf": [mapping, _text(r"[\s\S]*[^@\s][\s\S]*", key)]}}
    if key.type == LIST:
        return {"type": "array", "items": _text(key.pattern, key)}
    if key.zero:
        zero = {"type": ["string", "integer"], "minimum": 0, "maximum": 0}
        return _text(f"0|{key.pattern}", key) | zero
    if isinstance(key.default, bool):
        return _text(key.pattern, key) | {"type": ["boolean", "string"]}
    return _text(key.pattern, key)


def _text(pattern: str, key: Key) -> Schema:
    """Text; editors show the rule if the pattern doesn't match."""
    return {"type": "string", "pattern": _whole(pattern), "patternErrorMessage": key.rule}


def _whole(pattern: str) -> str:
    """A pattern of the whole text, without the names of Python's groups."""
    unnamed = re.sub(r"\?P<[a-z]+>", "", pattern)
    return f"^({unnamed})$"
