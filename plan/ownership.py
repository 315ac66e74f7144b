"""Who owns the caches: what a state knows, and what the labels of containers say.

A stack's state knows its containers by their IDs, and only that is proof: another checkout may have
a stack with the same name. See docs/adr/0023.
"""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from plan.harbor import drift, transport
from plan.problems import PROJECT
from plan.talos import cluster_transport

PROJECT_LABEL = "talos-cache.project"
STACK_LABEL = "talos-cache.stack"
IDENTITY_LABEL = "talos-cache.state"
CHECKOUT_LABEL = "talos-cache.checkout"

CONTAINER_TYPE = "docker:index/container:Container"
VOLUME_TYPE = "docker:index/volume:Volume"
COMMAND_TYPE = "command:local:Command"

NAMES_SHOWN = 6


@dataclass(frozen=True, kw_only=True)
class Owner:
    """Who created a container.

    Attributes:
        stack: its name at that time; it may have been renamed since.
        identity: of its state; empty if the container has no label for it.
        checkout: "host:/path" of the project's folder; empty if the container has no label for it.
    """

    stack: str
    identity: str = ""
    checkout: str = ""

    @property
    def labels(self) -> dict[str, str]:
        """Labels of the containers that it creates."""
        return {
            PROJECT_LABEL: PROJECT,
            STACK_LABEL: self.stack,
            IDENTITY_LABEL: self.identity,
            CHECKOUT_LABEL: self.checkout,
        }


def owner(labels: Mapping[str, str]) -> Owner | None:
    """The owner according to a container's labels; None if it is not a stack of this project."""
    if PROJECT_LABEL not in labels or STACK_LABEL not in labels:
        return None
    return Owner(
        stack=labels[STACK_LABEL],
        identity=labels.get(IDENTITY_LABEL, ""),
        checkout=labels.get(CHECKOUT_LABEL, ""),
    )


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """What a stack's state knows.

    Attributes:
        containers: their IDs.
        logical: ID of a container -> its logical name, which stays when its name changes.
        unnumbered: names of containers whose ID it doesn't have: an older fallback plugin for
            Docker created them.
        volumes: their names.
        clusters: names of the clusters that it has created.
        identity: the state's, as recorded with what it created; empty if that is nothing.
        born: name of the stack at that time; empty if it created nothing.
        harbor: of the command that creates its projects in Harbor; None if it has not run.
    """

    containers: frozenset[str] = frozenset()
    logical: Mapping[str, str] = field(default_factory=dict)
    unnumbered: frozenset[str] = frozenset()
    volumes: frozenset[str] = frozenset()
    clusters: frozenset[str] = frozenset()
    identity: str = ""
    born: str = ""
    harbor: drift.Recorded | None = None

    def knows(self, container: str, name: str, labels: Mapping[str, str]) -> bool:
        """Whether the container with this id, name and labels is this state's."""
        # A plugin that records no ID has created no container with this label.
        old = name in self.unnumbered and IDENTITY_LABEL not in labels
        return old or container in self.containers


def recorded(resources: Iterable[tuple[str, Mapping[str, Any]]]) -> Recorded:
    """What a state knows.

    Args:
        resources: type and outputs of each; a container's have its `id` and its `urn` too.
    """
    unnumbered, volumes, clusters = set(), set(), set()
    logical: dict[str, str] = {}
    owners: list[Owner] = []
    in_harbor: list[drift.Recorded] = []
    for kind, outputs in resources:
        if kind == CONTAINER_TYPE:
            if outputs.get("id"):
                logical[str(outputs["id"])] = str(outputs.get("urn", "")).split("::")[-1]
            else:
                unnumbered.add(str(outputs.get("name")))
            labels = {one["label"]: one["value"] for one in outputs.get("labels") or ()}
            owners += filter(None, [owner(labels)])
        elif kind == VOLUME_TYPE:
            volumes.add(str(outputs.get("name")))
        elif kind == COMMAND_TYPE:
            variables = outputs.get("environment") or {}
            owners += filter(None, [_of_command(variables)])
            clusters |= {name for name in [cluster_of(variables)] if name}
            in_harbor += filter(None, [drift.recorded(outputs)])
    return Recorded(
        containers=frozenset(logical),
        logical=logical,
        unnumbered=frozenset(unnumbered),
        volumes=frozenset(volumes),
        clusters=frozenset(clusters),
        identity=next((one.identity for one in owners if one.identity), ""),
        born=next((one.stack for one in owners), ""),
        harbor=next(iter(in_harbor), None),
    )


def _of_command(variables: Mapping[str, str]) -> Owner | None:
    """Who created a cluster, or the projects in Harbor, from the variables of its command."""
    if transport.OWNER_VARIABLE in variables:
        stack = variables[transport.STACK_VARIABLE]
        return Owner(stack=stack, identity=f"{stack}-{variables[transport.OWNER_VARIABLE]}")
    if cluster_transport.STACK_VARIABLE in variables:
        identity = variables.get(cluster_transport.IDENTITY_VARIABLE, "")
        return Owner(stack=variables[cluster_transport.STACK_VARIABLE], identity=identity)
    return None


def cluster_of(variables: Mapping[str, str]) -> str | None:
    """Name of the cluster that a command with these variables creates; None if it creates none."""
    return cluster_for(variables) if cluster_transport.STACK_VARIABLE in variables else None


def cluster_for(variables: Mapping[str, str]) -> str | None:
    """Name of the cluster that a command creates, or fills the caches for; None if neither."""
    if cluster_transport.CLUSTER_VARIABLE not in variables:
        return None
    return str(json.loads(variables[cluster_transport.CLUSTER_VARIABLE])["name"])


def parts(identity: str) -> tuple[str, str]:
    """The name that the stack had when its identity was created, and the digits after it."""
    stack, _, digits = identity.rpartition("-")
    return stack, digits


@dataclass(frozen=True, kw_only=True)
class Taken:
    """A container of this project that has a name or port of a stack, but is not in its state.

    Attributes:
        name: of the container.
        owner: who created it.
        by_name: whether it has the name of one of the stack's caches, not just its port.
    """

    name: str
    owner: Owner
    by_name: bool


def refusals(taken: Sequence[Taken], us: Owner) -> list[str]:
    """One message for each owner, with what the user can do.

    Args:
        taken: in any order; may be empty.
        us: the stack that needs the names or ports.
    """
    owners = dict.fromkeys(one.owner for one in taken)
    return [_refusal([one for one in taken if one.owner == other], other, us) for other in owners]


def _refusal(taken: Sequence[Taken], other: Owner, us: Owner) -> str:
    by_name = any(one.by_name for one in taken)
    names = sorted({one.name for one in taken})
    what = "names" if by_name else "ports"
    has, are, they = _ONE if len(names) == 1 else _MANY
    options = [*_options(other, us), *([_adopt(us)] if by_name else []), _ELSEWHERE]
    lines = [
        f"{_listed(names)} {has} {what} that the stack '{us.stack}' needs, and {are} not in its "
        "state.",
        f"{they} to {described(other, us)}. You can",
        *(f"  - {option}" for option in options),
    ]
    return "\n".join(lines)


_ONE, _MANY = ("has", "is", "It belongs"), ("have", "are", "They belong")
_ELSEWHERE = "give this stack its own talos-cache:prefix and talos-cache:basePort"


def _adopt(us: Owner) -> str:
    return (
        f"take them over: make adopt STACK={us.stack} (it removes these containers; the images "
        "stay in their volumes, and the next make up serves them again)"
    )


def described(other: Owner, us: Owner) -> str:
    """Who owns a container, for messages."""
    if _is_us(other, us):
        return f"this stack itself ({other.identity}): a killed run left it, or its state was lost"
    if other.checkout == us.checkout:
        login = "" if other.stack != us.stack else ", with its state in another place"
        return f"the stack '{other.stack}' of this checkout{login}"
    if other.checkout:
        return f"the stack '{other.stack}' of the checkout {_place(other.checkout, us.checkout)}"
    if other.stack == us.stack:
        return (
            f"a stack '{other.stack}' with another state: of another checkout or login, or one "
            "that was lost"
        )
    return f"the stack '{other.stack}' of this project"


def _is_us(other: Owner, us: Owner) -> bool:
    return bool(other.identity) and other.identity == us.identity


def _options(other: Owner, us: Owner) -> list[str]:
    if _is_us(other, us):
        return [f"remove what a killed run left: make up STACK={us.stack}"]
    if other.stack != us.stack and other.checkout in ("", us.checkout):
        return [f"use that stack instead, or take it down first: make down STACK={other.stack}"]
    return ["continue there, with the state that has them"]


def _place(checkout: str, here: str) -> str:
    """The folder; with the host if that is not this machine."""
    host, _, path = checkout.partition(":")
    return path if host == here.partition(":")[0] else f"{path} on {host}"


def _listed(names: Collection[str]) -> str:
    shown = list(names)[:NAMES_SHOWN]
    more = len(names) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")
