"""Mistakes in what a user has written, in the user's terms and without secrets."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

from host.errors import TalosCacheError

MASK = "********"
# The project's name, which is the namespace of its keys.
PROJECT = "talos-cache"
# More mistakes, or more of one value, help no one.
MOST_SHOWN = 20
MOST_CHARACTERS = 120
MOST_OF_A_LINE = 500
# Kept: the start of a key's path, a quote, a scheme. Text whose only @ is its first character names
# a file.
_MAYBE_USER_INFO = re.compile(
    r"^(?!\"@[^@]*$)((?:upstreams\.|credentials\.|\")?(?:[A-Za-z][A-Za-z0-9+.-]*://)?).*@(?!sha256:)",
    re.DOTALL,
)


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One mistake, in the user's terms.

    Attributes:
        path: of the key; or the option, or the list and its line.
        found: the value, masked if it may be a secret.
        rule: what the value must be.
        fix: what to do.
        namespace: of the key; empty if it is not a key.
    """

    path: str
    found: str
    rule: str
    fix: str
    namespace: str = f"{PROJECT}:"

    def __str__(self) -> str:
        return (
            f"{self.namespace}{self.path}\n"
            f"    found: {self.found}\n    rule:  {self.rule}\n    fix:   {self.fix}"
        )


class SettingsError(TalosCacheError):
    """All mistakes in a stack's configuration; the text is for the user as it is."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        self.problems = problems
        super().__init__(told("the stack's configuration", problems))


class ImageListError(TalosCacheError):
    """All mistakes in a list of images; the text is for the user as it is."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        self.problems = problems
        super().__init__(told("the list of images", problems))


def told(where: str, problems: Sequence[Problem]) -> str:
    """The message with all mistakes, or the first of many."""
    count = "1 mistake" if len(problems) == 1 else f"{len(problems)} mistakes"
    return f"{count} in {where}; nothing was changed.\n{listed(problems)}"


def listed(items: Sequence[object]) -> str:
    """The items, or the first of many, one below the other; long lines are cut."""
    more = len(items) - MOST_SHOWN
    ends = [f"  and {more} more like these"] if more > 0 else []
    lines = "\n".join(f"  {item}" for item in items[:MOST_SHOWN]).split("\n")
    return "\n".join([*(cut(line, MOST_OF_A_LINE) for line in lines), *ends])


def cut(shown: str, most: int = MOST_CHARACTERS) -> str:
    """The text, or its start if it is too long."""
    return shown if len(shown) <= most else f"{shown[: most - 3]}..."


def text(value: object) -> str:
    """The value as text; Python refuses that for numbers with thousands of digits."""
    try:
        return str(value)
    except ValueError:
        return "a number with thousands of digits"


def shown_value(found: object) -> str:
    """The value as the user would write it, with what may be a secret masked."""
    try:
        shown = masked(json.dumps(found, default=str, ensure_ascii=False))
    except (RecursionError, TypeError, ValueError):
        # A loop of YAML anchors, a date as a key, a number with thousands of digits.
        return f"a value that can't be shown ({type(found).__name__})"
    return cut(shown)


def masked(text: str) -> str:
    """Mask what may be `user:password@`.

    That is everything up to the last @, even without a scheme: a password may contain any
    character. An image's digest (`@sha256:...`) stays.
    """
    return _MAYBE_USER_INFO.sub(rf"\g<1>{MASK}@", text)
