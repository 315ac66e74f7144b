"""Docker: used if it answers; if it does not, installed and started when run as root."""

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

from host import docker_endpoint
from host.console import say
from host.docker_endpoint import (
    Endpoint,
    NoAnswerError,
    NobodyListensError,
    NotAllowedError,
    SlowError,
)
from host.errors import SetupError
from host.locks import only_one
from host.paths import LOGS, WORK, user_cache
from toolchain import debian, node_runtime
from toolchain.files import write_if_different
from toolchain.steps import progress

# Purposes for which people may use a dockerd too; the others are for tests.
SHARED = ("use", "demo")
STARTED = WORK / "dockerd.json"
START_SECONDS = 90
STOP_SECONDS = 60
# systemd may start Docker only on the first request, and the machine may be busy.
SLOW_SECONDS = 60


def choose() -> Endpoint:
    """Choose the Docker that this process, and everything that it starts, uses.

    Raises:
        SetupError: the user has chosen one that does not answer. Only the default one is ever
            started here.
    """
    endpoint = docker_endpoint.chosen()
    if endpoint.source:
        say(f"Docker: {endpoint}")
        try:
            _version(endpoint)
        except NoAnswerError as error:
            raise SetupError(
                f"{error}. Start it, or choose another (docker context use NAME, DOCKER_HOST). "
                f"This project starts only the Docker at {docker_endpoint.DEFAULT_SOCKET}, and "
                "only if no other is chosen."
            ) from error
    for name, value in endpoint.environment.items():
        os.environ.pop(name, None)
        if value:
            os.environ[name] = value
    return endpoint


def ensure(endpoint: Endpoint, purpose: str = "use") -> str:
    """Make sure that Docker answers; returns one phrase that says which Docker it is.

    Args:
        endpoint: where it is.
        purpose: what a dockerd started here is for; only `stop_if_ours` with the same purpose
            stops it. "use" takes over one that was started for something shorter-lived.
            One for "talos" can run privileged nodes on any machine.

    Raises:
        SetupError: it does not answer and can't be started from here, or it can't do what
            "talos" needs; says what to do.
    """
    try:
        version = _version(endpoint)
    except NobodyListensError:
        if endpoint.source:
            raise
        # Another checkout may be starting it at this very moment.
        with only_one(user_cache() / "locks" / "dockerd.lock"):
            try:
                version = _version(endpoint)
            except NobodyListensError:
                _start(endpoint, purpose)
                version = _version(endpoint)
    else:
        if purpose == "talos" and node_runtime.capability_missing():
            _require_node_runtime(endpoint)
        elif purpose == "use" and (pid := _running_pid()):
            _record(pid, purpose)
    ensure_client()
    by_us = ", started by this project" if _running_pid() else ""
    return f"Docker {version} at {endpoint.url}{by_us}"


def stop_if_ours(purpose: str) -> None:
    """Stop the dockerd that `ensure` started for this purpose, and no other.

    Another checkout may use it too, which is not recorded here: only its containers show it. What
    tests leave running is not in use, and the next tests may need a dockerd of another kind.
    """
    pid = _running_pid()
    if pid is None or _recorded().get("purpose") != purpose:
        return
    if purpose in SHARED and (running := _containers_running()):
        say(
            f"dockerd (process {pid}), which this project started, is left running: containers "
            f"run in it ({running})"
        )
        return
    STARTED.unlink()
    say("stopping the dockerd that this project started")
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_SECONDS
    with progress("waiting for dockerd to end"):
        while Path(f"/proc/{pid}").exists() and not _is_zombie(pid):
            if time.monotonic() > deadline:
                raise SetupError(f"dockerd (process {pid}) did not end in {STOP_SECONDS} s")
            time.sleep(0.1)


def files_in_use() -> tuple[Path, ...]:
    """The record and the logs of a dockerd that was started here; none if none runs."""
    return () if _running_pid() is None else (STARTED, LOGS)


def _version(endpoint: Endpoint) -> str:
    """The version of the Docker that answers, waiting for a slow one.

    Raises:
        NoAnswerError: it does not answer.
        SetupError: it is too slow, or this user may not use it; says what to do.
    """
    try:
        try:
            return docker_endpoint.ask(endpoint, "/version", "Version")
        except SlowError as error:
            say(f"{error}: waiting up to {SLOW_SECONDS:g} s more")
            return docker_endpoint.ask(endpoint, "/version", "Version", seconds=SLOW_SECONDS)
    except SlowError as error:
        raise SetupError(
            f"{error}. It hangs, or this machine is overloaded: look at its log (sudo journalctl "
            "-u docker), restart it (sudo systemctl restart docker, or Docker Desktop), or choose "
            "another (docker context use NAME, DOCKER_HOST)"
        ) from error
    except NotAllowedError as error:
        raise SetupError(
            f"{error}. The socket exists, but this user may not use it: join its group (sudo "
            "usermod -aG docker $USER), log in again, then run this again. Anyone in that group "
            "can become root on this machine"
        ) from error


def _containers_running() -> int:
    """How many containers run in the Docker that is started here; 0 if it does not answer."""
    default = Endpoint(url=f"unix://{docker_endpoint.DEFAULT_SOCKET}")
    try:
        return int(docker_endpoint.ask(default, "/info", "ContainersRunning", seconds=SLOW_SECONDS))
    except NoAnswerError:
        return 0


def _require_node_runtime(endpoint: Endpoint) -> None:
    if docker_endpoint.ask(endpoint, "/info", "DefaultRuntime") != node_runtime.RUNTIME:
        how = "the way it was started: this checkout did not start it"
        if _running_pid() is not None:
            how = f"python3 -m toolchain stop-docker --for {_recorded().get('purpose')}"
        raise SetupError(
            f"the Docker at {endpoint} can't run Talos nodes: this machine does not have "
            f"{node_runtime.CAPABILITY}, so dockerd must be started with a runtime that drops it, "
            f"and this one was not. Stop it ({how}), then run this again."
        )


def _start(endpoint: Endpoint, purpose: str) -> None:
    path = endpoint.socket_path
    if os.geteuid() != 0:
        raise SetupError(
            f"Docker does not answer at {path}. Start it (sudo systemctl start docker, or Docker "
            "Desktop), or point DOCKER_HOST at it. Run as root, this installs and starts it."
        )
    if shutil.which("dockerd") is None:
        debian.install(("docker.io",), f"Docker does not answer at {path} and is not installed")
    say(f"Docker does not answer at {path}: starting dockerd")
    LOGS.mkdir(parents=True, exist_ok=True)
    log = LOGS / "dockerd.log"
    wrapped = purpose == "talos" and node_runtime.capability_missing()
    options = node_runtime.dockerd_options() if wrapped else []
    with log.open("w") as output:
        daemon = subprocess.Popen(
            ["dockerd", "--host", f"unix://{path}", *options],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    _record(daemon.pid, purpose)
    deadline = time.monotonic() + START_SECONDS
    with progress("waiting for dockerd"):
        while not _answers(endpoint):
            if daemon.poll() is not None or time.monotonic() > deadline:
                end = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
                raise SetupError(f"dockerd did not come up (log: {log}):\n{end}")
            time.sleep(0.1)


def _answers(endpoint: Endpoint) -> bool:
    try:
        docker_endpoint.ask(endpoint, "/version", "Version")
    except NoAnswerError:
        return False
    return True


def _record(pid: int, purpose: str) -> None:
    record = {"pid": pid, "started": _started(pid), "purpose": purpose}
    write_if_different(STARTED, json.dumps(record))


def ensure_client() -> None:
    """Install the command `docker` if it is missing."""
    if shutil.which("docker") is None:
        debian.install(("docker.io",), "the command 'docker' is missing")


def _running_pid() -> int | None:
    """The dockerd that we started, if it still runs (a number alone may be reused)."""
    record = _recorded()
    pid, started = record.get("pid"), record.get("started")
    return pid if pid and started is not None and _started(pid) == started else None


def _recorded() -> dict[str, Any]:
    """The record of the dockerd that we started; empty if it can't be read."""
    try:
        record = json.loads(STARTED.read_text())
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def _started(pid: int) -> str | None:
    """Start time of a process in clock ticks since boot, field 22 of /proc/PID/stat."""
    fields = _stat(pid)
    return fields[19] if fields else None


def _is_zombie(pid: int) -> bool:
    fields = _stat(pid)
    return bool(fields) and fields[0] == "Z"


def _stat(pid: int) -> list[str]:
    """The fields after the command's name, which may contain blanks and brackets itself."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
