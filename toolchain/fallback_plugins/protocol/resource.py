"""What a plugin's resource has to do; the provider does the rest."""

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
    """Seconds the user allows (`custom_timeouts`); 0 means no limit."""


@dataclass(frozen=True, kw_only=True)
class Made:
    """A resource as it is: its id, and what the state says about it."""

    id: str
    state: Values = field(default_factory=dict)


class HalfMadeError(PluginError):
    """It is there but not as it should be: the engine keeps it, and the next `up` sees to it."""

    def __init__(self, message: str, made: Made) -> None:
        super().__init__(message)
        self.made = made


class Resource(ABC):
    """One resource type. All values that its methods see are plain, without secret marks."""

    type_name: ClassVar[str]
    fields: ClassVar[Mapping[str, Field]]
    autonamed: ClassVar[bool] = False
    """It gets a name at random if the program gives none."""
    delete_before_replace: ClassVar[bool] = False

    @property
    def title(self) -> str:
        """The type's name in messages."""
        return self.type_name.rpartition(":")[2]

    def problems(self, inputs: Values) -> Iterable[Problem]:
        """What the table of fields can't express. The inputs fit it but may hold `UNKNOWN`."""
        del inputs
        return ()

    def checked(self, inputs: Values) -> Values:
        """The inputs as the state will hold them: with defaults, say."""
        return inputs

    def changes(self, state: Values, old: Values, new: Values) -> Mapping[str, Change]:
        """What differs, by property path: from the state, or from the `old` inputs."""
        del old
        return schema.changes(self.fields, state, new)

    def planned(self, target: Target, inputs: Values) -> Made:
        """What is known before it is made; `UNKNOWN` is what is not."""
        raise NotImplementedError

    def planned_update(self, state: Values, inputs: Values) -> Values:
        """What the state will be after an update."""
        raise NotImplementedError

    @abstractmethod
    def create(self, target: Target, inputs: Values) -> Made:
        """Makes it. On failure nothing is left, or it is a `HalfMadeError`."""

    @abstractmethod
    def read(self, target: Target, state: Values) -> Made | None:
        """Looks what it is now; None if it is gone."""

    @abstractmethod
    def update(self, target: Target, state: Values, inputs: Values) -> Values:
        """Changes it in place; gives the new state."""

    @abstractmethod
    def delete(self, target: Target, state: Values) -> None:
        """Removes it. What is gone already counts as removed."""


@dataclass(frozen=True, kw_only=True)
class Function:
    """A function that programs can call (`get_network`)."""

    fields: Mapping[str, Field]
    call: Callable[[Values], Values]


def plain_change(old: Value, new: Value, *, replaces: bool) -> Change:
    """A change of a value that is or was absent where it is None."""
    if old is None:
        return Change("ADD", replaces)
    return Change("DELETE" if new is None else "UPDATE", replaces)
