"""Runs the engine's CLI, as the set-up put it on PATH."""

import json
import os
import shutil
import signal
import subprocess
from typing import Any

from ops import state_folder
from ops.errors import OpsError
from ops.stack_files import ROOT
from toolchain.environment import backend

SET_UP = 'Set this shell up: eval "$(make -s setup)"'


def run(*arguments: str) -> int:
    """Run `pulumi` with the user's terminal; returns its exit status.

    The terminal sends Ctrl-C to it too, and it then ends in order, which takes its time. So from
    before it starts until it has ended, Ctrl-C does nothing here; `pulumi` would inherit that if
    the signal were ignored, but not a handler.
    """
    before = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        return subprocess.run([_program(), *arguments], cwd=ROOT).returncode
    finally:
        signal.signal(signal.SIGINT, before)


def output(*arguments: str) -> str:
    """What a `pulumi` command prints.

    Raises:
        OpsError: it fails; with what it said.
    """
    done = subprocess.run(
        [_program(), *arguments, "--non-interactive"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip()
        raise OpsError(f"pulumi {' '.join(arguments)} failed: {said}")
    return done.stdout


def _program() -> str:
    """The engine's CLI.

    Raises:
        OpsError: it is not there; or nobody has said where state is kept.
    """
    if (program := shutil.which("pulumi")) is None:
        raise OpsError(f"pulumi is not on PATH. {SET_UP}")
    if not backend() and "PULUMI_ACCESS_TOKEN" not in os.environ:
        raise OpsError(f"this shell does not say where state is kept. {SET_UP}")
    return program


def select(stack: str) -> None:
    """Make the stack where state is kept, if it is not there yet."""
    state_folder.mend()
    state_folder.refuse_damaged(stack)
    output("stack", "select", "--create", "--stack", stack)


def deployment(stack: str) -> dict[str, Any]:
    """The stack's state: `resources` and, after an interruption, `pending_operations`."""
    exported: dict[str, Any] = json.loads(output("stack", "export", "--stack", stack))
    state: dict[str, Any] = exported.get("deployment") or {}
    return state


def stack_outputs(stack: str) -> dict[str, Any]:
    """What the stack exported last; no secrets are decrypted."""
    outputs: dict[str, Any] = json.loads(output("stack", "output", "--json", "--stack", stack))
    return outputs
