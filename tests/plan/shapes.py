"""Stack files as the tests read them, and the whole way from one to its plan."""

import json
from dataclasses import dataclass
from pathlib import Path

import yaml

from plan import addressing, caches, mirrors, outputs
from plan.addressing import Addressing
from plan.caches import CachePlan
from plan.mirrors import Mirror
from plan.settings import Settings, parse

HERE = Path(__file__).parent
VALID = sorted((HERE / "valid").glob("*.yaml"))
INVALID = sorted((HERE / "invalid").glob("*.yaml"))
GATEWAY = "172.17.0.1"


@dataclass(frozen=True)
class Planned:
    """All that the pure part of the program makes of a stack file."""

    settings: Settings
    where: Addressing
    caches: tuple[CachePlan, ...]
    mirrors: tuple[Mirror, ...]
    outputs: dict

    def cache(self, host):
        return next(plan for plan in self.caches if plan.host == host)


def config_of(path):
    """A stack file's configuration, as `parse` wants it."""
    config = yaml.safe_load(path.read_text())["config"]
    return {key.removeprefix("talos-cache:"): value for key, value in config.items()}


def as_the_engine_hands_it_over(config):
    """Every value is text: text as it stands, the rest as JSON."""
    return {
        key: value if isinstance(value, str) else json.dumps(value) for key, value in config.items()
    }


def planned(config):
    """The program's way through `plan`, with the address that Docker's bridge usually has."""
    settings = parse(config)
    where = addressing.resolve(settings, GATEWAY)
    plans = caches.build(settings, where)
    entries = mirrors.build(plans)
    return Planned(settings, where, plans, entries, outputs.build(plans, entries, settings.cluster))


def planned_file(name):
    return planned(config_of(HERE / "valid" / f"{name}.yaml"))
