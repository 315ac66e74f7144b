"""A recording engine: runs a program under Pulumi's mocks and keeps every registration it gets.

The mocks that ship with the SDK record types, names and inputs. The options are in the requests of
the resource monitor, so this one records there, secrets included.
"""

import asyncio
import concurrent.futures
import logging
from dataclasses import dataclass, field

import grpc
import pulumi
from google.protobuf.json_format import MessageToDict
from pulumi.runtime import mocks, settings
from pulumi.runtime.rpc import _special_secret_sig, _special_sig_key
from pulumi.runtime.stack import run_in_stack, wait_for_rpcs

from stack_state import READ_STATE

IMAGE_ID = "sha256:" + "1" * 64
GATEWAY = "172.18.0.1"

SET = "talos-cache:index:CacheSet"
CACHE = "talos-cache:index:PullThroughCache"
CLUSTER = "talos-cache:index:TalosCluster"
HARBOR = "talos-cache:index:HarborProjects"
COMMAND = "command:local:Command"
IMAGE = "docker:index/remoteImage:RemoteImage"
VOLUME = "docker:index/volume:Volume"
CONTAINER = "docker:index/container:Container"
NETWORK = "docker:index/getNetwork:getNetwork"

# A failed program leaves outputs that nobody awaits; asyncio would print each one's traceback.
logging.getLogger("asyncio").setLevel(logging.CRITICAL)


@dataclass
class Registered:
    """One resource as the engine would see it; secrets in `inputs` are `Secret`."""

    typ: str
    name: str
    inputs: dict
    parent: str
    retain_on_delete: bool
    delete_before_replace: bool
    ignore_changes: list
    depends_on: list
    create_timeout: str
    urn: str


@dataclass(frozen=True)
class Secret:
    """A value that the program has marked as secret."""

    value: object


class ProviderError(grpc.RpcError):
    """What the SDK gets when a provider refuses a call."""

    def code(self):
        return grpc.StatusCode.UNKNOWN

    def details(self):
        return str(self)


@dataclass
class Record:
    """What a program did."""

    resources: list = field(default_factory=list)
    outputs: dict = field(default_factory=dict)
    calls: list = field(default_factory=list)
    warnings: list = field(default_factory=list)
    asked_for_state: list = field(default_factory=list)

    def of(self, typ):
        return [resource for resource in self.resources if resource.typ == typ]

    def one(self, typ, name=None):
        found = [resource for resource in self.of(typ) if name in (None, resource.name)]
        assert len(found) == 1, f"{len(found)} resources of type {typ} and name {name}"
        return found[0]

    @property
    def exports(self):
        return next(out for urn, out in self.outputs.items() if "::pulumi:pulumi:Stack::" in urn)


class Mocks(mocks.Mocks):
    """Answers of Docker's provider, and of the engine itself."""

    def __init__(self, record, network, state):
        self.record = record
        self.network = network
        self.state = state

    def new_resource(self, args):
        computed = {"imageId": IMAGE_ID} if args.typ == IMAGE else {}
        # An id is there in previews too: what did not change is known there.
        return f"{args.name}-id", {**args.inputs, **computed}

    def call(self, args):
        if args.token == READ_STATE:
            self.record.asked_for_state.append(args.args)
            state = self.state.pop(0) if isinstance(self.state, list) else self.state
            if isinstance(state, Exception):
                raise state
            return {"outputs": state}
        self.record.calls.append((args.token, args.args))
        if isinstance(self.network, Exception):
            raise self.network
        return self.network


class Monitor(mocks.MockMonitor):
    """Records what the mocks are not told: options, secrets and outputs."""

    def __init__(self, record, answers):
        super().__init__(answers)
        self.record = record

    def RegisterResource(self, request):  # noqa: N802 - gRPC's name
        answer = super().RegisterResource(request)
        if request.type != "pulumi:pulumi:Stack":
            self.record.resources.append(
                Registered(
                    typ=request.type,
                    name=request.name,
                    inputs=_marked(MessageToDict(request.object)),
                    parent=request.parent,
                    retain_on_delete=request.retainOnDelete,
                    delete_before_replace=request.deleteBeforeReplace,
                    ignore_changes=list(request.ignoreChanges),
                    depends_on=list(request.dependencies),
                    create_timeout=request.customTimeouts.create,
                    urn=answer.urn,
                )
            )
        return answer

    def RegisterResourceOutputs(self, request):  # noqa: N802 - gRPC's name
        self.record.outputs[request.urn] = _marked(MessageToDict(request.outputs))
        return super().RegisterResourceOutputs(request)


class _Warnings(logging.Handler):
    def __init__(self, record):
        super().__init__(logging.WARNING)
        self.record = record

    def emit(self, record):
        self.record.warnings.append(record.getMessage())


def network(*gateways):
    """What the provider says of Docker's default bridge."""
    configs = [{"gateway": gateway, "subnet": "172.18.0.0/16"} for gateway in gateways]
    return {"id": "n", "name": "bridge", "driver": "bridge", "ipamConfigs": configs}


def run(
    program,
    *,
    preview=False,
    stack="mine",
    config=None,
    secret_keys=(),
    bridge=None,
    state=None,
    organization=None,
):
    """Run a program to its end, with all that it does in `apply`.

    Its exceptions come through; the attribute `record` has what was registered before.

    Args:
        program: a function without arguments.
        preview: whether this is a preview.
        stack: name of the stack.
        config: the stack's configuration, values as the engine hands them over.
        secret_keys: those of its keys that are stored as secrets.
        bridge: what getNetwork answers, or the exception that it raises.
        state: URN -> type and outputs of what the state holds already, or the engine's exception;
            a list of these for one look after the other.
        organization: where state is kept by a service that has some.
    """
    record = Record()
    loops = []
    logger = logging.Logger("pulumi-of-a-test")
    logger.addHandler(_Warnings(record))
    answers = Mocks(record, network(GATEWAY) if bridge is None else bridge, state or {})

    async def whole_run():
        # Pulumi's mocks make a loop for each thread that has none, and never close it.
        threads = concurrent.futures.ThreadPoolExecutor(initializer=_own_loop, initargs=(loops,))
        asyncio.get_running_loop().set_default_executor(threads)
        # One loop for all of it. What a run that failed has left behind is not waited for.
        settings.SETTINGS.rpc_manager.clear()
        settings.SETTINGS.outputs.clear()
        mocks.set_mocks(
            answers,
            project="talos-cache",
            stack=stack,
            organization=organization,
            preview=preview,
            logger=logger,
            monitor=Monitor(record, answers),
        )
        pulumi.runtime.set_all_config(config or {}, list(secret_keys))
        # set_mocks makes a stack resource, run_in_stack the one that a program really gets.
        await wait_for_rpcs()
        record.outputs.clear()
        settings.set_root_resource(None)
        await run_in_stack(program)

    try:
        asyncio.run(whole_run())
    except Exception as error:
        error.record = record
        raise
    finally:
        for loop in loops:
            loop.close()
    return record


def _own_loop(loops):
    loops.append(asyncio.new_event_loop())
    asyncio.set_event_loop(loops[-1])


def _marked(value):
    if isinstance(value, list):
        return [_marked(item) for item in value]
    if not isinstance(value, dict):
        return value
    if value.get(_special_sig_key) == _special_secret_sig:
        return Secret(_marked(value["value"]))
    return {key: _marked(item) for key, item in value.items()}
