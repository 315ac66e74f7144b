"""The keys of a stack's configuration, with and without the project's namespace.

Pulumi treats a key without a namespace as one of the project's. Keys in any other namespace belong
to other programs and are ignored, unless the namespace looks like this one misspelt.
"""

import difflib
import re
from collections.abc import Iterable, Mapping
from typing import Any

from host.errors import TalosCacheError
from plan import engine_yaml
from plan.problems import PROJECT, text
from plan.settings.checks import Checks

# How alike two names must be, in letters and digits, for one to count as the other misspelt.
_ALIKE = 0.75
_CONFIG = "config"
# Pulumi's older form: `talos-cache:config:prefix`.
_OLDER = "config:"
_NOT_COMPARED = re.compile("[^a-z0-9]")


class NoConfigError(TalosCacheError):
    """A stack file has no mapping of keys; says what it should contain."""


def in_file(content: bytes) -> dict[str, object]:
    """The project's keys in a stack file, as `own` leaves them.

    Raises:
        NotYamlError: it is not YAML.
        NoConfigError: it is YAML, but not a stack file.
    """
    config = _config(content)
    # The engine, too, hands over empty text for a key without a value.
    return own({key: "" if value is None else value for key, value in config.items()})


def full_names(content: bytes) -> frozenset[str]:
    """The keys of every namespace in a stack file, with the names that the engine uses.

    Raises:
        NotYamlError: it is not YAML.
        NoConfigError: it is YAML, but not a stack file.
    """
    return frozenset(map(_full_name, _config(content)))


def own(config: Mapping[Any, object]) -> dict[str, object]:
    """The project's keys without their namespace.

    Two kinds are kept as they are written, for `refuse_others` to report: a key that occurs twice,
    and a key in a namespace that looks like this project's.
    """
    ours: dict[str, object] = {}
    for key, value in config.items():
        written = text(key)
        name = _name(written)
        if name is None and _looks_like_ours(written):
            ours[written] = value
        elif name is not None:
            ours[f"{PROJECT}:{name}" if name in ours else name] = value
    return ours


def refuse_others(check: Checks, raw: Mapping[Any, object]) -> dict[Any, object]:
    """The project's keys; reports what else `own` has kept."""
    right = dict(raw)
    for key in [key for key in raw if isinstance(key, str)]:
        namespace, colon, name = key.partition(":")
        if colon and namespace == PROJECT:
            rule = "a key may appear only once: Pulumi picks one of the two at random"
            check.whole_key(key, "this key twice", rule, "remove one of them")
        elif colon and _looks_like_ours(key):
            rule = f"the namespace of this project is {PROJECT}; keys in any other are ignored"
            check.whole_key(key, "another namespace", rule, f"write {PROJECT}:{name}")
        elif key == PROJECT:
            rule = "the namespace comes before every key, and has no value of its own"
            fix = f"write one key per line, such as {PROJECT}:basePort: 5000"
            check.whole_key(key, "a namespace by itself", rule, fix)
        elif raw[key] == "":
            rule = (
                "a key needs a value: Pulumi reads a missing one as empty text, not as the default"
            )
            fix = "remove the key to use its default, or write a value"
            check.missing(key or '""', rule, fix)
        else:
            continue
        del right[key]
    return right


def _config(content: bytes) -> Mapping[Any, object]:
    whole = engine_yaml.load(content)
    whole = {} if whole is None else whole
    if not isinstance(whole, Mapping):
        raise NoConfigError(f"a stack file must be a mapping with the key '{_CONFIG}'")
    if not whole.get(_CONFIG) and (near := _nearest(_CONFIG, whole)):
        raise NoConfigError(f"Pulumi ignores the key '{near}': did you mean '{_CONFIG}'?")
    config = {} if whole.get(_CONFIG) is None else whole[_CONFIG]
    if not isinstance(config, Mapping):
        raise NoConfigError(f"'{_CONFIG}:' must be a mapping of keys to values")
    return config


def _nearest(name: str, keys: Iterable[object]) -> str | None:
    written = {text(key).lower(): text(key) for key in keys if key != name}
    near = difflib.get_close_matches(name, written, 1, 0.7)
    return written[near[0]] if near else None


def _full_name(key: object) -> str:
    namespace, colon, name = text(key).partition(":")
    return f"{namespace}:{name.removeprefix(_OLDER)}" if colon else f"{PROJECT}:{namespace}"


def _name(written: str) -> str | None:
    """A key's name in this project; None for a key of another program."""
    namespace, colon, name = written.partition(":")
    if not colon:
        return written
    return name.removeprefix(_OLDER) if namespace == PROJECT else None


def _looks_like_ours(written: str) -> bool:
    namespace = written.partition(":")[0]
    one, other = (_NOT_COMPARED.sub("", name.lower()) for name in (namespace, PROJECT))
    return difflib.SequenceMatcher(None, one, other).ratio() >= _ALIKE
