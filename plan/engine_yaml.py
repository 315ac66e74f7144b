"""YAML as the engine reads it.

The engine and talosctl are written in Go and read YAML with the package yaml.v3; PyYAML reads YAML
1.1. The two differ in what is a boolean, a number or text: `yes`, `27:40`, `0o17`. So that a file
has the same meaning here and there, plain scalars are resolved by yaml.v3's rules (its resolve.go).
tests/fixtures/engine_yaml.json records how the engine itself reads each kind.

Nesting and the expansion of aliases are limited, so that no file can keep this program busy.
"""

import math
import re
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from typing import Any

import yaml

from host.errors import TalosCacheError

MOST_LEVELS = 100
MOST_NODES = 100_000

# PyYAML's errors about values that begin with * or !, which quote part of the value.
_QUOTING = ("found undefined", "could not determine a constructor")
_TAGS = "tag:yaml.org,2002:"
_MAP = f"{_TAGS}map"
_MERGE = f"{_TAGS}merge"
_MERGE_KEY = "<<"
_PLAIN = "plain"
_WORDS: Mapping[str, tuple[str, object]] = {
    **dict.fromkeys(("true", "True", "TRUE"), ("bool", True)),
    **dict.fromkeys(("false", "False", "FALSE"), ("bool", False)),
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), ("null", None)),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), ("float", math.nan)),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), ("float", math.inf)),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), ("float", -math.inf)),
}
# Base -> what Go's strconv reads in it; any other number may have a fraction.
_INTEGERS = {
    16: re.compile("([-+]?)0[xX]([0-9a-fA-F]+)"),
    2: re.compile("([-+]?)0[bB]([01]+)"),
    8: re.compile("([-+]?)0[oO]?([0-7]+)"),
    10: re.compile("([-+]?)(0|[1-9][0-9]{0,19})"),
}
# JSON escapes a character above U+FFFF as a surrogate pair, which yaml.v3 rejects.
_HALF = re.compile("[\ud800-\udfff]")
_FRACTION = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_TIME = re.compile(
    r"(?P<date>[0-9]{4}-[0-9]{1,2}-[0-9]{1,2})"
    r"((?P<between>[Tt ])(?P<time>[0-9]{1,2}:[0-9]{1,2}:[0-9]{1,2})(\.(?P<part>[0-9]{1,9}))?"
    r"(?P<zone>Z|[-+][0-9]{2}:[0-9]{2})?)?"
)


class NotYamlError(TalosCacheError):
    """Text can't be read as YAML; says why, in one line."""


def load(content: str | bytes) -> Any:
    """The only document of a text; None if it is empty. Bytes may be UTF-16 with a BOM.

    Raises:
        NotYamlError: it is not YAML, is several documents, or is too deep or too large.
    """
    parsed = documents(content)
    if len(parsed) > 1:
        raise NotYamlError("it has several documents: remove every line '---' except the first")
    return parsed[0] if parsed else None


def documents(content: str | bytes) -> list[Any]:
    """Every document of a text.

    Raises:
        NotYamlError: as `load`.
    """
    try:
        loader = _Loader(content)
        parsed = []
        while loader.check_node():
            node = loader.get_node()
            assert node is not None  # noqa: S101 - `check_node` has said so
            _refuse_multiplying(node)
            parsed.append(loader.construct_document(node))
    except yaml.YAMLError as error:
        raise NotYamlError(_in_a_line(error)) from error
    return parsed


class _Loader(yaml.SafeLoader):
    """Resolves scalars as yaml.v3 does, and rejects duplicate keys, as the engine does."""

    def __init__(self, content: str | bytes) -> None:
        super().__init__(content)
        self._level = 0

    def resolve(self, kind: type[yaml.Node], value: Any, implicit: Any) -> str:
        if kind is not yaml.ScalarNode:
            return self.DEFAULT_SEQUENCE_TAG if kind is yaml.SequenceNode else _MAP
        if value == _MERGE_KEY:
            return _MERGE
        return _PLAIN if implicit[0] else f"{_TAGS}str"

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self._level == MOST_LEVELS:
            raise yaml.YAMLError(f"it is nested more than {MOST_LEVELS} levels deep")
        self._level += 1
        node = super().compose_node(parent, index)
        self._level -= 1
        return node

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise _refusal(f"the key '{key.value}' appears twice", key)
            seen.add(key.value if isinstance(key, yaml.ScalarNode) else id(key))
        return node


def _scalar(loader: _Loader, node: yaml.Node) -> object:
    """The value of a plain or tagged scalar; a tag must match the value."""
    tag = node.tag.removeprefix(_TAGS)
    if not isinstance(node, yaml.ScalarNode):
        raise _refusal(f"!!{tag} is for a single value", node)
    if _HALF.search(node.value):
        raise _refusal("\\u with half a surrogate pair: write the character itself, or \\U", node)
    if tag in ("str", "merge"):
        return node.value
    kind, value = _resolved(node.value)
    if (tag, kind) == ("float", "int"):
        return value
    if tag not in (_PLAIN, kind):
        raise _refusal(f"this is not a !!{tag}", node)
    if isinstance(value, float) and not math.isfinite(value):
        raise _refusal("Pulumi can't store .inf and .nan", node)
    return value


for _kind in ("str", "bool", "int", "float", "null", "timestamp", "merge"):
    _Loader.add_constructor(f"{_TAGS}{_kind}", _scalar)
_Loader.add_constructor(_PLAIN, _scalar)


def _resolved(text: str) -> tuple[str, object]:
    """The kind of value that yaml.v3 reads in a text, and the value."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in "+-.0123456789":
        return "str", text
    if time := _time(text):
        return "timestamp", time
    bare = text.replace("_", "")
    for base, pattern in _INTEGERS.items():
        if match := pattern.fullmatch(bare):
            value = int(match[1] + match[2], base)
            if -(2**63) <= value < 2**64:
                return "int", value
    number = float(bare) if _FRACTION.fullmatch(bare) else math.inf
    if math.isinf(number):
        return "str", text
    # The engine hands over JSON, where a number without a fraction is a whole number.
    return "float", int(number) if number.is_integer() and abs(number) < 1e21 else number


def _time(text: str) -> str | None:
    """A date as the engine hands it over; None if it is not a date."""
    match = _TIME.fullmatch(text)
    if match is None or (match["between"] in ("T", "t")) != bool(match["zone"]):
        return None
    try:
        day = datetime.strptime(f"{match['date']} {match['time'] or '0:0:0'}", "%Y-%m-%d %H:%M:%S")
        zone = (match["zone"] or "Z").replace("Z", "+00:00")
        hours, minutes = int(zone[:3]), int(zone[0] + zone[4:])
        day = day.replace(tzinfo=timezone(timedelta(hours=hours, minutes=minutes)))
    except ValueError:
        return None
    offset = zone.replace(":", "")
    part = f".{match['part']}".rstrip("0").rstrip(".") if match["part"] else ""
    return f"{day:%Y-%m-%d %H:%M:%S}{part} {offset} {'UTC' if offset == '+0000' else offset}"


def _refuse_multiplying(root: yaml.Node) -> None:
    """Aliases can expand to any number of nodes, and an anchor can contain itself."""
    sizes: dict[int, int] = {}

    def size(node: yaml.Node) -> int:
        if id(node) not in sizes:
            sizes[id(node)] = MOST_NODES + 1  # found again by a node that contains itself
            sizes[id(node)] = 1 + sum(size(part) for part in _parts(node))
        return sizes[id(node)]

    if size(root) > MOST_NODES:
        raise yaml.YAMLError(f"its aliases expand to more than {MOST_NODES} values")


def _parts(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return node.value if isinstance(node, yaml.SequenceNode) else []


def _refusal(problem: str, node: yaml.Node) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)


def _in_a_line(error: yaml.YAMLError) -> str:
    """The error and its line, without the text around it, which may be a secret."""
    problem = " ".join(str(getattr(error, "problem", error)).split())
    if problem.startswith(_QUOTING):
        problem = "a value that begins with * or ! must be in quotes"
    mark = getattr(error, "problem_mark", None)
    return f"{problem} (line {mark.line + 1})" if mark else problem
