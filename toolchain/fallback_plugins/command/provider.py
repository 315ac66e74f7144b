"""The fallback for Pulumi's `command` plugin: `command:local:Command`.

Surprising behaviour of the official plugin, which is the same here:
- changed inputs run `update`, or `create` again if there is none; `triggers` that are added or
  removed replace the resource, and so do changed ones, but by an option that the SDK sets
  (`replace_on_changes`): the plugin itself reports their parts as changed in place;
- `update` and `delete` get the previous run's output as `PULUMI_COMMAND_STDOUT` and `_STDERR`;
- `stdin` and `environment` stay secret in the state if they came as secrets, but `stdout` and
  `stderr` do not become secret because an input is: a program must ask for that
  (`additional_secret_outputs`);
- nothing is read back: what the command created can vanish without a diff;
- a command that is cancelled or times out is killed, but not its child processes; it counts as
  running until the last of them has closed its output.
"""

import json
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from secrets import token_hex
from typing import IO, Any, ClassVar

import grpc
from pulumi.runtime.proto import engine_pb2, engine_pb2_grpc, provider_pb2_grpc

from toolchain.fallback_plugins.protocol.provider import Provider
from toolchain.fallback_plugins.protocol.resource import (
    Made,
    Resource,
    Target,
    plain_change,
)
from toolchain.fallback_plugins.protocol.schema import (
    ANYTHING,
    Change,
    Field,
    flag,
    many,
    mapping,
    text,
)
from toolchain.fallback_plugins.protocol.server import PluginError, serve
from toolchain.fallback_plugins.protocol.values import UNKNOWN, Value, Values, holds_unknown

DEFAULT_INTERPRETER = ["/bin/sh", "-c"]
ID_HEX_BYTES = 4
LOGGED: Mapping[str, tuple[str, ...]] = {
    "stdoutAndStderr": ("stdout", "stderr"),
    "stdout": ("stdout",),
    "stderr": ("stderr",),
}


class EngineLog:
    """Shows a command's output in the engine's progress display, as the official plugin does."""

    def __init__(self) -> None:
        self._address = ""
        self._stub: Any = None
        self._lock = threading.Lock()

    def connect(self, address: str) -> None:
        """Remember the engine's address."""
        self._address = address

    def show(self, urn: str, line: str) -> None:
        """Show one line of progress; a line that can't be shown is no reason to fail."""
        request = engine_pb2.LogRequest(
            severity=engine_pb2.INFO, message=line, urn=urn, ephemeral=True
        )
        with suppress(grpc.RpcError):
            self._engine().Log(request)

    def _engine(self) -> Any:
        with self._lock:
            if self._stub is None:
                self._stub = engine_pb2_grpc.EngineStub(grpc.insecure_channel(self._address))
            return self._stub


class Commands:
    """Runs commands, and can kill them all."""

    def __init__(self, show: Callable[[str, str], None]) -> None:
        """`show` gets a resource's URN and a line that its command printed."""
        self._show = show
        self._running: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()
        self._stopped = False

    def run(self, target: Target, command: str, settings: Values, previous: Values) -> Values:
        """Run `command`; returns its output, raises an error if it fails."""
        process = self._start(command, settings, previous)
        # The official plugin drops fractions of a second.
        timer = threading.Timer(int(target.timeout), process.kill)
        if target.timeout:
            timer.start()
        try:
            printed = self._follow(target.urn, process, settings)
        finally:
            timer.cancel()
            with self._lock:
                self._running.discard(process)
        if process.returncode:
            raise PluginError(_failure(_status(process.returncode), command, printed["both"]))
        return {name: printed[name].removesuffix("\n") for name in ("stdout", "stderr")}

    def kill_all(self) -> None:
        """Kill everything that runs; nothing starts after that."""
        with self._lock:
            self._stopped = True
            for process in self._running:
                process.kill()

    def _start(self, command: str, settings: Values, previous: Values) -> subprocess.Popen[bytes]:
        with self._lock:
            if self._stopped:
                raise PluginError("cancelled before the command could start")
            try:
                process = subprocess.Popen(
                    [*(settings.get("interpreter") or DEFAULT_INTERPRETER), command],
                    cwd=settings.get("dir"),
                    env=_environment(settings, previous),
                    stdin=subprocess.PIPE if settings.get("stdin") else subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                )
            except OSError as error:
                raise PluginError(_failure(_not_started(error, settings), command, "")) from error
            self._running.add(process)
            return process

    def _follow(
        self, urn: str, process: subprocess.Popen[bytes], settings: Values
    ) -> dict[str, str]:
        """Feed and read the process until it ends; returns stdout, stderr, and both in order."""
        printed: dict[str, list[bytes]] = {"stdout": [], "stderr": [], "both": []}
        logged = LOGGED.get(settings.get("logging", "stdoutAndStderr"), ())

        def collect(name: str, stream: IO[bytes]) -> None:
            for line in stream:
                printed[name].append(line)
                printed["both"].append(line)
                if name in logged:
                    self._show(urn, line.decode(errors="replace").rstrip("\r\n"))

        readers = [
            threading.Thread(target=collect, args=(name, getattr(process, name)), daemon=True)
            for name in ("stdout", "stderr")
        ]
        for reader in readers:
            reader.start()
        _feed(process, settings.get("stdin") or "")
        for reader in readers:
            reader.join()
        process.wait()
        return {name: b"".join(lines).decode(errors="replace") for name, lines in printed.items()}


class Command(Resource):
    """A shell command whose runs follow a resource's life."""

    type_name = "command:local:Command"
    fields: ClassVar[Mapping[str, Field]] = {
        "create": text(in_place=True),
        "update": text(in_place=True),
        "delete": text(in_place=True),
        "environment": mapping(in_place=True),
        "stdin": text(in_place=True),
        "dir": text(in_place=True),
        "interpreter": many(text(), in_place=True),
        "logging": text(in_place=True),
        "addPreviousOutputInEnv": flag(default=True, in_place=True),
        "triggers": many(ANYTHING),
    }

    def __init__(self, commands: Commands) -> None:
        self._commands = commands

    def changes(self, state: Values, old: Values, new: Values) -> Mapping[str, Change]:
        """Every difference, also in defaults and order; each part has its own path."""
        del state
        changes: dict[str, Change] = {}
        for key, spec in self.fields.items():
            for path, before, after in _differences(key, old.get(key), new.get(key)):
                replaces = path == key and not spec.in_place
                changes[path] = plain_change(before, after, replaces=replaces)
        return changes

    def planned(self, target: Target, inputs: Values) -> Made:
        """Nothing runs in a preview."""
        return Made(id=_new_id(target), state=self.planned_update({}, inputs))

    def planned_update(self, state: Values, inputs: Values) -> Values:
        """The command's output is not known in advance."""
        del state
        return {**inputs, "stdout": UNKNOWN, "stderr": UNKNOWN}

    def create(self, target: Target, inputs: Values) -> Made:
        """Run `create`, if there is one."""
        printed = {"stdout": "", "stderr": ""}
        if inputs.get("create") is not None:
            printed = self._commands.run(target, inputs["create"], inputs, {})
        return Made(id=_new_id(target), state={**inputs, **printed})

    def read(self, target: Target, state: Values) -> Made | None:
        """The state as it is: a command's effect can't be read back."""
        return Made(id=target.id, state=state)

    def update(self, target: Target, state: Values, inputs: Values) -> Values:
        """Run `update`, or `create` again if there is none."""
        printed = {name: state.get(name, "") for name in ("stdout", "stderr")}
        command = inputs.get("update", inputs.get("create"))
        if command is not None:
            printed = self._commands.run(target, command, inputs, state)
        return {**inputs, **printed}

    def delete(self, target: Target, state: Values) -> None:
        """Run `delete` as it was when the resource was last changed."""
        if state.get("delete") is not None:
            self._commands.run(target, state["delete"], state, state)


def _new_id(target: Target) -> str:
    return f"{target.name}{token_hex(ID_HEX_BYTES)}"


def _environment(settings: Values, previous: Values) -> dict[str, str]:
    environment = {**os.environ, **(settings.get("environment") or {})}
    if settings.get("addPreviousOutputInEnv") is not False:
        for name in ("stdout", "stderr"):
            if previous.get(name):
                environment[f"PULUMI_COMMAND_{name.upper()}"] = previous[name]
    return environment


def _feed(process: subprocess.Popen[bytes], stdin: str) -> None:
    """Write to stdin; a command that does not read all of it has not failed."""
    if process.stdin is None:
        return
    with suppress(BrokenPipeError):
        process.stdin.write(stdin.encode())
    with suppress(BrokenPipeError):
        process.stdin.close()


def _failure(status: str, command: str, printed: str) -> str:
    return f"{status}: running {json.dumps(command, ensure_ascii=False)}:\n{printed}"


def _status(code: int) -> str:
    if code > 0:
        return f"exit status {code}"
    return f"signal: {(signal.strsignal(-code) or str(-code)).lower()}"


def _not_started(error: OSError, settings: Values) -> str:
    what = "chdir" if error.filename == settings.get("dir") else "fork/exec"
    return f"{what} {error.filename}: {(error.strerror or str(error)).lower()}"


def _differences(path: str, old: Value, new: Value) -> Iterable[tuple[str, Value, Value]]:
    """The paths at which two values differ, as deep as both have the same shape."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted({*old, *new}):
            part = f".{key}" if key.isidentifier() else f"[{json.dumps(key)}]"
            yield from _differences(path + part, old.get(key), new.get(key))
    elif isinstance(old, list) and isinstance(new, list):
        for index in range(max(len(old), len(new))):
            before = old[index] if index < len(old) else None
            after = new[index] if index < len(new) else None
            yield from _differences(f"{path}[{index}]", before, after)
    elif old != new or holds_unknown(new):
        yield path, old, new


def main() -> None:
    """Run as `pulumi-resource-command`."""
    log = EngineLog()
    commands = Commands(log.show)
    provider = Provider(
        package="command",
        resources=[Command(commands)],
        cancel=commands.kill_all,
        engine=log.connect,
    )
    serve(lambda server: provider_pb2_grpc.add_ResourceProviderServicer_to_server(provider, server))
