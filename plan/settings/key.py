"""One row of the table of keys, and the rows of the plain kinds.

The table (`plan.settings.keys`) is the only place that says what a key is called, what type and
default it has and what it does. The checks, Pulumi.yaml, the key table in docs/configuration.md,
stacks/Pulumi.example.yaml and stacks/schema.json all come from it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

# The default of a key that has to be there.
REQUIRED = object()
# The first release; every key of it is as old as the project.
FIRST = "0.1.0"
# Stands for any upstream registry in a key's path.
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

# What `pulumi config set --path` makes of a number.
NUMBER_IN_TEXT = r"(0|[1-9][0-9]{0,9})(\.[0-9]{1,9})?"
# Go's time.ParseDuration, without signs and not zero.
_GO_DURATION = r"(?=.*[1-9])([0-9]+(\.[0-9]+)?(ns|us|ms|s|m|h))+"
_FILE = r"@[\s\S]*\S[\s\S]*"


@dataclass(frozen=True, kw_only=True)
class Key:
    """One key of a stack file.

    Attributes:
        path: with dots; ANY_HOST in it stands for any upstream registry.
        type: one of the constants above.
        default: None for a key that is absent unless given; REQUIRED for one that has to be there.
        rule: what its value may be, in one sentence without a full stop.
        fix: what to do about a value that is wrong.
        description: what the key does, on one line, in small letters and without a full stop; may
            hold `code`.
        details: what else the example file says: when to change it, and what happens then. A
            line that starts with a space stays as it is, the others are joined and wrapped.
        example: a value in YAML, for a key without a default.
        host: the upstream that the example file shows the key for.
        choices: all its values, for a CHOICE.
        least, most: its smallest and its largest value, for an INTEGER or a NUMBER.
        zero: what "0" stands for, for a DURATION that may be zero.
        pattern: of the whole value, or of each item of a LIST; empty where only code can tell.
        since: the release that brought it.
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
        """With what the example file shows for it; see the attributes."""
        return replace(self, example=example, host=host)


@dataclass(frozen=True, kw_only=True)
class Group:
    """A key that holds others.

    Attributes:
        path: its name.
        description, details: as for a Key.
        default: what Pulumi.yaml declares; None for a key that is absent unless given.
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
    """One of a few words."""
    plain = row(path, CHOICE, default, description, details)
    rule = f"one of {', '.join(choices)}" if choices[1:] else f"nothing but {choices[0]}"
    return replace(plain, rule=rule, fix=f"write {choices[0]}", choices=choices)


def integer(
    path: str,
    default: int | None,
    span: tuple[int, int],
    what: str,
    description: str,
    details: str = "",
) -> Key:
    """A whole number in a span; `what` says of what."""
    least, most = span
    plain = row(path, INTEGER, default, description, details)
    rule = f"{what} is a whole number from {least} to {most}"
    fix = f"write for instance {leaf(path)}: {most if default is None else default}"
    return replace(plain, rule=rule, fix=fix, least=least, most=most)


def duration(path: str, default: str, description: str, details: str, *, zero: str = "") -> Key:
    """A Go duration above zero; `zero` says what "0" stands for where it is allowed."""
    rule = 'a duration above zero in Go\'s form, such as "90s", "30m", "168h" or "1h30m"'
    rule = f'{rule}, or "0" {zero}' if zero else rule
    fix = f"write for instance {leaf(path)}: {'168h, which is 7 days' if zero else '20m'}"
    plain = row(path, DURATION, default, description, details)
    return replace(plain, rule=rule, fix=fix, zero=zero, pattern=_GO_DURATION)


def file(path: str, example: str, description: str, details: str, *, host: str = "") -> Key:
    """The path of a PEM file behind an @; `example` is one."""
    plain = row(path, FILE, None, description, details)
    rule = "@ and the path of a PEM file, relative to the project"
    shown = f'"@{example}"'
    fix = f"write for instance {shown}"
    return replace(plain, rule=rule, fix=fix, example=shown, pattern=_FILE, host=host)


def secret(path: str, command: str, description: str, *, host: str = "") -> Key:
    """User name or password, which stand in a stack file encrypted; `command` sets it."""
    plain = row(path, ENCRYPTED, REQUIRED, description, "")
    rule = "text that is not empty"
    return replace(plain, rule=rule, fix=f"run: {command}", example="{secure: ...}", host=host)


def row(path: str, kind: str, default: object, description: str, details: str) -> Key:
    """A row without its rule and its fix, for `replace` to add them."""
    return Key(
        path=path,
        type=kind,
        rule="",
        fix="",
        default=default,
        description=description,
        details=details,
    )
