"""What all stand-ins share: one gRPC server, the plugin protocol's start and end, and errors.

The protocol: the plugin listens on a free port of the loopback interface and prints that port as
its first line. The engine ends it by a signal, or by dying.
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

OFFICIAL_HINT = "install the official plugin for it"
# The engine makes as many resources at once as it can; each call waits for Docker, not for the
# processor.
CALLS_AT_ONCE = 32
# A killed engine sends no signal, so its plugins have to look for themselves whether it is there.
PARENT_CHECK_SECONDS = 0.5

Rpc = TypeVar("Rpc", bound=Callable[..., Any])
Servicer = TypeVar("Servicer")


class PluginError(TalosCacheError):
    """Something went wrong that the user can understand: shown as it is, without a traceback."""

    details: Message | None = None
    """More about it, for the engine."""


def not_implemented(what: str) -> str:
    """The one wording for everything that a stand-in leaves to the official plugin."""
    return f"the stand-in plugin does not implement {what}; {OFFICIAL_HINT}"


def abort(context: Any, message: str, code: Any = None, details: Message | None = None) -> NoReturn:
    """Ends this call with `message`."""
    code = code or grpc.StatusCode.FAILED_PRECONDITION
    if details is not None:
        status = status_pb2.Status(code=code.value[0], message=message)
        status.details.add().Pack(details)
        packed = ("grpc-status-details-bin", status.SerializeToString())
        context.set_trailing_metadata((packed,))
    context.abort(code, message)
    raise AssertionError("grpc's abort always raises")


def answering(method: Rpc) -> Rpc:
    """Makes an RPC method report its errors in the engine's way.

    A `PluginError` is shown as it is. Anything else is a defect of the stand-in: one line for the
    user, the traceback on stderr, which the engine keeps for its debug log.
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
                f"defect in the stand-in plugin: {method.__name__}: {error!r}",
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
    """Gives a servicer methods that say, each by its name, that they are not implemented."""

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
    """Serves until a signal comes or the engine is gone, then calls `on_stop` and ends the process.

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
    """Ends at once: the usual end would wait for calls whose caller is gone."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)
