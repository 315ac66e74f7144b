"""Talks to a resource plugin as the engine does, and records requests and answers.

The same scenarios run against Pulumi's official plugins (whose answers are in `tests/fixtures`) and
against the fallback plugins, which must give the same answers.
"""

import json
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import empty_pb2, struct_pb2
from google.protobuf.json_format import MessageToDict, ParseDict
from pulumi.runtime.proto import (
    engine_pb2,
    engine_pb2_grpc,
    provider_pb2,
    provider_pb2_grpc,
    status_pb2,
)

Record = dict[str, Any]
URN = "urn:pulumi:dev::transcripts::{type}::thing"
PATIENCE = 120
SECRET_KEY = "4dabf18193072939515e22adb298388d"
SECRET_SIGN = "1b47061264138c4ac30d75fd1eb44270"


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """What happens to one resource, step by step.

    Texts may contain `{words}` that are filled in for each run: names, ports, folders.
    """

    name: str
    type: str
    steps: Sequence[Mapping[str, Any]]


@dataclass
class Plugin:
    """A running resource plugin."""

    stub: Any
    version: str
    shown: list[str]
    """The lines that it asked the engine to show."""


@dataclass
class _State:
    """What the engine keeps about the resource."""

    id: str
    inputs: Any
    outputs: Any
    failed: bool


class _Engine(engine_pb2_grpc.EngineServicer):
    def __init__(self, shown: list[str]) -> None:
        self._shown = shown

    def Log(self, request: Any, context: Any) -> empty_pb2.Empty:  # noqa: N802 -- the protocol's
        if request.severity != engine_pb2.DEBUG:
            self._shown.append(request.message)
        return empty_pb2.Empty()


@contextmanager
def started(executable: Path, environment: Mapping[str, str]) -> Iterator[Plugin]:
    """The plugin, configured with its defaults."""
    shown: list[str] = []
    server = grpc.server(ThreadPoolExecutor(max_workers=4))
    engine_pb2_grpc.add_EngineServicer_to_server(_Engine(shown), server)
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    process = subprocess.Popen(
        [executable, address], stdout=subprocess.PIPE, text=True, env=dict(environment)
    )
    try:
        assert process.stdout
        port = process.stdout.readline().strip()
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            stub = provider_pb2_grpc.ResourceProviderStub(channel)
            yield Plugin(stub, _configure(stub, address), shown)
    finally:
        process.terminate()
        process.wait(PATIENCE)
        server.stop(None)


def _configure(stub: Any, address: str) -> str:
    try:
        stub.Handshake(provider_pb2.ProviderHandshakeRequest(engine_address=address))
    except grpc.RpcError as error:
        if error.code() != grpc.StatusCode.UNIMPLEMENTED:
            raise
    stub.Configure(
        provider_pb2.ConfigureRequest(
            acceptSecrets=True, sends_old_inputs=True, sends_old_inputs_to_delete=True
        )
    )
    return str(stub.GetPluginInfo(empty_pb2.Empty()).version)


@dataclass
class Run:
    """One scenario under way."""

    plugin: Plugin
    scenario: Scenario
    words: Mapping[str, Any]
    records: list[Record] = field(default_factory=list)
    _state: _State | None = None
    _hurry: float = 0

    def play(self) -> list[Record]:
        """Takes all steps; returns requests and answers, without what differs from run to run."""
        for step in self.scenario.steps:
            ((kind, value),) = step.items()
            getattr(self, f"_{kind}")(filled(value, self.words))
        return [normalised(record, self.words) for record in self.records]

    def _up(self, inputs: Any, *, preview: bool = False) -> None:
        old = self._state
        checked = self._check(old, inputs)
        if checked is None:
            return
        if old is None:
            self._create(checked, preview=preview)
            return
        diff = self._call(
            "Diff",
            id=old.id,
            olds=old.outputs,
            old_inputs=old.inputs,
            news=checked,
        )
        assert diff is not None, "no plugin fails to compare"
        if diff.replaces:
            self._replace(old, inputs, first=diff.deleteBeforeReplace, preview=preview)
        elif diff.changes == diff.DIFF_SOME or old.failed:
            self._update(old, checked, preview=preview)

    def _preview(self, inputs: Any) -> None:
        self._up(inputs, preview=True)

    def _made(self, inputs: Any) -> None:
        """An `up` whose answers differ from run to run; only the calls and failures do not."""
        before = len(self.records)
        self._up(inputs)
        for record in self.records[before:]:
            if "answered" in record:
                record["answered"] = "either way"

    def _hurried(self, inputs: Any) -> None:
        self._hurry = 1.0
        self._up(inputs)

    def _refresh(self, _: Any) -> None:
        old = self._state
        assert old
        answer = self._call("Read", id=old.id, inputs=old.inputs, properties=old.outputs)
        if answer is not None:
            found = _State(answer.id, answer.inputs, answer.properties, old.failed)
            self._state = found if answer.id else None

    def _destroy(self, _: Any) -> None:
        old = self._state
        assert old
        if self._call("Delete", id=old.id, properties=old.outputs, old_inputs=old.inputs):
            self._state = None

    def _run(self, command: str) -> None:
        """Something that happens outside the plugin; its output is part of the transcript."""
        done = subprocess.run(
            ["/bin/sh", "-ec", command], capture_output=True, text=True, timeout=PATIENCE
        )
        assert done.returncode == 0, done.stderr
        self.records.append({"run": command, "printed": done.stdout.split("\n")[:-1]})

    def _invoke(self, arguments: Any) -> None:
        request = provider_pb2.InvokeRequest(tok=self.scenario.type, args=_struct(arguments))
        self._note("Invoke", request, self.plugin.stub.Invoke)

    def _check(self, old: _State | None, inputs: Any) -> Any:
        olds = old.inputs if old else struct_pb2.Struct()
        answer = self._call("Check", olds=olds, news=_struct(inputs), randomSeed=b"seed")
        return None if answer.failures else answer.inputs

    def _create(self, checked: Any, *, preview: bool) -> None:
        answer = self._call("Create", properties=checked, preview=preview, timeout=self._hurry)
        if answer and not preview:
            failed = isinstance(answer, provider_pb2.ErrorResourceInitFailed)
            self._state = _State(answer.id, checked, answer.properties, failed)

    def _update(self, old: _State, checked: Any, *, preview: bool) -> None:
        answer = self._call(
            "Update",
            id=old.id,
            olds=old.outputs,
            old_inputs=old.inputs,
            news=checked,
            preview=preview,
        )
        if answer and not preview:
            failed = isinstance(answer, provider_pb2.ErrorResourceInitFailed)
            self._state = _State(old.id, checked, answer.properties, failed)

    def _replace(self, old: _State, inputs: Any, *, first: bool, preview: bool) -> None:
        # As the engine does: a replacement is checked without the old inputs.
        checked = self._check(None, inputs)
        if first and not preview:
            self._destroy(None)
            if self._state:
                return
        self._create(checked, preview=preview)
        if not first and not preview:
            self._call("Delete", id=old.id, properties=old.outputs, old_inputs=old.inputs)

    def _call(self, rpc: str, **arguments: Any) -> Any:
        urn = URN.format(type=self.scenario.type)
        request = getattr(provider_pb2, f"{rpc}Request")(
            urn=urn, name="thing", type=self.scenario.type, **arguments
        )
        return self._note(rpc, request, getattr(self.plugin.stub, rpc))

    def _note(self, rpc: str, request: Any, method: Any) -> Any:
        self.plugin.shown.clear()
        asked = _plain(request)
        try:
            answer = method(request, timeout=PATIENCE)
        except grpc.RpcError as error:
            partial = _partial_failure(error)
            record = {"failed": error.details(), **({"left": _plain(partial)} if partial else {})}
            self.records.append({"call": rpc, "asked": asked, **record})
            return partial
        # Two threads show two streams, in any order.
        shown = {"shown": sorted(self.plugin.shown)} if self.plugin.shown else {}
        self.records.append({"call": rpc, "asked": asked, "answered": _plain(answer), **shown})
        return answer


def _partial_failure(error: Any) -> Any:
    """The resource that exists although creating or changing it failed."""
    packed = dict(error.trailing_metadata() or ()).get("grpc-status-details-bin")
    if packed is None:
        return None
    for detail in status_pb2.Status.FromString(packed).details:
        left = provider_pb2.ErrorResourceInitFailed()
        if detail.Unpack(left):
            return left
    return None


def _struct(values: Any) -> struct_pb2.Struct:
    return ParseDict(values, struct_pb2.Struct())


def _plain(message: Any) -> Any:
    return MessageToDict(message, preserving_proto_field_name=True)


def filled(value: Any, words: Mapping[str, Any]) -> Any:
    """The value with each `{word}` replaced; one that stands alone keeps its type."""
    if isinstance(value, dict):
        return {key: filled(item, words) for key, item in value.items()}
    if isinstance(value, list):
        return [filled(item, words) for item in value]
    if not isinstance(value, str):
        return value
    if value[1:-1] in words and value == f"{{{value[1:-1]}}}":
        return words[value[1:-1]]
    return re.sub(r"\{(\w+)\}", lambda m: str(words.get(m[1], m[0])), value)


FIRST_CHOSEN_PORT = 32768
# Sets, which each plugin gives in an order of its own.
UNORDERED = frozenset(
    {
        *("diffs", "replaces", "stables"),
        *("dnsOpts", "envs", "hosts", "labels", "networkDatas", "pullTriggers"),
        *("uploads", "volumes"),
    }
)
PATTERNS: Sequence[tuple[re.Pattern[str], str]] = (
    (re.compile(r"^04da6b54-80e4-46f7-96ec-b56ff0331ba9$"), "<unknown>"),
    (re.compile(r"\b[0-9a-f]{64}\b"), "<id>"),
    (re.compile(r"^[0-9a-f]{12}$"), "<short id>"),
    (re.compile(r"\bthing[0-9a-f]{8}\b"), "thing<id>"),
    (re.compile(r"\bthing-[0-9a-f]{7}\b"), "thing-<random>"),
    (re.compile(r"\b172\.\d+\.\d+\.\d+"), "<address>"),
    (re.compile(r"\b([0-9a-f]{2}:){5}[0-9a-f]{2}\b"), "<mac>"),
    (re.compile(r"^/\S*/volumes/"), "<docker>/volumes/"),
)


def normalised(value: Any, words: Mapping[str, Any]) -> Any:
    """The value without what differs from run to run, and without nulls, which mean absent."""
    if isinstance(value, dict):
        return {
            key: _part(key, normalised(item, words))
            for key, item in sorted(value.items())
            if item is not None
        }
    if isinstance(value, list):
        return [normalised(item, words) for item in value]
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    for word, meant in words.items():
        if value == meant and type(value) is type(meant):
            return f"{{{word}}}"
    if not isinstance(value, str):
        return value
    for word, meant in words.items():
        value = value.replace(str(meant), f"{{{word}}}")
    for pattern, placeholder in PATTERNS:
        value = pattern.sub(placeholder, value)
    return value


def _part(key: str, value: Any) -> Any:
    if key == "external" and isinstance(value, int) and value >= FIRST_CHOSEN_PORT:
        return "<a port that Docker chose>"
    if key.startswith("__"):
        return "..."  # private data that a plugin keeps in the state
    if key == "repoDigest" and (value == "" or "@sha256:" in value):
        return "<as Docker has it>"  # containerd's image store gives every image one
    if key in UNORDERED and isinstance(value, list):
        return sorted(value, key=json.dumps)
    return value
