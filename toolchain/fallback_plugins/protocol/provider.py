"""The resource provider protocol as the engine speaks it, for both resource plugins.

A `Resource` says what one resource type accepts and how it is created, read, changed and removed,
in plain Python values. `Provider` does the rest: it refuses what is not implemented, keeps secrets
secret (an input that came in as a secret goes out as one) and runs nothing in a preview.

The SDK's own `pulumi.provider.experimental` is not used: it appends tracebacks to errors.
"""

# ruff: noqa: N802 -- the RPCs have the protocol's names

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import metadata
from secrets import token_hex
from typing import Any

from google.protobuf import empty_pb2  # type: ignore[import-untyped]
from pulumi.runtime.proto import plugin_pb2, provider_pb2, provider_pb2_grpc

from toolchain.fallback_plugins.protocol import schema
from toolchain.fallback_plugins.protocol.resource import (
    Function,
    Made,
    PartlyCreatedError,
    Resource,
    Target,
)
from toolchain.fallback_plugins.protocol.schema import Change, Problem
from toolchain.fallback_plugins.protocol.server import (
    PluginError,
    answering,
    not_implemented,
    refusing,
)
from toolchain.fallback_plugins.protocol.values import (
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


@refusing(  # calls that no program of this project needs
    *("Parameterize", "GetSchema", "Call", "Construct", "List"),
    *("Attach", "GetMapping", "GetMappings"),
)
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
        """`engine` is called with the engine's address, `configure` with the provider options."""
        self._package = package
        self._resources = {resource.type_name: resource for resource in resources}
        self._functions = functions or {}
        self._config_keys = config_keys
        self._configure = configure
        self._cancel = cancel
        self._engine = engine

    # Called when the engine starts the plugin.

    @answering
    def Handshake(
        self, request: provider_pb2.ProviderHandshakeRequest, context: Any
    ) -> provider_pb2.ProviderHandshakeResponse:
        """Take the engine's address; say what this provider supports."""
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
        """Refuse provider options that are not implemented."""
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
        """The provider options that changed, which never replaces anything."""
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
        """Take the provider options."""
        self._configure(reveal(decode(request.args)))
        return provider_pb2.ConfigureResponse(acceptSecrets=True, supportsPreview=True)

    @answering
    def Cancel(self, request: empty_pb2.Empty, context: Any) -> empty_pb2.Empty:
        """Stop everything that runs."""
        self._cancel()
        return empty_pb2.Empty()

    # Called for what a program declares.

    @answering
    def Invoke(
        self, request: provider_pb2.InvokeRequest, context: Any
    ) -> provider_pb2.InvokeResponse:
        """Call a function."""
        function = self._functions.get(request.tok)
        if function is None:
            raise PluginError(not_implemented(f"the function {request.tok!r}"))
        args = decode(request.args)
        problems = list(schema.problems(function.fields, args, request.tok.rpartition(":")[2]))
        if problems:
            return provider_pb2.InvokeResponse(failures=_failures(problems))
        result = encode(function.call(reveal(args)))
        return provider_pb2.InvokeResponse(**{"return": result})

    @answering
    def Check(self, request: provider_pb2.CheckRequest, context: Any) -> provider_pb2.CheckResponse:
        """Refuse what is wrong or not implemented; give a resource without a name one."""
        resource = self._resource(request.urn)
        inputs = decode(request.news)
        if resource.autonamed and inputs.get("name") in (None, ""):
            inputs["name"] = decode(request.olds).get("name") or _autoname(request.urn)
        problems = list(schema.problems(resource.fields, inputs, resource.title))
        problems = problems or list(resource.problems(reveal(inputs)))
        if problems:
            return provider_pb2.CheckResponse(failures=_failures(problems))
        return provider_pb2.CheckResponse(inputs=encode(resource.checked(inputs)))

    @answering
    def Diff(self, request: provider_pb2.DiffRequest, context: Any) -> provider_pb2.DiffResponse:
        """What an `up` would do about changed inputs."""
        resource = self._resource(request.urn)
        state, old, new = (
            reveal(decode(part)) for part in (request.olds, request.old_inputs, request.news)
        )
        delete_first = resource.delete_before_replace or _has_fixed_name(resource, request.urn, new)
        # The engine replaces ignored inputs with the old ones, but what Docker has set by itself
        # is not among those.
        changes = {
            path: change
            for path, change in resource.changes(state, old, new).items()
            if re.split(r"[.\[]", path)[0] not in request.ignoreChanges
        }
        return _diff_response(changes, delete_first)

    @answering
    def Create(
        self, request: provider_pb2.CreateRequest, context: Any
    ) -> provider_pb2.CreateResponse:
        """Create a resource; in a preview only say what is not known yet."""
        resource = self._resource(request.urn)
        inputs = decode(request.properties)
        create = resource.planned if request.preview else resource.create
        try:
            created = create(_target(request), reveal(inputs))
        except PartlyCreatedError as error:
            raise _partial_failure(error, inputs) from error
        return provider_pb2.CreateResponse(
            id=created.id, properties=encode(_keeping_secrets(created.state, inputs))
        )

    @answering
    def Read(self, request: provider_pb2.ReadRequest, context: Any) -> provider_pb2.ReadResponse:
        """Read a resource as it is now (a refresh)."""
        resource = self._resource(request.urn)
        if not request.inputs.fields and not request.properties.fields:
            raise PluginError(not_implemented(f"import or get of {resource.title}"))
        inputs, state = decode(request.inputs), decode(request.properties)
        real = resource.read(_target(request), reveal(state))
        if real is None:
            return provider_pb2.ReadResponse()
        drifted = _drift(resource, inputs, state, real)
        return provider_pb2.ReadResponse(
            id=real.id,
            inputs=encode({**inputs, **_keeping_secrets(drifted, inputs)}),
            properties=encode(_keeping_secrets(real.state, state, inputs)),
        )

    @answering
    def Update(
        self, request: provider_pb2.UpdateRequest, context: Any
    ) -> provider_pb2.UpdateResponse:
        """Change a resource in place; in a preview only say what is not known yet."""
        resource = self._resource(request.urn)
        old, new = decode(request.olds), decode(request.news)
        try:
            if request.preview:
                state = resource.planned_update(reveal(old), reveal(new))
            else:
                state = resource.update(_target(request), reveal(old), reveal(new))
        except PartlyCreatedError as error:
            raise _partial_failure(error, new, old) from error
        return provider_pb2.UpdateResponse(properties=encode(_keeping_secrets(state, new, old)))

    @answering
    def Delete(self, request: provider_pb2.DeleteRequest, context: Any) -> empty_pb2.Empty:
        """Remove a resource."""
        resource = self._resource(request.urn)
        resource.delete(_target(request), reveal(decode(request.properties)))
        return empty_pb2.Empty()

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
    """A name in Pulumi's own form: the logical name and some random digits."""
    return f"{_logical_name(urn)}-{token_hex(AUTONAME_HEX_DIGITS)[:AUTONAME_HEX_DIGITS]}"


def _keeping_secrets(plain: Values, *recorded: Values) -> Values:
    """The values without those that are None; what was secret before stays secret."""
    return {
        key: _as_recorded(value, [values[key] for values in recorded if key in values])
        for key, value in plain.items()
        if value is not None
    }


def _as_recorded(plain: Value, recorded: list[Value]) -> Value:
    same = next((value for value in recorded if reveal(value) == plain), plain)
    if same is plain and any(holds_secret(value) for value in recorded):
        return Secret(plain)
    return same


def _drift(resource: Resource, inputs: Values, state: Values, real: Made) -> Values:
    """The real values of inputs that have changed since the state was written."""
    return {
        key: _without_empty_parts(inputs[key], real.state.get(key))
        for key, spec in resource.fields.items()
        if key in inputs
        and schema.normalise(spec, state.get(key)) != schema.normalise(spec, real.state.get(key))
    }


def _without_empty_parts(before: Value, now: Value) -> Value:
    """An object without its empty parts, unless the input had them."""
    if not isinstance(now, dict) or not isinstance(before, dict):
        return now
    return {key: part for key, part in now.items() if part or key in before}


def _partial_failure(error: PartlyCreatedError, *recorded: Values) -> PluginError:
    failure = PluginError(str(error))
    failure.details = provider_pb2.ErrorResourceInitFailed(
        id=error.resource.id,
        properties=encode(_keeping_secrets(error.resource.state, *recorded)),
        reasons=[str(error)],
    )
    return failure


def _failures(problems: Iterable[Problem]) -> list[provider_pb2.CheckFailure]:
    return [provider_pb2.CheckFailure(property=path, reason=reason) for path, reason in problems]


def _has_fixed_name(resource: Resource, urn: str, new: Values) -> bool:
    """Whether the program chose the name: then old and new may not be able to coexist."""
    automatic = rf"{re.escape(_logical_name(urn))}-[0-9a-f]{{{AUTONAME_HEX_DIGITS}}}"
    return resource.autonamed and re.fullmatch(automatic, str(new.get("name"))) is None


def _diff_response(changes: Mapping[str, Change], delete_first: bool) -> provider_pb2.DiffResponse:
    response = provider_pb2.DiffResponse
    replaces = sorted({_root(path) for path, change in changes.items() if change.replaces})
    return response(
        changes=response.DIFF_SOME if changes else response.DIFF_NONE,
        replaces=replaces,
        diffs=sorted({_root(path) for path in changes}),
        hasDetailedDiff=True,
        detailedDiff={path: _property_diff(change) for path, change in changes.items()},
        deleteBeforeReplace=bool(replaces) and delete_first,
    )


def _root(path: str) -> str:
    return re.split(r"[.\[]", path)[0]


def _property_diff(change: Change) -> provider_pb2.PropertyDiff:
    name = f"{change.kind}_REPLACE" if change.replaces else change.kind
    return provider_pb2.PropertyDiff(kind=provider_pb2.PropertyDiff.Kind.Value(name))
