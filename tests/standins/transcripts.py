"""The recorded answers of the official plugins: how they are kept, and how others compare to them.

In a file, a part that an earlier call of the scenario answered word for word is written as a
reference to it (`"<1.properties>"`), which says what stayed as it was.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.standins.plugin_driver import Record, Scenario

FOLDER = Path(__file__).parents[1] / "fixtures" / "plugins"
# What is the same in every request of a scenario.
NAMES = ("name", "type", "urn", "randomSeed")
ORDER = ("run", "printed", "call", "asked", "answered", "failed", "left", "shown")
# What an error is about. Texts are each plugin's own.
KINDS: Mapping[str, str] = {
    "port taken": r"port is already allocated|address already in use",
    "name taken": r"name .*is already in use",
    "volume in use": r"in use - |volume .* in use|to become 'removed'",
    "image in use": r"is being used by|is using its referenced image",
    "no image": r"pull the image|unable to pull image|Unable to find or pull",
    "no program": r"no such file or directory|executable file not found",
    "no driver": r"plugin .*not found|legacy plugin",
    "no network": r"network .*not found",
    "upload": r"upload",
}
NO_KIND = "of no kind that is known"


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where two transcripts of a scenario differ, and how."""

    path: str
    """Say `3 Diff.answered.replaces`: the number of the call, its name, and the part of it."""
    official: Any
    other: Any

    def __str__(self) -> str:
        return f"{self.path}: official {_short(self.official)}, fallback {_short(self.other)}"


@dataclass(frozen=True, kw_only=True)
class Known:
    """A difference that is known, and why it is left."""

    type: str
    path: str
    """A regular expression for the whole of `Place.path`."""
    reason: str
    """As the documentation has it."""
    seen_in: str
    """The scenario in which it must be seen, so that nothing stays here that is no more."""


def differences(official: Sequence[Record], other: Sequence[Record]) -> list[Place]:
    """All places where what was answered differs; texts of errors count by what they are about."""
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
    found = (kind for kind, pattern in KINDS.items() if re.search(pattern, text))
    return next(found, NO_KIND)


def read(package_type: str) -> dict[str, list[Record]]:
    """The recorded scenarios of one resource type, by name, with references resolved."""
    kept = json.loads(_file(package_type).read_text())
    return {name: _expanded(records) for name, records in kept["scenarios"].items()}


def write(package_type: str, versions: Mapping[str, str], runs: Mapping[str, list[Record]]) -> None:
    """Keeps what was recorded, a call a line."""
    lines = [f'{{"recorded with": {json.dumps(versions)},', '"scenarios": {']
    for position, (name, records) in enumerate(runs.items()):
        calls = [f"  {json.dumps(record)}" for record in _shortened(records)]
        comma = "," if position + 1 < len(runs) else ""
        lines += [f" {json.dumps(name)}: [", ",\n".join(calls), f" ]{comma}"]
    _file(package_type).write_text("\n".join([*lines, "}}", ""]))


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
    """With properties only, where a plugin says in which part of one something is."""
    made = dict(answered)
    if "failures" in made:
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
    elif official != other or type(official) is not type(other):
        yield Place(path=path, official=official, other=other)


def _short(value: Any) -> str:
    text = json.dumps(value, sort_keys=True)
    return text if len(text) < 300 else f"{text[:300]}..."


def _shortened(records: Sequence[Record]) -> list[Record]:
    seen: list[tuple[Any, str]] = []
    short = []
    for number, record in enumerate(records):
        made = {key: record[key] for key in ORDER if key in record}
        if "asked" in made:
            made["asked"] = {k: v for k, v in made["asked"].items() if k not in NAMES}
        for part in ("asked", "answered", "left"):
            if isinstance(made.get(part), dict):
                made[part] = {key: _reference(value, seen) for key, value in made[part].items()}
        for part in ("answered", "left"):
            if isinstance(record.get(part), dict):
                seen += [(value, f"<{number}.{key}>") for key, value in record[part].items()]
        short.append(made)
    return short


def _reference(value: Any, seen: Sequence[tuple[Any, str]]) -> Any:
    if not isinstance(value, dict) or not value:
        return value
    return next((place for known, place in seen if known == value), value)


def _expanded(records: Sequence[Record]) -> list[Record]:
    known: dict[str, Any] = {}
    full = []
    for number, record in enumerate(records):
        made = dict(record)
        for part in ("asked", "answered", "left"):
            if isinstance(made.get(part), dict):
                made[part] = {
                    key: known.get(value, value) if isinstance(value, str) else value
                    for key, value in made[part].items()
                }
        for part in ("answered", "left"):
            if isinstance(made.get(part), dict):
                known |= {f"<{number}.{key}>": value for key, value in made[part].items()}
        full.append(made)
    return full


def sorted_out(
    places: Sequence[Place], known: Sequence[Known], scenario: Scenario
) -> tuple[list[Place], list[Known]]:
    """The differences that nobody knows of, and the known ones that should be here and are not."""
    here = [one for one in known if one.type == scenario.type]
    pairs = [(place, one) for place in places for one in here if re.fullmatch(one.path, place.path)]
    explained = [place for place, _ in pairs]
    seen = [one for _, one in pairs]
    return (
        [place for place in places if place not in explained],
        [one for one in here if one.seen_in == scenario.name and one not in seen],
    )
