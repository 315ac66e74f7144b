"""Collects what is wrong with a stack's configuration, so that all of it is told in one go."""

import difflib
import re
from collections.abc import Mapping
from typing import Any, TypeGuard

from plan.problems import MASK, Problem, masked, shown_value, text

# Go's time.ParseDuration, without signs.
_GO_DURATION = re.compile(r"^([0-9]+(\.[0-9]+)?(ns|us|ms|s|m|h))+$")
_NUMBER = re.compile(r"(0|[1-9][0-9]{0,9})(\.[0-9]{1,9})?")
# What people write where YAML wants true or false.
_MEANS = {"yes": "true", "on": "true", "true": "true", "1": "true"} | {
    "no": "false",
    "off": "false",
    "false": "false",
    "0": "false",
    "never": "false",
}


class Checks:
    """Collects problems while values are read; a wrong value reads as its default.

    Args:
        defaults: dotted path of every known key -> its default (see `settings.DEFAULTS`).
    """

    def __init__(self, defaults: Mapping[str, object]) -> None:
        self.problems: list[Problem] = []
        self._defaults = defaults
        self._renamed = ("", "")

    def under(self, group: str, path: str) -> "Checks":
        """The same collection, for one of several values of `group`: problems name its `path`."""
        part = Checks(self._defaults)
        part.problems = self.problems
        part._renamed = (group, path)
        return part

    def usual(self, key: str) -> object:
        """The default of a key."""
        return self._defaults[key]

    def default(self, key: str) -> str:
        """The default of a key whose value is text."""
        return str(self._defaults[key])

    def add(self, path: str, found: object, rule: str, fix: str) -> None:
        """A wrong value, shown as the user wrote it but for what may be a secret."""
        self._report(path, shown_value(found), rule, fix)

    def missing(self, path: str, rule: str, fix: str, example: str = "") -> None:
        """A value that has to be there; `example` ends the fix, and holds nothing of the user's."""
        self._report(path, "nothing", rule, fix, example)

    def hidden(self, path: str, rule: str, fix: str, example: str = "") -> None:
        """A wrong value that is, or may be, a secret; `example` as for `missing`."""
        self._report(path, MASK, rule, fix, example)

    def whole_key(self, key: str, found: str, rule: str, fix: str) -> None:
        """A key that is wrong as it is written, its namespace included."""
        self.problems.append(
            Problem(path=masked(key), found=found, rule=rule, fix=masked(fix), namespace="")
        )

    def mapping(self, path: str, value: object, group: str) -> dict[str, Any]:
        """A mapping that has only the keys that `defaults` knows below `group`."""
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
        """True or false; `path` where it differs from the key in `defaults`."""
        value = group.get(leaf(key))
        if isinstance(value, bool):
            return value
        # As `pulumi config set --type bool` leaves it in a stack file.
        if value in ("true", "false"):
            return bool(value == "true")
        if value is not None:
            meant = _MEANS.get(text(value).lower(), "true or false")
            self.add(path or key, value, "true or false", f"write {meant}")
        return bool(self._defaults[key])

    def integer(self, key: str, group: Mapping[str, Any], least: int, most: int, what: str) -> int:
        """A whole number from `least` to `most`."""
        value = group.get(leaf(key))
        default = self._defaults[key]
        usual = default if is_integer(default) else most
        if value is None:
            return usual
        number = number_in(value)
        if is_integer(number) and least <= number <= most:
            return number
        rule = f"{what} is a whole number from {least} to {most}"
        self.add(key, value, rule, f"write for instance {leaf(key)}: {usual}")
        return usual

    def choice(
        self, key: str, group: Mapping[str, Any], choices: tuple[str, ...], path: str = ""
    ) -> str:
        """One of a few words; `path` where it differs from the key in `defaults`."""
        value = group.get(leaf(key))
        if value is None:
            return str(self._defaults[key])
        if value not in choices:
            near = difflib.get_close_matches(text(value), choices, n=1)
            fix = f"did you mean {near[0]}?" if near else f"write {choices[0]}"
            rule = f"one of {', '.join(choices)}" if choices[1:] else f"nothing but {choices[0]}"
            self.add(path or key, value, rule, fix)
        return text(value)

    def matching(
        self, key: str, group: Mapping[str, Any], pattern: re.Pattern[str], rule: str, fix: str
    ) -> str:
        """Text in the form of `pattern`."""
        value = group.get(leaf(key))
        if value is None:
            return str(self._defaults[key])
        if isinstance(value, str) and pattern.fullmatch(value):
            return value
        if is_integer(value) and pattern.fullmatch(text(value)):
            rule, fix = "text, not a number", f'write it in quotes: "{value}"'
        self.add(key, value, rule, fix)
        return str(self._defaults[key])

    def duration(self, key: str, group: Mapping[str, Any], *, zero: str = "") -> str:
        """A Go duration above zero; `zero` says what "0" stands for where it is allowed."""
        value = group.get(leaf(key))
        if value is None:
            return str(self._defaults[key])
        if zero and (value == "0" or (is_integer(value) and value == 0)):
            return "0"
        if isinstance(value, str) and _GO_DURATION.fullmatch(value) and re.search("[1-9]", value):
            return value
        fix = f"write for instance {leaf(key)}: {'168h, which is 7 days' if zero else '20m'}"
        rule = 'a duration above zero in Go\'s form, such as "90s", "30m", "168h" or "1h30m"'
        self.add(key, value, f'{rule}, or "0" {zero}' if zero else rule, fix)
        return str(self._defaults[key])

    def _keys_below(self, group: str) -> list[str]:
        start = f"{group}." if group else ""
        below = (key.removeprefix(start) for key in self._defaults if key.startswith(start))
        return list(dict.fromkeys(key.split(".")[0] for key in below))

    def _unknown_key(self, path: str, key: str, allowed: list[str]) -> None:
        by_lower_case = {name.lower(): name for name in allowed}
        near = difflib.get_close_matches(key.lower(), by_lower_case, n=1, cutoff=0.7)
        fix = f"did you mean {by_lower_case[near[0]]}?" if near else "remove it"
        group, dot, name = key.partition(".")
        if dot and group in allowed:
            fix = f"write {name} below {group}, or run pulumi config set with --path"
        self._report(path, "an unknown key", f"the keys here are {', '.join(allowed)}", fix)

    def _report(self, path: str, found: str, rule: str, fix: str, example: str = "") -> None:
        group, renamed = self._renamed
        if group and re.match(rf"{group}(?![A-Za-z])", path):
            path = renamed + path.removeprefix(group)
        fix = masked(fix) + example
        self.problems.append(Problem(path=masked(path), found=found, rule=rule, fix=fix))


def is_integer(value: object) -> TypeGuard[int]:
    """YAML's true is no number here, though Python says it is one."""
    return isinstance(value, int) and not isinstance(value, bool)


def number_in(value: object) -> object:
    """The number in a text that is one; any other value as it is.

    `pulumi config set --path` leaves `"1.5"` in a stack file, and with `--type int` `"2"`.
    """
    if not isinstance(value, str) or not _NUMBER.fullmatch(value):
        return value
    number = float(value)
    return int(number) if number.is_integer() else number


def leaf(key: str) -> str:
    """`cache.ttl` -> `ttl`."""
    return key.rsplit(".", 1)[-1]
