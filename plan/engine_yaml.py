"""YAML as the engine reads it.

The engine and talosctl are programs in Go and read YAML with its package yaml.v3; PyYAML by itself
reads YAML 1.1. What is true, a number or text differs between the two: `yes`, `27:40`, `0o17`. So
that a file means here what it will mean there, plain scalars are resolved by yaml.v3's rules (its
resolve.go). tests/fixtures/engine_yaml.json holds what the engine itself makes of each kind.

What it bounds, it bounds so that no file can keep this program busy: depth, and what aliases
multiply.
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

# What PyYAML says, with a part of the value, of those that begin with * or !.
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
# Base -> what Go's strconv takes for it; a number that is none of them may be one with a fraction.
_INTEGERS = {
    16: re.compile("([-+]?)0[xX]([0-9a-fA-F]+)"),
    2: re.compile("([-+]?)0[bB]([01]+)"),
    8: re.compile("([-+]?)0[oO]?([0-7]+)"),
    10: re.compile("([-+]?)(0|[1-9][0-9]{0,19})"),
}
# JSON escapes a character above U+FFFF as two halves; yaml.v3 takes neither.
_HALF = re.compile("[\ud800-\udfff]")
_FRACTION = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_TIME = re.compile(
    r"(?P<date>[0-9]{4}-[0-9]{1,2}-[0-9]{1,2})"
    r"((?P<between>[Tt ])(?P<time>[0-9]{1,2}:[0-9]{1,2}:[0-9]{1,2})(\.(?P<part>[0-9]{1,9}))?"
    r"(?P<zone>Z|[-+][0-9]{2}:[0-9]{2})?)?"
)


class NotYamlError(TalosCacheError):
    """A text can't be read as YAML; says why, in one line."""


def load(content: str | bytes) -> Any:
    """The one document of a text; None where it is empty. Bytes may be UTF-16 with its mark.

    Raises:
        NotYamlError: it is no YAML, holds more than one document, is too deep or multiplies.
    """
    found = documents(content)
    if len(found) > 1:
        raise NotYamlError("it holds several documents: remove every line '---' but the first")
    return found[0] if found else None


def documents(content: str | bytes) -> list[Any]:
    """Every document of a text.

    Raises:
        NotYamlError: as `load`.
    """
    try:
        loader = _Loader(content)
        found = []
        while loader.check_node():
            node = loader.get_node()
            assert node is not None  # noqa: S101 - it has just said so
            _refuse_multiplying(node)
            found.append(loader.construct_document(node))
    except yaml.YAMLError as error:
        raise NotYamlError(_in_a_line(error)) from error
    return found


class _Loader(yaml.SafeLoader):
    """Resolves as yaml.v3 does, and refuses a key that stands twice, as the engine does."""

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
                raise _refusal(f"the key '{key.value}' stands twice", key)
            seen.add(key.value if isinstance(key, yaml.ScalarNode) else id(key))
        return node


def _scalar(loader: _Loader, node: yaml.Node) -> object:
    """What a plain or tagged scalar stands for; a tag must fit what is written."""
    asked = node.tag.removeprefix(_TAGS)
    if not isinstance(node, yaml.ScalarNode):
        raise _refusal(f"!!{asked} is for a single value", node)
    if _HALF.search(node.value):
        raise _refusal("\\u with half a character: write the character itself, or \\U", node)
    if asked in ("str", "merge"):
        return node.value
    found, value = _resolved(node.value)
    if (asked, found) == ("float", "int"):
        return value
    if asked not in (_PLAIN, found):
        raise _refusal(f"this is not a !!{asked}", node)
    if isinstance(value, float) and not math.isfinite(value):
        raise _refusal("Pulumi can't hold .inf and .nan", node)
    return value


for _kind in ("str", "bool", "int", "float", "null", "timestamp", "merge"):
    _Loader.add_constructor(f"{_TAGS}{_kind}", _scalar)
_Loader.add_constructor(_PLAIN, _scalar)


def _resolved(text: str) -> tuple[str, object]:
    """The kind that yaml.v3 takes a text for, and its value."""
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
    # The engine hands over JSON, in which a number without a fraction is a whole one.
    return "float", int(number) if number.is_integer() and abs(number) < 1e21 else number


def _time(text: str) -> str | None:
    """A date as the engine hands it over; None for what is not one."""
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
    """Aliases can stand for any number of nodes, and an anchor can hold itself."""
    sizes: dict[int, int] = {}

    def size(node: yaml.Node) -> int:
        if id(node) not in sizes:
            sizes[id(node)] = MOST_NODES + 1  # what holds itself meets this
            sizes[id(node)] = 1 + sum(size(part) for part in _parts(node))
        return sizes[id(node)]

    if size(root) > MOST_NODES:
        raise yaml.YAMLError(f"its aliases stand for more than {MOST_NODES} values")


def _parts(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return node.value if isinstance(node, yaml.SequenceNode) else []


def _refusal(problem: str, node: yaml.Node) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)


def _in_a_line(error: yaml.YAMLError) -> str:
    """What is wrong and where, without the text around it: that may be a secret."""
    problem = " ".join(str(getattr(error, "problem", error)).split())
    if problem.startswith(_QUOTING):
        problem = "a value that begins with * or ! has to stand in quotes"
    mark = getattr(error, "problem_mark", None)
    return f"{problem} (line {mark.line + 1})" if mark else problem
