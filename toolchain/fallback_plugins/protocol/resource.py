"""What a plugin's resource must implement; the provider does the rest."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from toolchain.fallback_plugins.protocol import schema
from toolchain.fallback_plugins.protocol.schema import Change, Field, Problem
from toolchain.fallback_plugins.protocol.server import (
    PluginError,
)
from toolchain.fallback_plugins.protocol.values import (
    Value,
    Values,
)


@dataclass(frozen=True, kw_only=True)
class Target:
    """The resource that a call is about."""

    urn: str
    name: str
    id: str = ""
    timeout: float = 0
    """Seconds that the user allows (`custom_timeouts`); 0 means no limit."""


@dataclass(frozen=True, kw_only=True)
class Made:
    """A resource as the engine records it: its id and its state."""

    id: str
    state: Values = field(default_factory=dict)


class PartlyCreatedError(PluginError):
    """A resource exists, but is not complete: the engine keeps it, and the next `up` repairs it."""

    def __init__(self, message: str, resource: Made) -> None:
        super().__init__(message)
        self.resource = resource


class Resource(ABC):
    """One resource type. Its methods get plain values, without secret marks."""

    type_name: ClassVar[str]
    fields: ClassVar[Mapping[str, Field]]
    autonamed: ClassVar[bool] = False
    """Whether it gets a random name if the program gives none."""
    delete_before_replace: ClassVar[bool] = False

    @property
    def title(self) -> str:
        """The type's name in messages."""
        return self.type_name.rpartition(":")[2]

    def problems(self, inputs: Values) -> Iterable[Problem]:
        """Problems that `fields` can't express. The inputs fit it, but may contain `UNKNOWN`."""
        del inputs
        return ()

    def checked(self, inputs: Values) -> Values:
        """The inputs as the state keeps them: with defaults, for example."""
        return inputs

    def changes(self, state: Values, old: Values, new: Values) -> Mapping[str, Change]:
        """What differs, by property path: from the state, or from the `old` inputs."""
        del old
        return schema.changes(self.fields, state, new)

    def planned(self, target: Target, inputs: Values) -> Made:
        """The resource before it is created; `UNKNOWN` for what is not known yet."""
        raise NotImplementedError

    def planned_update(self, state: Values, inputs: Values) -> Values:
        """The state after an update."""
        raise NotImplementedError

    @abstractmethod
    def create(self, target: Target, inputs: Values) -> Made:
        """Create it. A failure leaves nothing behind, or is a `PartlyCreatedError`."""

    @abstractmethod
    def read(self, target: Target, state: Values) -> Made | None:
        """Read it as it is now; None if it is gone."""

    @abstractmethod
    def update(self, target: Target, state: Values, inputs: Values) -> Values:
        """Change it in place; returns the new state."""

    @abstractmethod
    def delete(self, target: Target, state: Values) -> None:
        """Remove it. One that is gone already counts as removed."""


@dataclass(frozen=True, kw_only=True)
class Function:
    """A function that programs can call (`get_network`)."""

    fields: Mapping[str, Field]
    call: Callable[[Values], Values]


def plain_change(old: Value, new: Value, *, replaces: bool) -> Change:
    """A change of a value; None means absent."""
    if old is None:
        return Change("ADD", replaces)
    return Change("DELETE" if new is None else "UPDATE", replaces)
