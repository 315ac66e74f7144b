"""The resource provider protocol as the engine speaks it, for both resource stand-ins.

A `Resource` says what one resource type accepts and how it is made, read, changed and removed, in
plain Python values. `Provider` does the rest: it refuses what is not implemented, keeps secrets
secret (an input that came in as a secret goes out as one) and runs nothing in a preview.

The SDK's own `pulumi.provider.experimental` is not used: it appends tracebacks to errors.
"""

# ruff: noqa: N802 -- the RPCs have the protocol's names

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from secrets import token_hex
from typing import Any, ClassVar

from google.protobuf import empty_pb2  # type: ignore[import-untyped]
from pulumi.runtime.proto import plugin_pb2, provider_pb2, provider_pb2_grpc

from toolchain.standins import schema
from toolchain.standins.schema import Change, Field, Problem
from toolchain.standins.serving import PluginError, answering, not_implemented, refused
from toolchain.standins.values import (
    UNKNOWN,
    Secret,
    Value,
    Values,
    decode,
    encode,
    holds_secret,
    reveal,
)

# The engine's own keys in a provider's configuration; they are not options of the plugin.
ENGINE_CONFIG_KEYS = frozenset({"version", "pluginDownloadURL"})
AUTONAME_HEX_DIGITS = 7


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
    """A new resource: its id, and the outputs that are not inputs."""

    id: str
    outputs: Values = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Found:
    """An existing resource as it is now.

    `drift` holds only the inputs that differ from the recorded ones (None: not set any more). All
    others keep what the state has, to the letter, so that a refresh right after an `up` shows
    nothing.
    """

    id: str
    drift: Values = field(default_factory=dict)
    outputs: Values = field(default_factory=dict)


class Resource(ABC):
    """One resource type. All values that its methods see are plain, without secret marks."""

    type_name: ClassVar[str]
    fields: ClassVar[Mapping[str, Field]]
    computed: ClassVar[tuple[str, ...]] = ()
    """The outputs that are not inputs; unknown in the preview of a create."""
    unknown_after_update: ClassVar[tuple[str, ...]] = ()
    """The computed outputs that an update may change; unknown in its preview."""
    compared_as_made: ClassVar[tuple[str, ...]] = ()
    """The inputs that are compared as they came out, not as they were asked for."""
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

    def changes(self, old: Values, new: Values) -> Mapping[str, Change]:
        """The inputs that differ, by property path."""
        return schema.changes(self.fields, old, new)

    @abstractmethod
    def create(self, target: Target, inputs: Values) -> Made:
        """Makes it. On failure nothing half-made may be left."""

    @abstractmethod
    def read(self, target: Target, inputs: Values, outputs: Values) -> Found | None:
        """Looks what it is now; None if it is gone."""

    @abstractmethod
    def update(self, target: Target, old: Values, new: Values) -> Values:
        """Changes it in place; gives the computed outputs that changed. `old`: outputs so far."""

    @abstractmethod
    def delete(self, target: Target, outputs: Values) -> None:
        """Removes it. What is gone already counts as removed."""


@dataclass(frozen=True, kw_only=True)
class Function:
    """A function that programs can call (`get_network`)."""

    fields: Mapping[str, Field]
    call: Callable[[Values], Values]


class Provider(provider_pb2_grpc.ResourceProviderServicer):
    """Serves one package of resources and functions to the engine."""

    def __init__(
        self,
        *,
        package: str,
        resources: Sequence[Resource],
        functions: Mapping[str, Function] | None = None,
        config_keys: frozenset[str] = frozenset(),
        configure: Callable[[Values], None] = lambda _config: None,
        cancel: Callable[[], None] = lambda: None,
        engine: Callable[[str], None] = lambda _address: None,
    ) -> None:
        """`engine` is told the engine's address, `configure` the provider options."""
        self._package = package
        self._resources = {resource.type_name: resource for resource in resources}
        self._functions = functions or {}
        self._config_keys = config_keys
        self._configure = configure
        self._cancel = cancel
        self._engine = engine

    # The engine starts here.

    @answering
    def Handshake(
        self, request: provider_pb2.ProviderHandshakeRequest, context: Any
    ) -> provider_pb2.ProviderHandshakeResponse:
        """The first call: who calls, and what this provider can take."""
        self._engine(request.engine_address)
        return provider_pb2.ProviderHandshakeResponse(accept_secrets=True)

    @answering
    def GetPluginInfo(self, request: empty_pb2.Empty, context: Any) -> plugin_pb2.PluginInfo:
        """The version of the package that it serves."""
        return plugin_pb2.PluginInfo(version=metadata.version(f"pulumi_{self._package}"))

    @answering
    def CheckConfig(
        self, request: provider_pb2.CheckRequest, context: Any
    ) -> provider_pb2.CheckResponse:
        """Refuses provider options that are not implemented."""
        unknown = sorted(set(request.news.fields) - self._config_keys - ENGINE_CONFIG_KEYS)
        what = f"the provider option {self._package}:{{}}"
        failures = [
            provider_pb2.CheckFailure(property=key, reason=not_implemented(what.format(key)))
            for key in unknown
        ]
        return provider_pb2.CheckResponse(inputs=request.news, failures=failures)

    @answering
    def DiffConfig(
        self, request: provider_pb2.DiffRequest, context: Any
    ) -> provider_pb2.DiffResponse:
        """A changed provider option never replaces anything."""
        old, new = decode(request.old_inputs), decode(request.news)
        changed = [key for key in self._config_keys if reveal(old.get(key)) != reveal(new.get(key))]
        kind = (
            provider_pb2.DiffResponse.DIFF_SOME if changed else provider_pb2.DiffResponse.DIFF_NONE
        )
        return provider_pb2.DiffResponse(changes=kind, diffs=changed)

    @answering
    def Configure(
        self, request: provider_pb2.ConfigureRequest, context: Any
    ) -> provider_pb2.ConfigureResponse:
        """Takes the provider options."""
        self._configure(reveal(decode(request.args)))
        return provider_pb2.ConfigureResponse(acceptSecrets=True, supportsPreview=True)

    @answering
    def Cancel(self, request: empty_pb2.Empty, context: Any) -> empty_pb2.Empty:
        """Stops what runs."""
        self._cancel()
        return empty_pb2.Empty()

    # What programs ask for.

    @answering
    def Invoke(
        self, request: provider_pb2.InvokeRequest, context: Any
    ) -> provider_pb2.InvokeResponse:
        """Calls a function."""
        function = self._functions.get(request.tok)
        if function is None:
            raise PluginError(not_implemented(f"the function {request.tok!r}"))
        args = decode(request.args)
        found = list(schema.problems(function.fields, args, request.tok.rpartition(":")[2]))
        if found:
            return provider_pb2.InvokeResponse(failures=_failures(found))
        result = encode(function.call(reveal(args)))
        return provider_pb2.InvokeResponse(**{"return": result})

    @answering
    def Check(self, request: provider_pb2.CheckRequest, context: Any) -> provider_pb2.CheckResponse:
        """Refuses what is wrong or not implemented, and names what has no name."""
        resource = self._resource(request.urn)
        inputs = decode(request.news)
        if resource.autonamed and inputs.get("name") in (None, ""):
            inputs["name"] = decode(request.olds).get("name") or _autoname(request.urn)
        found = list(schema.problems(resource.fields, inputs, resource.title))
        found = found or list(resource.problems(reveal(inputs)))
        return provider_pb2.CheckResponse(inputs=encode(inputs), failures=_failures(found))

    @answering
    def Diff(self, request: provider_pb2.DiffRequest, context: Any) -> provider_pb2.DiffResponse:
        """What an `up` would have to do about changed inputs."""
        resource = self._resource(request.urn)
        old, new = reveal(decode(request.old_inputs)), reveal(decode(request.news))
        made = reveal(decode(request.olds))
        old.update({key: made[key] for key in resource.compared_as_made if key in made})
        delete_first = resource.delete_before_replace or _has_fixed_name(
            resource, request.urn, old, new
        )
        return _diff_response(resource.changes(old, new), delete_first)

    @answering
    def Create(
        self, request: provider_pb2.CreateRequest, context: Any
    ) -> provider_pb2.CreateResponse:
        """Makes a resource; in a preview only says what is not known yet."""
        resource = self._resource(request.urn)
        inputs = decode(request.properties)
        if request.preview:
            unknown = dict.fromkeys(resource.computed, UNKNOWN)
            return provider_pb2.CreateResponse(properties=encode({**unknown, **inputs}))
        made = resource.create(_target(request), reveal(inputs))
        outputs = encode(_merge(inputs, made.outputs))
        return provider_pb2.CreateResponse(id=made.id, properties=outputs)

    @answering
    def Read(self, request: provider_pb2.ReadRequest, context: Any) -> provider_pb2.ReadResponse:
        """Looks at a resource as it is now (a refresh)."""
        resource = self._resource(request.urn)
        if not request.inputs.fields and not request.properties.fields:
            raise PluginError(not_implemented(f"import or get of {resource.title}"))
        inputs, outputs = decode(request.inputs), decode(request.properties)
        found = resource.read(_target(request), reveal(inputs), reveal(outputs))
        if found is None:
            return provider_pb2.ReadResponse()
        return provider_pb2.ReadResponse(
            id=found.id,
            inputs=encode(_merge(inputs, found.drift)),
            properties=encode(_merge(outputs, {**found.drift, **found.outputs})),
        )

    @answering
    def Update(
        self, request: provider_pb2.UpdateRequest, context: Any
    ) -> provider_pb2.UpdateResponse:
        """Changes a resource in place; in a preview only says what is not known yet."""
        resource = self._resource(request.urn)
        old, new = decode(request.olds), decode(request.news)
        computed = {key: old[key] for key in resource.computed if key in old}
        if request.preview:
            changed = dict.fromkeys(resource.unknown_after_update, UNKNOWN)
        else:
            changed = resource.update(_target(request), reveal(old), reveal(new))
        outputs = encode({**new, **_merge(computed, changed)})
        return provider_pb2.UpdateResponse(properties=outputs)

    @answering
    def Delete(self, request: provider_pb2.DeleteRequest, context: Any) -> empty_pb2.Empty:
        """Removes a resource."""
        resource = self._resource(request.urn)
        resource.delete(_target(request), reveal(decode(request.properties)))
        return empty_pb2.Empty()

    # What no program of this kind needs.

    Parameterize = refused("Parameterize")
    GetSchema = refused("GetSchema")
    Call = refused("Call")
    Construct = refused("Construct")
    List = refused("List")
    Attach = refused("Attach")
    GetMapping = refused("GetMapping")
    GetMappings = refused("GetMappings")

    def _resource(self, urn: str) -> Resource:
        token = urn.split("::")[2].rpartition("$")[2]
        resource = self._resources.get(token)
        if resource is None:
            raise PluginError(not_implemented(f"the resource type {token!r}"))
        return resource


def _target(request: Any) -> Target:
    return Target(
        urn=request.urn,
        name=_logical_name(request.urn),
        id=getattr(request, "id", ""),
        timeout=request.timeout,
    )


def _logical_name(urn: str) -> str:
    return urn.split("::", 3)[3]


def _autoname(urn: str) -> str:
    """A name in the form of Pulumi's own: the logical name and some random digits."""
    return f"{_logical_name(urn)}-{token_hex(AUTONAME_HEX_DIGITS)[:AUTONAME_HEX_DIGITS]}"


def _merge(recorded: Values, plain: Values) -> Values:
    """`recorded` with the values of `plain` in place; what was secret before stays secret."""
    merged = dict(recorded)
    for key, value in plain.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = Secret(value) if holds_secret(recorded.get(key)) else value
    return merged


def _failures(found: Iterable[Problem]) -> list[provider_pb2.CheckFailure]:
    return [provider_pb2.CheckFailure(property=path, reason=reason) for path, reason in found]


def _has_fixed_name(resource: Resource, urn: str, old: Values, new: Values) -> bool:
    """Whether old and new can't exist side by side, because the program chose the name of both."""
    if not resource.autonamed or old.get("name") != new.get("name"):
        return False
    at_random = rf"{re.escape(_logical_name(urn))}-[0-9a-f]{{{AUTONAME_HEX_DIGITS}}}"
    return re.fullmatch(at_random, str(new.get("name"))) is None


def _diff_response(changes: Mapping[str, Change], delete_first: bool) -> provider_pb2.DiffResponse:
    response = provider_pb2.DiffResponse
    replaces = [path for path, change in changes.items() if change.replaces]
    return response(
        changes=response.DIFF_SOME if changes else response.DIFF_NONE,
        replaces=replaces,
        diffs=sorted({re.split(r"[.\[]", path)[0] for path in changes}),
        hasDetailedDiff=True,
        detailedDiff={path: _property_diff(change) for path, change in changes.items()},
        deleteBeforeReplace=bool(replaces) and delete_first,
    )


def _property_diff(change: Change) -> provider_pb2.PropertyDiff:
    name = f"{change.kind}_REPLACE" if change.replaces else change.kind
    return provider_pb2.PropertyDiff(kind=provider_pb2.PropertyDiff.Kind.Value(name))


def plain_change(old: Value, new: Value, *, replaces: bool) -> Change:
    """A change of a value that is or was absent where it is None."""
    if old is None:
        return Change("ADD", replaces)
    return Change("DELETE" if new is None else "UPDATE", replaces)
