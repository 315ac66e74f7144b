"""The keys of a stack's configuration, with and without the project's namespace.

Pulumi takes a key without a namespace for one of the project's. Any other namespace belongs to
somebody else, and its keys are none of this program's business, unless it is this one misspelt.
"""

import difflib
import re
from collections.abc import Iterable, Mapping
from typing import Any

from host.errors import TalosCacheError
from plan import engine_yaml
from plan.problems import PROJECT, text
from plan.settings.checks import Checks

# How alike two names are, small letters and digits only, for one to be taken for the other.
_ALIKE = 0.75
_CONFIG = "config"
# Pulumi's older form: `talos-cache:config:prefix`.
_OLDER = "config:"
_NOT_COMPARED = re.compile("[^a-z0-9]")


class NoConfigError(TalosCacheError):
    """A stack file holds no mapping of keys; says what it should hold."""


def in_file(content: bytes) -> dict[str, object]:
    """The project's keys in a stack file, as `own` leaves them.

    Raises:
        NotYamlError: it is no YAML.
        NoConfigError: it is, and no stack file.
    """
    config = _config(content)
    # So the engine hands over a key without a value.
    return own({key: "" if value is None else value for key, value in config.items()})


def full_names(content: bytes) -> frozenset[str]:
    """The keys of every namespace in a stack file, as the engine has them.

    Raises:
        NotYamlError: it is no YAML.
        NoConfigError: it is, and no stack file.
    """
    return frozenset(map(_full_name, _config(content)))


def own(config: Mapping[Any, object]) -> dict[str, object]:
    """The project's keys without their namespace.

    Kept as they are written, for `refuse_others` to tell: a key that is there already, and one in a
    namespace that looks like this project's.
    """
    found: dict[str, object] = {}
    for key, value in config.items():
        written = text(key)
        name = _name(written)
        if name is None and _looks_like_ours(written):
            found[written] = value
        elif name is not None:
            found[f"{PROJECT}:{name}" if name in found else name] = value
    return found


def refuse_others(check: Checks, raw: Mapping[Any, object]) -> dict[Any, object]:
    """The keys that are the project's; what else `own` has kept is told."""
    found = dict(raw)
    for key in [key for key in raw if isinstance(key, str)]:
        namespace, colon, name = key.partition(":")
        if colon and namespace == PROJECT:
            rule = "Pulumi takes one of the two, by chance"
            check.whole_key(key, "this key twice", rule, "remove one of them")
        elif colon and _looks_like_ours(key):
            rule = f"the namespace of this project's keys is {PROJECT}: any other is ignored"
            check.whole_key(key, "another namespace", rule, f"write {PROJECT}:{name}")
        elif key == PROJECT:
            rule = "a namespace stands before each of its keys"
            fix = f"write a key a line, for instance {PROJECT}:basePort: 5000"
            check.whole_key(key, "a key by itself", rule, fix)
        elif raw[key] == "":
            rule = "a key has a value: Pulumi reads a missing one as empty text, not as the default"
            fix = "remove the key, which leaves it at its default, or write a value"
            check.missing(key or '""', rule, fix)
        else:
            continue
        del found[key]
    return found


def _config(content: bytes) -> Mapping[Any, object]:
    whole = engine_yaml.load(content)
    whole = {} if whole is None else whole
    if not isinstance(whole, Mapping):
        raise NoConfigError(f"a stack file holds a mapping, for instance with the key '{_CONFIG}'")
    if not whole.get(_CONFIG) and (near := _nearest(_CONFIG, whole)):
        raise NoConfigError(f"Pulumi ignores the key '{near}': did you mean '{_CONFIG}'?")
    config = {} if whole.get(_CONFIG) is None else whole[_CONFIG]
    if not isinstance(config, Mapping):
        raise NoConfigError(f"'{_CONFIG}:' holds a mapping of keys to values")
    return config


def _nearest(name: str, keys: Iterable[object]) -> str | None:
    written = {text(key).lower(): text(key) for key in keys if key != name}
    near = difflib.get_close_matches(name, written, 1, 0.7)
    return written[near[0]] if near else None


def _full_name(key: object) -> str:
    namespace, colon, name = text(key).partition(":")
    return f"{namespace}:{name.removeprefix(_OLDER)}" if colon else f"{PROJECT}:{namespace}"


def _name(written: str) -> str | None:
    """A key's name in this project; None for one of another's."""
    namespace, colon, name = written.partition(":")
    if not colon:
        return written
    return name.removeprefix(_OLDER) if namespace == PROJECT else None


def _looks_like_ours(written: str) -> bool:
    namespace = written.partition(":")[0]
    one, other = (_NOT_COMPARED.sub("", name.lower()) for name in (namespace, PROJECT))
    return difflib.SequenceMatcher(None, one, other).ratio() >= _ALIKE
