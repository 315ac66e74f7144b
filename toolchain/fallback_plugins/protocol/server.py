"""What all fallback plugins share: one gRPC server, starting and stopping, and errors.

The protocol: the plugin listens on a free port of the loopback interface and prints that port as
its first line. The engine stops it with a signal, or by ending itself.
"""

import functools
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import FrameType
from typing import Any, NoReturn, TypeVar, cast

import grpc
from google.protobuf.message import Message  # type: ignore[import-untyped]
from pulumi.runtime.proto import status_pb2

from host.errors import TalosCacheError

# The engine creates as many resources at once as it can; each call waits for Docker, not for the
# processor.
CALLS_AT_ONCE = 32
# A killed engine sends no signal, so its plugins check for themselves whether it still runs.
PARENT_CHECK_SECONDS = 0.5

Rpc = TypeVar("Rpc", bound=Callable[..., Any])
Servicer = TypeVar("Servicer")


class PluginError(TalosCacheError):
    """A failure that the user can understand: shown as it is, without a traceback."""

    details: Message | None = None
    """More about it, for the engine."""


def not_implemented(what: str) -> str:
    """The message for everything that only the official plugin implements."""
    return f"the fallback plugin does not implement {what}; install the official plugin for it"


def abort(context: Any, message: str, code: Any = None, details: Message | None = None) -> NoReturn:
    """Fail this call with `message`."""
    code = code or grpc.StatusCode.FAILED_PRECONDITION
    if details is not None:
        status = status_pb2.Status(code=code.value[0], message=message)
        status.details.add().Pack(details)
        packed = ("grpc-status-details-bin", status.SerializeToString())
        context.set_trailing_metadata((packed,))
    context.abort(code, message)
    raise AssertionError("grpc's abort always raises")


def answering(method: Rpc) -> Rpc:
    """Make an RPC method report its errors in the engine's way.

    A `PluginError` is shown as it is. Anything else is a bug in the plugin: one line for the user,
    the traceback on stderr, which the engine keeps for its debug log.
    """

    @functools.wraps(method)
    def guarded(self: Any, request: Any, context: Any) -> Any:
        try:
            return method(self, request, context)
        except PluginError as error:
            abort(context, str(error), details=error.details)
        except Exception as error:
            traceback.print_exc()
            abort(
                context,
                f"bug in the fallback plugin: {method.__name__}: {error!r}",
                grpc.StatusCode.INTERNAL,
            )

    return cast(Rpc, guarded)


def answering_stream(method: Rpc) -> Rpc:
    """`answering` for an RPC that sends several messages."""

    @functools.wraps(method)
    def guarded(self: Any, request: Any, context: Any) -> Iterator[Any]:
        try:
            yield from method(self, request, context)
        except PluginError as error:
            abort(context, str(error))

    return cast(Rpc, guarded)


def refusing(*rpcs: str) -> Callable[[type[Servicer]], type[Servicer]]:
    """Give a servicer methods that fail with a message that they are not implemented."""

    def refused(rpc: str) -> Any:
        def refuse(_self: Any, _request: Any, context: Any) -> NoReturn:
            abort(context, not_implemented(f"the call {rpc}"), grpc.StatusCode.UNIMPLEMENTED)

        return refuse

    def with_refusals(servicer: type[Servicer]) -> type[Servicer]:
        for rpc in rpcs:
            setattr(servicer, rpc, refused(rpc))
        return servicer

    return with_refusals


def serve(register: Callable[[Any], None], on_stop: Callable[[], None] = lambda: None) -> None:
    """Serve until a signal arrives or the engine is gone, then call `on_stop` and exit.

    `register` adds the servicer to the server.
    """
    stop = threading.Event()
    parent = os.getppid()
    _stop_on_signals(stop)
    server = grpc.server(
        ThreadPoolExecutor(max_workers=CALLS_AT_ONCE),
        options=[("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)],
    )
    register(server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(port, flush=True)
    while not stop.wait(PARENT_CHECK_SECONDS):
        if os.getppid() != parent:
            break
    on_stop()
    server.stop(grace=None)
    _exit()


def _stop_on_signals(stop: threading.Event) -> None:
    def handle(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, handle)


def _exit() -> NoReturn:
    """Exit at once: a normal exit would wait for calls whose caller is gone."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
