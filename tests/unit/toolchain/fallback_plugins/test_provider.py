"""The provider protocol, called directly: secrets, unknowns, refusals."""

import grpc
import pytest
from google.protobuf import struct_pb2
from pulumi.runtime.proto import provider_pb2, status_pb2

from toolchain.fallback_plugins.docker.host import DockerHost
from toolchain.fallback_plugins.docker.provider import Container, port_taken
from toolchain.fallback_plugins.protocol.provider import Provider
from toolchain.fallback_plugins.protocol.resource import (
    Made,
    PartlyCreatedError,
    Resource,
)
from toolchain.fallback_plugins.protocol.schema import mapping, text
from toolchain.fallback_plugins.protocol.values import UNKNOWN, Secret, decode, encode

URN = "urn:pulumi:dev::project::test:index:Thing::logical"


class AbortedError(Exception):
    """What grpc's own abort does, for a test to see."""


class Context:
    """A call's context that records how the call ended."""

    metadata = ()

    def set_trailing_metadata(self, metadata):
        self.metadata = metadata

    def abort(self, code, message):
        raise AbortedError(code, message)


class Thing(Resource):
    """Records its calls."""

    type_name = "test:index:Thing"
    fields = {"name": text(required=True), "size": text(in_place=True), "env": mapping()}  # noqa: RUF012
    autonamed = True

    def __init__(self):
        self.calls = []
        self.drift = {}
        self.gone = False
        self.error = None

    def planned(self, target, inputs):
        return Made(id="", state={**inputs, "address": UNKNOWN})

    def create(self, target, inputs):
        self.calls.append(("create", inputs))
        if self.error:
            raise self.error
        return Made(id="id", state={**inputs, "address": "here"})

    def read(self, target, state):
        return None if self.gone else Made(id="id", state={**state, **self.drift})

    def update(self, target, state, inputs):
        self.calls.append(("update", state, inputs))
        if self.error:
            raise self.error
        return {**state, **inputs}

    def delete(self, target, state):
        self.calls.append(("delete", state))


@pytest.fixture
def thing():
    return Thing()


@pytest.fixture
def provider(thing):
    return Provider(package="test", resources=[thing], config_keys=frozenset({"host"}))


def check(provider, news, olds=None):
    request = provider_pb2.CheckRequest(urn=URN, news=encode(news), olds=encode(olds or {}))
    return provider.Check(request, Context())


def diff(provider, old, new):
    request = provider_pb2.DiffRequest(
        id="id", urn=URN, old_inputs=encode(old), olds=encode(old), news=encode(new)
    )
    return provider.Diff(request, Context())


def test_values_survive_the_wire():
    values = {
        "text": "x",
        "whole": 5000,
        "part": 0.5,
        "flag": True,
        "list": [1, {"a": Secret("b")}],
        "secret": Secret({"deep": [UNKNOWN]}),
        "unknown": UNKNOWN,
    }
    wire = struct_pb2.Struct.FromString(encode(values).SerializeToString())
    assert decode(wire) == values


def test_a_secret_is_never_shown():
    assert "hunter2" not in repr(Secret("hunter2"))


def test_a_secret_input_goes_out_as_a_secret(provider, thing):
    properties = encode({"name": "n", "env": {"P": Secret("hunter2")}})
    request = provider_pb2.CreateRequest(urn=URN, properties=properties)
    outputs = decode(provider.Create(request, Context()).properties)
    assert thing.calls == [("create", {"name": "n", "env": {"P": "hunter2"}})]
    assert outputs == {"name": "n", "env": {"P": Secret("hunter2")}, "address": "here"}


def test_a_preview_creates_nothing_and_says_what_is_unknown(provider, thing):
    request = provider_pb2.CreateRequest(urn=URN, properties=encode({"name": "n"}), preview=True)
    outputs = decode(provider.Create(request, Context()).properties)
    assert outputs == {"name": "n", "address": UNKNOWN}
    assert thing.calls == []


def test_drift_of_a_secret_stays_secret(provider, thing):
    thing.drift = {"size": "changed"}
    inputs = encode({"name": "n", "size": Secret("old")})
    request = provider_pb2.ReadRequest(id="id", urn=URN, inputs=inputs, properties=inputs)
    response = provider.Read(request, Context())
    assert decode(response.inputs)["size"] == Secret("changed")
    assert decode(response.properties)["size"] == Secret("changed")


def test_a_read_without_drift_returns_exactly_the_state(provider):
    inputs = encode({"name": "n", "env": {"P": Secret("x"), "A": "y"}})
    request = provider_pb2.ReadRequest(id="id", urn=URN, inputs=inputs, properties=inputs)
    response = provider.Read(request, Context())
    assert response.inputs == inputs
    assert response.properties == inputs


def test_a_partly_created_resource_is_kept_with_its_id_state_and_secrets(provider, thing):
    state = {"name": "n", "env": {"P": "hunter2"}}
    thing.error = PartlyCreatedError("it does not start", Made(id="abc", state=state))
    inputs = encode({"name": "n", "env": {"P": Secret("hunter2")}})
    requests = (
        (provider.Create, provider_pb2.CreateRequest(urn=URN, properties=inputs)),
        (provider.Update, provider_pb2.UpdateRequest(urn=URN, olds=inputs, news=inputs)),
    )
    for call, request in requests:
        context = Context()
        with pytest.raises(AbortedError, match="it does not start"):
            call(request, context)
        ((name, packed),) = context.metadata
        assert name == "grpc-status-details-bin"
        left = provider_pb2.ErrorResourceInitFailed()
        assert status_pb2.Status.FromString(packed).details[0].Unpack(left)
        assert (left.id, list(left.reasons)) == ("abc", ["it does not start"])
        assert decode(left.properties) == {"name": "n", "env": {"P": Secret("hunter2")}}


def test_an_empty_part_that_no_input_had_does_not_become_an_input(provider, thing):
    thing.drift = {"env": {"A": "x", "B": ""}, "size": "1"}
    inputs = encode({"name": "n", "env": {"A": "y"}})
    request = provider_pb2.ReadRequest(id="id", urn=URN, inputs=inputs, properties=inputs)
    assert decode(provider.Read(request, Context()).inputs) == {"name": "n", "env": {"A": "x"}}


def test_a_resource_that_is_gone_has_no_id(provider, thing):
    thing.gone = True
    inputs = encode({"name": "n"})
    request = provider_pb2.ReadRequest(id="id", urn=URN, inputs=inputs, properties=inputs)
    assert provider.Read(request, Context()).id == ""


def test_an_import_is_refused(provider):
    with pytest.raises(AbortedError, match="import or get of Thing"):
        provider.Read(provider_pb2.ReadRequest(id="id", urn=URN), Context())


def test_a_missing_name_is_made_up_once(provider):
    name = decode(check(provider, {}).inputs)["name"]
    assert name.startswith("logical-")
    assert len(name) == len("logical-") + 7
    assert decode(check(provider, {}, olds={"name": name}).inputs)["name"] == name


def test_a_chosen_name_is_freed_before_the_replacement_is_made(provider):
    same_name = diff(provider, {"name": "n"}, {"name": "n", "env": {"A": "1"}})
    assert same_name.deleteBeforeReplace
    made_up = {"name": "logical-0123abc"}
    assert not diff(provider, made_up, {**made_up, "env": {"A": "1"}}).deleteBeforeReplace


def test_a_container_is_always_deleted_before_its_replacement_is_created():
    container = Container(DockerHost())
    provider = Provider(package="docker", resources=[container])
    urn = URN.replace("test:index:Thing", container.type_name)
    inputs = {"name": "logical-0123abc", "image": "i"}
    state = {**inputs, "command": [], "entrypoints": [], "networkDatas": []}
    request = provider_pb2.DiffRequest(
        id="id", urn=urn, olds=encode(state), news=encode({**inputs, "image": "j"})
    )
    assert provider.Diff(request, Context()).deleteBeforeReplace
    request.news.CopyFrom(encode({**inputs, "restart": "always"}))
    assert not provider.Diff(request, Context()).deleteBeforeReplace


def test_a_diff_says_what_replaces(provider):
    response = diff(provider, {"name": "n", "size": "1"}, {"name": "n", "env": {"A": "1"}})
    kinds = provider_pb2.PropertyDiff.Kind
    assert {key: change.kind for key, change in response.detailedDiff.items()} == {
        "size": kinds.Value("DELETE"),
        "env": kinds.Value("ADD_REPLACE"),
    }
    assert list(response.replaces) == ["env"]


def test_no_change_is_no_diff(provider):
    response = diff(provider, {"name": "n"}, {"name": "n"})
    assert response.changes == provider_pb2.DiffResponse.DIFF_NONE


def test_an_unknown_property_fails_the_check_by_name(provider):
    (failure,) = check(provider, {"name": "n", "colour": "red"}).failures
    assert failure.property == "colour"
    assert "'colour' of Thing" in failure.reason
    assert "install the official plugin" in failure.reason


def test_an_unknown_resource_type_is_refused_by_name(provider):
    urn = URN.replace("Thing", "Other")
    with pytest.raises(AbortedError, match="resource type 'test:index:Other'"):
        provider.Check(provider_pb2.CheckRequest(urn=urn), Context())


def test_a_resource_inside_a_component_is_known_by_its_own_type(provider):
    urn = URN.replace("test:index:Thing", "my:index:Component$test:index:Thing")
    request = provider_pb2.CheckRequest(urn=urn, news=encode({"name": "n"}))
    assert not provider.Check(request, Context()).failures


def test_an_unknown_function_is_refused_by_name(provider):
    with pytest.raises(AbortedError, match="the function 'test:index:getOther'"):
        provider.Invoke(provider_pb2.InvokeRequest(tok="test:index:getOther"), Context())


def test_an_unknown_provider_option_is_refused_by_name(provider):
    news = encode({"version": "1.0.0", "host": "unix:///x", "sshOpts": "[]"})
    response = provider.CheckConfig(provider_pb2.CheckRequest(news=news), Context())
    assert [failure.property for failure in response.failures] == ["sshOpts"]
    assert "test:sshOpts" in response.failures[0].reason


@pytest.mark.parametrize("rpc", ["GetSchema", "Construct", "Call", "Parameterize", "GetMapping"])
def test_a_call_that_is_not_implemented_is_refused_by_name(provider, rpc):
    with pytest.raises(AbortedError, match=f"the call {rpc}"):
        getattr(provider, rpc)(None, Context())


def test_a_bug_is_one_line_without_a_traceback(provider, thing):
    thing.error = ValueError("boom")
    request = provider_pb2.CreateRequest(urn=URN, properties=encode({"name": "n"}))
    with pytest.raises(AbortedError) as caught:
        provider.Create(request, Context())
    code, message = caught.value.args
    assert code == grpc.StatusCode.INTERNAL
    assert "boom" in message
    assert "\n" not in message


@pytest.mark.parametrize("address", ["127.0.0.1:5000", "[::1]:5000"])
@pytest.mark.parametrize(
    "error",
    [
        "Bind for {} failed: port is already allocated",
        "Error starting userland proxy: listen tcp4 {}: bind: address already in use",
        "failed to bind host port for {}:172.17.0.2:5000/tcp: address already in use",
        "failed to bind host port {}/tcp: address already in use",
    ],
    ids=["another container", "up to Docker 27", "Docker 28", "Docker 29"],
)
def test_a_taken_port_is_recognised_in_the_error_of_each_docker(error, address):
    endpoint = "driver failed programming external connectivity on endpoint name (0123)"
    assert port_taken(f"500 Server Error: {endpoint}: {error.format(address)}") == address
    assert port_taken(f"{endpoint}: cannot assign requested address") is None


def test_an_ignored_property_is_no_difference_even_if_no_input_ever_had_it(provider):
    """The engine can replace it only with an old input; Docker may have set it by itself."""
    state = {"name": "n", "env": {"SET": "by itself"}}
    request = provider_pb2.DiffRequest(
        id="id",
        urn=URN,
        old_inputs=encode(state),
        olds=encode(state),
        news=encode({"name": "n"}),
    )
    assert provider.Diff(request, Context()).changes == provider_pb2.DiffResponse.DIFF_SOME
    request.ignoreChanges.append("env")
    assert provider.Diff(request, Context()).changes == provider_pb2.DiffResponse.DIFF_NONE
