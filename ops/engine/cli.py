"""Runs the engine's CLI, as the set-up put it on PATH."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from host.installed import set_up_line
from host.paths import ROOT
from host.pulumi_backend import backend
from ops.engine import state_folder
from ops.errors import OpsError
from plan import failures

# The option for the event log, which the Automation API uses, is hidden behind this.
EVENT_LOG = {"PULUMI_DEBUG_COMMANDS": "true"}


def run(command: str, stack: str, *arguments: str, **variables: str) -> int:
    """Run `pulumi` with the user's terminal; returns its exit status.

    The engine shows its progress as usual. If it fails, the last lines are ours: taken from its
    event log, they say once what failed, and what to do.

    The terminal sends Ctrl-C to the engine too, which then ends in order; that takes a while. So
    from before it starts until it has ended, Ctrl-C does nothing here. A handler does that: an
    ignored signal would be inherited by `pulumi`.

    Args:
        command: what the user ran, as in `make up`.
        stack: its name.
        arguments: for `pulumi`.
        variables: for `make`, besides STACK.
    """
    interrupts: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: interrupts.append(number))
    try:
        # Private, and removed at the end: the log contains whatever plugins print.
        with tempfile.TemporaryDirectory() as folder:
            log = Path(folder) / "events"
            argv = [_program(stack), *arguments, "--stack", stack, "--event-log", str(log)]
            status = subprocess.run(argv, cwd=ROOT, env={**os.environ, **EVENT_LOG}).returncode
            if status != 0:
                settings = {"STACK": stack, **variables}.items()
                retry = " ".join(["make", command, *(f"{key}={value}" for key, value in settings)])
                interrupted = bool(interrupts)
                report = failures.report(command, retry, _events(log), interrupted=interrupted)
                print(f"\n{report}", file=sys.stderr)
        return status
    finally:
        signal.signal(signal.SIGINT, before)


def _events(log: Path) -> Iterator[dict[str, Any]]:
    """What the engine has logged; nothing if it did not get that far."""
    if not log.exists():
        return
    for line in log.read_text().splitlines():
        try:
            yield json.loads(line)
        except ValueError:  # a killed engine leaves half a line at the end
            return


def output(stack: str, *arguments: str) -> str:
    """What a `pulumi` command for a stack prints.

    Raises:
        OpsError: it fails; with its output.
    """
    done = subprocess.run(
        [_program(stack), *arguments, "--stack", stack, "--non-interactive"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    if done.returncode != 0:
        # Errors of resources are on standard output, all others on standard error.
        printed = "\n".join(part.strip() for part in (done.stdout, done.stderr) if part.strip())
        raise OpsError(f"pulumi {' '.join(arguments)} failed: {printed}")
    return done.stdout


def _program(stack: str) -> str:
    """The engine's CLI.

    Raises:
        OpsError: it is not on PATH, or the environment does not say where state is kept.
    """
    set_up = f"Set this shell up: {set_up_line(stack)}"
    if (program := shutil.which("pulumi")) is None:
        raise OpsError(f"pulumi is not on PATH. {set_up}")
    if not backend() and "PULUMI_ACCESS_TOKEN" not in os.environ:
        raise OpsError(f"this shell does not say where state is kept. {set_up}")
    return program


def select(stack: str) -> None:
    """Create the stack where state is kept, if it is not there yet."""
    state_folder.repair()
    state_folder.refuse_damaged(stack)
    output(stack, "stack", "select", "--create")


def deployment(stack: str) -> dict[str, Any]:
    """The stack's state: `resources` and, after an interruption, `pending_operations`."""
    exported: dict[str, Any] = json.loads(output(stack, "stack", "export"))
    state: dict[str, Any] = exported.get("deployment") or {}
    return state


def stack_outputs(stack: str) -> dict[str, Any]:
    """What the stack exported last; no secrets are decrypted."""
    outputs: dict[str, Any] = json.loads(output(stack, "stack", "output", "--json"))
    return outputs
