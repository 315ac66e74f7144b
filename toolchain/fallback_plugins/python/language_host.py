"""The fallback for Pulumi's Python language host: describes a program to the engine and runs it.

The program runs in a child process (`program.py`), with the interpreter of the project's virtual
environment, and gets its configuration through a pipe: any user could read a secret in argv.
"""

# ruff: noqa: N802 -- the RPCs have the protocol's names

import json
import signal
import subprocess
import sys
import sysconfig
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, TypeVar, cast

from google.protobuf import empty_pb2  # type: ignore[import-untyped]
from pulumi.runtime.proto import language_pb2, language_pb2_grpc, plugin_pb2

from toolchain.fallback_plugins.protocol.server import (
    PluginError,
    answering,
    answering_stream,
    not_implemented,
    refusing,
    serve,
)
from toolchain.fallback_plugins.python.program import EXIT_REPORTED

PROGRAM_RUNNER = Path(__file__).with_name("program.py")
Dependency = TypeVar("Dependency")
OPTIONS = frozenset({"virtualenv", "toolchain"})
# How long an interrupted program may take to end, as with the official language host.
END_SECONDS = 5


@refusing(
    *("Template", "RunPlugin", "GenerateProgram", "GenerateProject", "GeneratePackage"),
    *("Pack", "Link"),
)
class LanguageHost(language_pb2_grpc.LanguageRuntimeServicer):
    """Serves the engine for programs in Python."""

    def __init__(self) -> None:
        self._programs: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()

    @answering
    def Handshake(
        self, request: language_pb2.LanguageHandshakeRequest, context: Any
    ) -> language_pb2.LanguageHandshakeResponse:
        """Say that this is a language host."""
        return language_pb2.LanguageHandshakeResponse()

    @answering
    def GetPluginInfo(self, request: empty_pb2.Empty, context: Any) -> plugin_pb2.PluginInfo:
        """Nothing: a fallback plugin has no version of its own."""
        return plugin_pb2.PluginInfo()

    @answering
    def GetRequiredPackages(
        self, request: language_pb2.GetRequiredPackagesRequest, context: Any
    ) -> language_pb2.GetRequiredPackagesResponse:
        """The plugins that the program's packages need, with their versions."""
        packages = _plugins(request.info, plugin_pb2.PackageDependency)
        return language_pb2.GetRequiredPackagesResponse(packages=packages)

    @answering
    def GetRequiredPlugins(
        self, request: language_pb2.GetRequiredPluginsRequest, context: Any
    ) -> language_pb2.GetRequiredPluginsResponse:
        """The same, as older engines ask for it."""
        plugins = _plugins(request.info, plugin_pb2.PluginDependency)
        return language_pb2.GetRequiredPluginsResponse(plugins=plugins)

    @answering
    def About(self, request: language_pb2.AboutRequest, context: Any) -> language_pb2.AboutResponse:
        """Which Python runs the program."""
        python = str(_interpreter(request.info))
        shown = subprocess.run([python, "--version"], capture_output=True, text=True, check=True)
        version = shown.stdout.removeprefix("Python ").strip()
        return language_pb2.AboutResponse(executable=python, version=version)

    @answering
    def GetProgramDependencies(
        self, request: language_pb2.GetProgramDependenciesRequest, context: Any
    ) -> language_pb2.GetProgramDependenciesResponse:
        """The packages of the program's environment."""
        packages = sorted(
            path.name.removesuffix(".dist-info").rpartition("-")
            for path in _site_packages(request.info).glob("*.dist-info")
        )
        dependencies = [
            language_pb2.DependencyInfo(name=name, version=version) for name, _, version in packages
        ]
        return language_pb2.GetProgramDependenciesResponse(dependencies=dependencies)

    @answering_stream
    def InstallDependencies(
        self, request: language_pb2.InstallDependenciesRequest, context: Any
    ) -> Iterator[language_pb2.InstallDependenciesResponse]:
        """Create the virtual environment if the project has one, and install requirements.txt."""
        virtualenv = _virtualenv(request.info)
        if virtualenv is not None and not virtualenv.exists():
            yield from _output_of([sys.executable, "-m", "venv", str(virtualenv)])
        requirements = Path(request.info.program_directory, "requirements.txt")
        if requirements.exists():
            python = str(_interpreter(request.info))
            yield from _output_of([python, "-m", "pip", "install", "-r", str(requirements)])

    @answering
    def RuntimeOptionsPrompts(
        self, request: language_pb2.RuntimeOptionsRequest, context: Any
    ) -> language_pb2.RuntimeOptionsResponse:
        """Nothing: `pulumi new` needs no prompts."""
        return language_pb2.RuntimeOptionsResponse()

    @answering
    def Run(self, request: language_pb2.RunRequest, context: Any) -> language_pb2.RunResponse:
        """Run the program until it ends."""
        if request.attach_debugger:
            raise PluginError(not_implemented("a debugger for the program"))
        _refuse_unknown_options(request.info)
        code = self._run_program(request)
        if code == EXIT_REPORTED:
            return language_pb2.RunResponse(bail=True)
        if code:
            return language_pb2.RunResponse(error=f"Program exited with code {code}")
        return language_pb2.RunResponse()

    @answering
    def Cancel(self, request: empty_pb2.Empty, context: Any) -> empty_pb2.Empty:
        """End the program, as the engine requests when a resource has failed."""
        self.stop()
        return empty_pb2.Empty()

    def stop(self) -> None:
        """End all running programs."""
        with self._lock:
            running = tuple(self._programs)
        for program in running:
            _interrupt(program)

    def _run_program(self, request: language_pb2.RunRequest) -> int:
        program = subprocess.Popen(
            [str(_interpreter(request.info)), "-u", str(PROGRAM_RUNNER)],
            stdin=subprocess.PIPE,
            cwd=request.info.program_directory,
        )
        with self._lock:
            self._programs.add(program)
        try:
            program.communicate(json.dumps(_job(request)).encode())
        finally:
            with self._lock:
                self._programs.discard(program)
        return program.returncode


def _interrupt(program: subprocess.Popen[bytes]) -> None:
    """Interrupt a program, and kill it if that takes too long, as the official one does."""
    program.send_signal(signal.SIGINT)  # does nothing if it has ended
    try:
        program.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        program.kill()


def _job(request: language_pb2.RunRequest) -> dict[str, Any]:
    """The input of `program.py`."""
    directory = Path(request.info.program_directory)
    entry = directory / request.info.entry_point
    return {
        "program": str(entry / "__main__.py" if entry.is_dir() else entry),
        "config": dict(request.config),
        "config_secret_keys": list(request.configSecretKeys),
        "settings": {
            "project": request.project,
            "stack": request.stack,
            "organization": request.organization or "organization",
            "monitor_address": request.monitor_address,
            # The argument that the engine passes to this host: the program's messages go there.
            "engine_address": sys.argv[-1] if len(sys.argv) > 1 else "",
            "parallel": request.parallel,
            "preview": request.dryRun,
        },
        "root_directory": request.info.root_directory,
    }


def _refuse_unknown_options(info: language_pb2.ProgramInfo) -> None:
    unknown = sorted(set(info.options.fields) - OPTIONS)
    if unknown:
        raise PluginError(not_implemented(f"the runtime option {unknown[0]!r} of Pulumi.yaml"))
    toolchain = info.options.fields["toolchain"].string_value if "toolchain" in info.options else ""
    if toolchain not in ("", "pip"):
        raise PluginError(not_implemented(f"the toolchain {toolchain!r} of Pulumi.yaml"))


def _virtualenv(info: language_pb2.ProgramInfo) -> Path | None:
    name = info.options.fields["virtualenv"].string_value if "virtualenv" in info.options else ""
    return Path(info.root_directory, name) if name else None


def _interpreter(info: language_pb2.ProgramInfo) -> Path:
    virtualenv = _virtualenv(info)
    if virtualenv is None:
        return Path(sys.executable)
    python = virtualenv / "bin" / "python"
    if not python.exists():
        raise PluginError(
            f"the virtual environment {virtualenv} of Pulumi.yaml does not exist or has no "
            "bin/python; run `make setup`, or `pulumi install`"
        )
    return python


def _site_packages(info: language_pb2.ProgramInfo) -> Path:
    virtualenv = _virtualenv(info)
    if virtualenv is None:
        return Path(sysconfig.get_path("purelib"))
    folders = sorted(virtualenv.glob("lib/python3*/site-packages"))
    return folders[-1] if folders else virtualenv


def _plugins(
    info: language_pb2.ProgramInfo, dependency: Callable[..., Dependency]
) -> list[Dependency]:
    """A dependency for each plugin that an installed package declares."""
    declarations = (
        json.loads(path.read_text())
        for path in sorted(_site_packages(info).glob("*/pulumi-plugin.json"))
    )
    return [
        dependency(name=about["name"], kind="resource", version=about["version"])
        for about in declarations
        if about.get("resource") and about.get("name") and about.get("version")
    ]


def _output_of(command: list[str]) -> Iterator[language_pb2.InstallDependenciesResponse]:
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        for line in cast(IO[bytes], process.stdout):
            yield language_pb2.InstallDependenciesResponse(stdout=line)
    if process.returncode:
        raise PluginError(f"{' '.join(command)} failed with code {process.returncode}")


def main() -> None:
    """Run as `pulumi-language-python`."""
    host = LanguageHost()
    serve(
        lambda server: language_pb2_grpc.add_LanguageRuntimeServicer_to_server(host, server),
        host.stop,
    )
