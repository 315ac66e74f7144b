"""The documents for people that are generated from the table of keys."""

import json
import textwrap
from collections.abc import Iterable

from plan.problems import PROJECT
from plan.settings.checks import number_in
from plan.settings.key import (
    BOOLEAN,
    CHOICE,
    INTEGER,
    LIST,
    REQUIRED,
    TEXT,
    Group,
    Key,
)
from plan.settings.keys import GROUPS, KEYS

# What yaml-language-server, and the editors that use it, look for in a stack file.
SCHEMA_LINE = "# yaml-language-server: $schema=./schema.json\n"
_WIDTH = 100
_PULUMI_TYPES = {TEXT: "string", CHOICE: "string", BOOLEAN: "boolean", INTEGER: "integer"}
_EXAMPLE_HEAD = f"""\
{SCHEMA_LINE}\
# Every key that a stack file may have: what it does, when to change it, and its default (commented
# out). For your own stack: make stack NAME=mine FROM=docker, then edit stacks/Pulumi.mine.yaml.
# Only keys marked REQUIRED must be set. `make preview STACK=mine` reports all mistakes at once.
config:
"""


def pulumi_config() -> str:
    """The key `config` of Pulumi.yaml.

    The engine requires every key that is declared without a default, so keys that may be absent
    are not declared.
    """
    lines = ["config:"]
    for top in tops():
        if top in GROUPS:
            lines += _declared_group(GROUPS[top])
        else:
            lines += _declared_key(KEYS[top])
    return "\n".join(lines) + "\n"


def key_table() -> str:
    """The table of docs/configuration.md."""
    head = "| key | type | default | what it does | rule | since |\n"
    return f"{head}|{' --- |' * 6}\n" + "".join(
        f"| `{key.path}` | {key.type} | {_default_cell(key)} | {key.description} | {key.rule} "
        f"| {key.since} |\n"
        for key in KEYS.values()
    )


def example() -> str:
    """stacks/Pulumi.example.yaml."""
    blocks = []
    for top in tops():
        if top in GROUPS:
            blocks.append(_example_group(GROUPS[top]))
        else:
            blocks.append(_example_key(KEYS[top], 2, f"{PROJECT}:{top}"))
    return _EXAMPLE_HEAD + "\n".join(blocks)


def tops() -> list[str]:
    """The keys at the top of a stack's configuration, in order."""
    return list(dict.fromkeys(path.partition(".")[0] for path in KEYS))


def below(group: str) -> list[Key]:
    """The keys of a group, those of any host included."""
    return [key for path, key in KEYS.items() if path.startswith(f"{group}.")]


def _declared_key(key: Key) -> list[str]:
    kind = ["type: array", "items:", "  type: string"]
    return _declared(
        key.path,
        kind if key.type == LIST else [f"type: {_PULUMI_TYPES[key.type]}"],
        key.description,
        f" {_yaml(key.default)}",
    )


def _declared_group(group: Group) -> list[str]:
    if group.default is None:
        return []
    names = "" if group.default else f": {', '.join(key.name for key in below(group.path))}"
    default = "".join(f"\n      {name}: {{}}" for name in group.default) or " {}"
    return _declared(group.path, ["type: object"], group.description + names, default)


def _declared(name: str, kind: list[str], description: str, default: str) -> list[str]:
    written = json.dumps(_sentence(description).removesuffix(".").replace("`", ""))
    lines = [*kind, f"description: {written}", f"default:{default}"]
    return [f"  {name}:", *(f"    {line}" for line in lines)]


def _default_cell(key: Key) -> str:
    if key.default is REQUIRED:
        return "required"
    return "-" if key.default is None else f"`{_yaml(key.default)}`"


def _example_group(group: Group) -> str:
    lines = _comment(f"{_sentence(group.description)} {group.details}", 2)
    lines += [f"  # {PROJECT}:{group.path}:"]
    lines += [f"    # {group.first}"] if group.first else []
    blocks, shown = [], ""
    for key in below(group.path):
        if key.host != shown:
            shown = key.host
            lines_of_host = f"    # {shown}:\n"
        else:
            lines_of_host = ""
        blocks.append(lines_of_host + _example_key(key, 6 if shown else 4, key.name))
    return "\n".join(lines) + "\n" + "\n".join(blocks)


def _example_key(key: Key, indent: int, name: str) -> str:
    required = key.default is REQUIRED
    start = "REQUIRED. " if required else ""
    absent = " Default: absent." if key.default is None else ""
    lines = _comment(f"{start}{_sentence(key.description)}{absent} {key.details}", indent)
    if key.default is None or required:
        value = key.example
    else:
        value = _yaml(key.default)
        lines += [f"{' ' * indent}# Default:"]
    return "\n".join([*lines, f"{' ' * indent}# {name}: {value}"]) + "\n"


def _comment(text: str, indent: int) -> list[str]:
    """Comment lines, wrapped except for those that start with a space."""
    start = f"{' ' * indent}# "
    lines: list[str] = []
    for line in text.rstrip().splitlines():
        lines += [start + line] if line.startswith(" ") else _wrapped(line, start)
    return lines


def _wrapped(line: str, start: str) -> Iterable[str]:
    return textwrap.wrap(
        line,
        _WIDTH,
        initial_indent=start,
        subsequent_indent=start,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _sentence(description: str) -> str:
    return f"{description[0].upper()}{description[1:]}."


def _yaml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return json.dumps(list(value))
    # Text that YAML would read as a number.
    return json.dumps(value) if number_in(value) is not value else str(value)
