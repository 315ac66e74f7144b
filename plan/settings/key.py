"""One row of the table of keys, and the rows of the plain kinds.

The table (`plan.settings.keys`) is the single source for the name, type, default and meaning of
every key. The checks, Pulumi.yaml, the key table in docs/configuration.md,
stacks/Pulumi.example.yaml and stacks/schema.json are all derived from it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

# The default of a key that must be set.
REQUIRED = object()
# The first release, which has every key so far.
FIRST = "0.1.0"
# Placeholder for any upstream registry in a key's path.
ANY_HOST = "<host>"

BOOLEAN = "boolean"
CHOICE = "choice"
DURATION = "duration"
FILE = "file"
INTEGER = "whole number"
LIST = "list"
NUMBER = "number"
ENCRYPTED = "secret text"
TEXT = "text"

# How `pulumi config set --path` writes a number.
NUMBER_IN_TEXT = r"(0|[1-9][0-9]{0,9})(\.[0-9]{1,9})?"
# What Go's time.ParseDuration takes, without a sign and above zero.
_GO_DURATION = r"(?=.*[1-9])([0-9]+(\.[0-9]+)?(ns|us|ms|s|m|h))+"
_FILE = r"@[\s\S]*\S[\s\S]*"


@dataclass(frozen=True, kw_only=True)
class Key:
    """One key of a stack file.

    Attributes:
        path: dotted; ANY_HOST in it is a placeholder for any upstream registry.
        type: one of the constants above.
        default: None for a key that is absent by default; REQUIRED for one that must be set.
        rule: what the value must be, without a full stop.
        fix: what to do about a wrong value.
        description: what the key does, on one line, without a capital at the start and a full stop
            at the end; may contain `code`.
        details: more text for the example file: when to change the key, and what happens then. A
            line that starts with a space stays as it is, the others are joined and wrapped.
        example: a value in YAML, for a key without a default.
        host: the upstream below which the example file shows the key.
        choices: all values of a CHOICE.
        least, most: the smallest and the largest value of an INTEGER or a NUMBER.
        zero: what "0" is for, for a DURATION that may be zero.
        pattern: of the whole value, or of each item of a LIST; empty if only code can check it.
        since: the release that introduced the key.
    """

    path: str
    type: str
    rule: str
    fix: str
    description: str
    default: object = None
    details: str = ""
    example: str = ""
    host: str = ""
    choices: tuple[str, ...] = ()
    least: float = 0
    most: float = 0
    zero: str = ""
    pattern: str = ""
    since: str = FIRST

    @property
    def name(self) -> str:
        """`cache.ttl` -> `ttl`."""
        return leaf(self.path)

    def shown(self, *, example: str = "", host: str = "") -> "Key":
        """A copy with what the example file shows; see the attributes."""
        return replace(self, example=example, host=host)


@dataclass(frozen=True, kw_only=True)
class Group:
    """A key that contains others.

    Attributes:
        path: its name.
        description, details: as for a Key.
        default: what Pulumi.yaml declares; None for a key that is absent by default.
        first: what the example file shows before the group's keys.
    """

    path: str
    description: str
    details: str = ""
    default: Mapping[str, object] | None = None
    first: str = ""


def leaf(path: str) -> str:
    """`cache.ttl` -> `ttl`."""
    return path.rsplit(".", 1)[-1]


def boolean(path: str, default: bool, description: str, details: str = "") -> Key:
    """True or false."""
    plain = row(path, BOOLEAN, default, description, details)
    return replace(plain, rule="true or false", fix="write true or false")


def choice(
    path: str,
    default: str | None,
    choices: tuple[str, ...],
    description: str,
    details: str = "",
) -> Key:
    """One of a fixed set of values."""
    plain = row(path, CHOICE, default, description, details)
    rule = f"one of {', '.join(choices)}" if choices[1:] else f"{choices[0]} is the only value"
    return replace(plain, rule=rule, fix=f"write {choices[0]}", choices=choices)


def integer(
    path: str,
    default: int | None,
    span: tuple[int, int],
    description: str,
    details: str = "",
) -> Key:
    """A whole number in a span, which includes both ends."""
    least, most = span
    plain = row(path, INTEGER, default, description, details)
    rule = f"a whole number from {least} to {most}"
    fix = f"write something like {leaf(path)}: {most if default is None else default}"
    return replace(plain, rule=rule, fix=fix, least=least, most=most)


def duration(path: str, default: str, description: str, details: str, *, zero: str = "") -> Key:
    """A Go duration above zero; `zero` says what "0" is for, if it is allowed."""
    rule = 'a Go duration above zero, such as "90s", "30m", "168h" or "1h30m"'
    rule = f'{rule}, or "0" {zero}' if zero else rule
    fix = f"write something like {leaf(path)}: {'168h (7 days)' if zero else '20m'}"
    plain = row(path, DURATION, default, description, details)
    return replace(plain, rule=rule, fix=fix, zero=zero, pattern=_GO_DURATION)


def file(path: str, example: str, description: str, details: str, *, host: str = "") -> Key:
    """@ followed by the path of a PEM file; `example` is such a path."""
    plain = row(path, FILE, None, description, details)
    rule = "@ followed by the path of a PEM file, relative to the project"
    shown = f'"@{example}"'
    fix = f"write something like {shown}"
    return replace(plain, rule=rule, fix=fix, example=shown, pattern=_FILE, host=host)


def secret(path: str, command: str, description: str, *, host: str = "") -> Key:
    """A user name or password, encrypted in the stack file; `command` sets it."""
    plain = row(path, ENCRYPTED, REQUIRED, description, "")
    rule = "non-empty text"
    return replace(plain, rule=rule, fix=f"run: {command}", example="{secure: ...}", host=host)


def row(path: str, kind: str, default: object, description: str, details: str) -> Key:
    """A row without its rule and its fix, which the caller adds with `replace`."""
    return Key(
        path=path,
        type=kind,
        rule="",
        fix="",
        default=default,
        description=description,
        details=details,
    )
