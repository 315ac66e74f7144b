"""Collects the mistakes in a stack's configuration, so that they are reported all at once."""

import difflib
import re
from collections.abc import Mapping
from typing import Any, TypeGuard

from plan.problems import MASK, Problem, masked, shown_value, text
from plan.settings.key import NUMBER_IN_TEXT, Key

_NUMBER = re.compile(NUMBER_IN_TEXT)
# What people write instead of YAML's true and false.
_MEANS = {"yes": "true", "on": "true", "true": "true", "1": "true"} | {
    "no": "false",
    "off": "false",
    "false": "false",
    "0": "false",
    "never": "false",
}


class Checks:
    """Collects problems while values are read; for a wrong value the default is returned.

    Args:
        keys: the table of keys, by path (see `keys.KEYS`).
    """

    def __init__(self, keys: Mapping[str, Key]) -> None:
        self.problems: list[Problem] = []
        self._keys = keys
        self._renamed = ("", "")

    def under(self, group: str, path: str) -> "Checks":
        """The same collection for one of several values of `group`: problems name its `path`."""
        part = Checks(self._keys)
        part.problems = self.problems
        part._renamed = (group, path)
        return part

    def key(self, path: str) -> Key:
        """A key's row in the table."""
        return self._keys[path]

    def default(self, key: str) -> str:
        """The default of a text key."""
        return str(self._keys[key].default)

    def refuse(self, key: str, found: object, path: str = "") -> None:
        """Report a value that breaks the key's rule; `path` if it differs from the key."""
        row = self._keys[key]
        self._report(path or key, shown_value(found), row.rule, "", row.fix)

    def add(self, path: str, found: object, rule: str, fix: str) -> None:
        """Report a wrong value, shown as the user wrote it except for what may be a secret."""
        self._report(path, shown_value(found), rule, fix)

    def missing(self, path: str, rule: str, fix: str, own: str = "") -> None:
        """Report a missing value; `own` ends the fix: our own words, which are not masked."""
        self._report(path, "nothing", rule, fix, own)

    def hidden(self, path: str, rule: str, fix: str, own: str = "") -> None:
        """Report a wrong value that is, or may be, a secret; `own` as for `missing`."""
        self._report(path, MASK, rule, fix, own)

    def whole_key(self, key: str, found: str, rule: str, fix: str) -> None:
        """Report a key that is wrong as it is written, its namespace included."""
        self.problems.append(
            Problem(path=masked(key), found=found, rule=rule, fix=masked(fix), namespace="")
        )

    def mapping(self, path: str, value: object, group: str) -> dict[str, Any]:
        """The part of a mapping whose keys are below `group` in the table."""
        if value is None:
            return {}
        allowed = self._keys_below(group)
        if not isinstance(value, Mapping):
            self.add(path, value, "a mapping of keys to values", f"write {{{allowed[0]}: ...}}")
            return {}
        for key in value:
            if key not in allowed:
                name = text(key) or '""'
                self._unknown_key(f"{path}.{name}" if path else name, name, allowed)
        return {key: item for key, item in value.items() if key in allowed}

    def boolean(self, key: str, group: Mapping[str, Any], path: str = "") -> bool:
        """True or false; `path` if it differs from the key."""
        row = self._keys[key]
        value = group.get(row.name)
        if isinstance(value, bool):
            return value
        # As `pulumi config set --type bool` writes it into a stack file.
        if value in ("true", "false"):
            return bool(value == "true")
        if value is not None:
            meant = _MEANS.get(text(value).lower())
            self.add(path or key, value, row.rule, f"write {meant}" if meant else row.fix)
        return bool(row.default)

    def integer(self, key: str, group: Mapping[str, Any]) -> int:
        """A whole number; if it is wrong and the key has no default, the largest one allowed."""
        row = self._keys[key]
        value = group.get(row.name)
        default = row.default if is_integer(row.default) else int(row.most)
        if value is None:
            return default
        number = number_in(value)
        if is_integer(number) and row.least <= number <= row.most:
            return number
        self.refuse(key, value)
        return default

    def choice(self, key: str, group: Mapping[str, Any], path: str = "") -> str:
        """One of a fixed set of values; `path` if it differs from the key."""
        row = self._keys[key]
        value = group.get(row.name)
        if value is None:
            return str(row.default)
        if value not in row.choices:
            near = difflib.get_close_matches(text(value), row.choices, n=1)
            self.add(path or key, value, row.rule, f"did you mean {near[0]}?" if near else row.fix)
        return text(value)

    def matching(self, key: str, group: Mapping[str, Any]) -> str:
        """Text that matches the key's pattern."""
        row = self._keys[key]
        value = group.get(row.name)
        if value is None:
            return str(row.default)
        if isinstance(value, str) and re.fullmatch(row.pattern, value):
            return value
        if is_integer(value) and re.fullmatch(row.pattern, text(value)):
            self.add(key, value, "text, not a number", f'put it in quotes: "{value}"')
        else:
            self.refuse(key, value)
        return str(row.default)

    def duration(self, key: str, group: Mapping[str, Any]) -> str:
        """A Go duration above zero, or "0" if the key says what that is for."""
        row = self._keys[key]
        value = group.get(row.name)
        if value is None:
            return str(row.default)
        if row.zero and (value == "0" or (is_integer(value) and value == 0)):
            return "0"
        if isinstance(value, str) and re.fullmatch(row.pattern, value):
            return value
        self.refuse(key, value)
        return str(row.default)

    def file(self, key: str, group: Mapping[str, Any], path: str = "") -> str:
        """The path after the @; empty if it is absent or wrong. `path` as for the others."""
        row = self._keys[key]
        value = group.get(row.name)
        if value is None:
            return ""
        if isinstance(value, str) and re.fullmatch(row.pattern, value):
            return value[1:]
        # Not shown: it may be the secret that belongs in the file.
        self.hidden(path or key, row.rule, "", row.fix)
        return ""

    def _keys_below(self, group: str) -> list[str]:
        start = f"{group}." if group else ""
        below = (key.removeprefix(start) for key in self._keys if key.startswith(start))
        return list(dict.fromkeys(key.split(".")[0] for key in below))

    def _unknown_key(self, path: str, key: str, allowed: list[str]) -> None:
        by_lower_case = {name.lower(): name for name in allowed}
        near = difflib.get_close_matches(key.lower(), by_lower_case, n=1, cutoff=0.7)
        fix = f"did you mean {by_lower_case[near[0]]}?" if near else "remove it"
        group, dot, name = key.partition(".")
        if dot and group in allowed:
            fix = f"write {name} under {group}, or run pulumi config set with --path"
        self._report(path, "an unknown key", f"one of the keys {', '.join(allowed)}", fix)

    def _report(self, path: str, found: str, rule: str, fix: str, own: str = "") -> None:
        group, renamed = self._renamed
        if group and re.match(rf"{group}(?![A-Za-z])", path):
            path = renamed + path.removeprefix(group)
        fix = masked(fix) + own
        self.problems.append(Problem(path=masked(path), found=found, rule=rule, fix=fix))


def is_integer(value: object) -> TypeGuard[int]:
    """Whether it is a whole number; true is not, though Python says so."""
    return isinstance(value, int) and not isinstance(value, bool)


def number_in(value: object) -> object:
    """The number that a text stands for; any other value as it is.

    `pulumi config set --path` writes `"1.5"` into a stack file, and with `--type int` `"2"`.
    """
    if not isinstance(value, str) or not _NUMBER.fullmatch(value):
        return value
    number = float(value)
    return int(number) if number.is_integer() else number
