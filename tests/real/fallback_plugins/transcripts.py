"""The recorded answers of the official plugins: how they are stored and compared with others.

In a file, the answer of an earlier call of the scenario is not repeated: `"<1.properties>"` is
exactly the same, `{"like": "<1.properties>", "restart": "no", "memory": null}` is the same except
for one part that differs and one that is absent.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from host.paths import ROOT
from tests.real.fallback_plugins.plugin_driver import Record, Scenario

FOLDER = ROOT / "tests/fixtures/plugins"
# The same in every request of a scenario.
NAMES = ("name", "type", "urn", "randomSeed")
Seen = tuple[str, Any]
LIKE = "like"
PARTS = ("asked", "answered", "left")
ORDER = ("run", "printed", "call", "asked", "answered", "failed", "left", "shown")
# What an error is about: each plugin has its own texts.
KINDS: Mapping[str, str] = {
    "port taken": r"port (\S+ )?is already allocated|address already in use",
    "name taken": r"name .*is already in use",
    "volume in use": r"in use - |volume .* in use|to become 'removed'",
    "image in use": r"is being used by|is using its referenced image",
    "no image": r"pull the image|unable to pull image|Unable to find or pull",
    "no program": r"no such file or directory|executable file not found",
    "no driver": r"plugin .*not found|legacy plugin",
    "no network": r"network .*not found",
    "upload": r"upload",
}
NO_KIND = "of no known kind"


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where two transcripts of a scenario differ, and how."""

    path: str
    """For example `3 Diff.answered.replaces`: the call's number, its name, and the part of it."""
    official: Any
    other: Any

    def __str__(self) -> str:
        return f"{self.path}: official {_short(self.official)}, fallback {_short(self.other)}"


@dataclass(frozen=True, kw_only=True)
class Known:
    """A difference that is known, and why it is left."""

    types: tuple[str, ...]
    path: str
    """A regular expression for the whole of `Place.path`."""
    reason: str
    """As the documentation has it."""
    seen_in: str
    """The scenario in which it must occur, so that no outdated difference stays here."""


def differences(official: Sequence[Record], other: Sequence[Record]) -> list[Place]:
    """All places in which the answers differ; errors are compared by what they are about."""
    calls = [[_call(record) for record in records] for records in (official, other)]
    if calls[0] != calls[1]:
        return [Place(path="calls", official=calls[0], other=calls[1])]
    return [
        place
        for number, pair in enumerate(zip(official, other, strict=True))
        for place in _parts(f"{number} {calls[0][number]}", *map(_answer, pair))
    ]


def kind_of(text: str) -> str:
    """What an error is about."""
    exact = re.match(r"(exit status \d+|signal: \w+): running ", text)
    if exact:
        return exact[1]
    kinds = (kind for kind, pattern in KINDS.items() if re.search(pattern, text))
    return next(kinds, NO_KIND)


def read(package_type: str) -> dict[str, list[Record]]:
    """The recorded scenarios of one resource type, by name, with references resolved."""
    scenarios = {}
    usual: list[Seen] = []
    for name, records in json.loads(_file(package_type).read_text())["scenarios"].items():
        scenarios[name], seen = _expanded(records, usual)
        usual = usual or _usual(seen)
    return scenarios


def write(package_type: str, versions: Mapping[str, str], runs: Mapping[str, list[Record]]) -> None:
    """Writes the recorded answers, one call per line."""
    scenarios = []
    usual: list[Seen] = []
    for name, records in runs.items():
        short, seen = _shortened(records, usual)
        usual = usual or _usual(seen)
        calls = ",\n".join(f"  {json.dumps(record)}" for record in short)
        scenarios.append(f" {json.dumps(name)}: [\n{calls}\n ]")
    head = f'{{"recorded with": {json.dumps(versions)},\n"scenarios": {{\n'
    _file(package_type).write_text(head + ",\n".join(scenarios) + "\n}}\n")


def _usual(seen: Sequence[Seen]) -> list[Seen]:
    """The answers that all scenarios of a file may refer to: those of the first one."""
    return [(f"<usual {name[1:]}", value) for name, value in seen]


def _file(package_type: str) -> Path:
    return FOLDER / f"{package_type.rpartition(':')[2]}.json"


def _call(record: Record) -> str:
    return str(record.get("call") or f"({record['run']})")


def _answer(record: Record) -> Any:
    answer = {key: value for key, value in record.items() if key not in ("asked", "call", "run")}
    if "failed" in answer:
        answer["failed"] = kind_of(answer["failed"])
    if "left" in answer:
        reasons = [kind_of(reason) for reason in answer["left"]["reasons"]]
        answer["left"] = {**answer["left"], "reasons": reasons}
    if isinstance(answer.get("answered"), dict):
        answer["answered"] = _comparable(answer["answered"])
    return answer


def _comparable(answered: Record) -> Record:
    """An answer with whole properties, although a plugin may name a part of one."""
    made = dict(answered)
    if "failures" in made:
        # Of what is refused, the engine takes nothing.
        made.pop("inputs", None)
        made["failures"] = sorted(_property(failure) for failure in made["failures"])
    if "detailedDiff" in made:
        kinds: dict[str, set[str]] = {}
        for path, change in made["detailedDiff"].items():
            kinds.setdefault(_root(path), set()).add(change.get("kind", "ADD"))
        made["detailedDiff"] = {key: sorted(found) for key, found in kinds.items()}
    for key in ("replaces", "diffs"):
        if key in made:
            made[key] = sorted({_root(path) for path in made[key]})
    return made


def _property(failure: Record) -> str:
    """The property that a check failed for; the official docker plugin says it in the text."""
    told = re.search(r"at 'thing\.([^']+)'|^\[(\w+)\] Missing", failure["reason"])
    return _root(failure.get("property") or (told[1] or told[2] if told else "(none)"))


def _root(path: str) -> str:
    return re.split(r"[.\[]", path)[0]


def _parts(path: str, official: Any, other: Any) -> Iterator[Place]:
    if isinstance(official, dict) and isinstance(other, dict):
        for key in sorted({*official, *other}):
            pair = (of.get(key, "(absent)") for of in (official, other))
            yield from _parts(f"{path}.{key}", *pair)
    elif isinstance(official, list) and isinstance(other, list) and len(official) == len(other):
        for index, pair in enumerate(zip(official, other, strict=True)):
            yield from _parts(f"{path}[{index}]", *pair)
    elif official != other or type(official) is not type(other):
        yield Place(path=path, official=official, other=other)


def _short(value: Any) -> str:
    text = json.dumps(value, sort_keys=True)
    return text if len(text) < 300 else f"{text[:300]}..."


def _shortened(records: Sequence[Record], usual: Sequence[Seen]) -> tuple[list[Record], list[Seen]]:
    """The records with references, and what later ones may refer to."""
    seen: list[Seen] = []
    short = []
    for number, record in enumerate(records):
        made = {key: record[key] for key in ORDER if key in record}
        if "asked" in made:
            made["asked"] = {k: v for k, v in made["asked"].items() if k not in NAMES}
        for part in PARTS:
            if isinstance(made.get(part), dict):
                made[part] = {k: _reference(v, [*seen, *usual]) for k, v in made[part].items()}
        seen += _referable(number, record)
        short.append(made)
    return short, seen


def _expanded(records: Sequence[Record], usual: Sequence[Seen]) -> tuple[list[Record], list[Seen]]:
    seen: list[Seen] = []
    full = []
    for number, record in enumerate(records):
        made = dict(record)
        for part in PARTS:
            if isinstance(made.get(part), dict):
                known = dict([*usual, *seen])
                made[part] = {key: _resolved(value, known) for key, value in made[part].items()}
        seen += _referable(number, made)
        full.append(made)
    return full, seen


def _referable(number: int, record: Record) -> list[Seen]:
    """The objects of an answer, by their name in references."""
    parts = [record[part] for part in ("answered", "left") if isinstance(record.get(part), dict)]
    return [
        (f"<{number}.{key}>", value)
        for part in parts
        for key, value in part.items()
        if isinstance(value, dict | list)
    ]


def _reference(value: Any, seen: Sequence[Seen]) -> Any:
    """The value as a reference plus its differences; None means absent."""
    if not isinstance(value, dict | list) or not value:
        return value
    if isinstance(value, list):
        return next((name for name, known in seen if known == value), value)
    changes = [(name, _changes(known, value)) for name, known in seen if isinstance(known, dict)]
    name, fewest = min(changes, key=lambda change: len(change[1]), default=("", value))
    if not fewest:
        return name
    return {LIKE: name, **fewest} if len(fewest) < len(value) / 2 else value


def _changes(known: Record, value: Record) -> Record:
    gone = {key: None for key in known if key not in value}
    other = {k: v for k, v in value.items() if k not in known or known[k] != v}
    return {**gone, **other}


def _resolved(value: Any, known: Mapping[str, Any]) -> Any:
    if isinstance(value, str):
        return known.get(value, value)
    if not isinstance(value, dict) or LIKE not in value:
        return value
    whole = {**known[value[LIKE]], **value}
    return {key: part for key, part in whole.items() if part is not None and key != LIKE}


def sorted_out(
    places: Sequence[Place], known: Sequence[Known], scenario: Scenario
) -> tuple[list[Place], list[Known]]:
    """The unknown differences, and the known ones that should occur here and do not."""
    here = [one for one in known if scenario.type in one.types]
    pairs = [(place, one) for place in places for one in here if re.fullmatch(one.path, place.path)]
    explained = [place for place, _ in pairs]
    seen = [one for _, one in pairs]
    return (
        [place for place in places if place not in explained],
        [one for one in here if one.seen_in == scenario.name and one not in seen],
    )
