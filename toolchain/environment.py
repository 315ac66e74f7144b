"""What a shell needs so that plain `pulumi` works in it."""

import json
import os
import shlex
from pathlib import Path

from toolchain.docker_endpoint import Endpoint
from toolchain.paths import BIN, STATE, private_folder, pulumi_home
from toolchain.secrets_store import (
    PASSPHRASE,
    PASSPHRASE_FILE,
    passphrase_file,
    users_own,
)
from toolchain.steps import say


def exports(stack: str, docker: Endpoint) -> dict[str, str]:
    """Environment variables for a stack; empty text: unset it; PATH: only what goes in front."""
    variables = {**_passphrase(stack), **docker.environment}
    if str(BIN) not in os.environ.get("PATH", "").split(os.pathsep):
        variables["PATH"] = str(BIN)
    if state_url() == file_url(STATE):
        private_folder(STATE)  # also in a shell of an earlier set-up, whose state was lost since
    if not backend():
        variables["PULUMI_BACKEND_URL"] = state_url()
    return variables


def _passphrase(stack: str) -> dict[str, str]:
    """Nothing where the user has chosen one for this stack: that is in the environment already."""
    if chosen := users_own(stack):
        say(f"using your own {chosen} for the stack {stack}")
        return {}
    variables = {PASSPHRASE_FILE: str(passphrase_file(stack))}
    if PASSPHRASE in os.environ:
        variables[PASSPHRASE] = ""  # it would win over the file
    return variables


def shell_lines(variables: dict[str, str]) -> str:
    """The same as lines for a POSIX shell."""
    return "\n".join(_line(name, value) for name, value in variables.items())


def _line(name: str, value: str) -> str:
    if not value:
        return f"unset {name}"
    if name == "PATH":
        return f'export PATH={shlex.quote(value)}:"$PATH"'
    return f"export {name}={shlex.quote(value)}"


def file_url(folder: Path) -> str:
    """A folder for state, as the engine reads it: only what means something in a URL is escaped."""
    path = str(folder)
    for character in "%#?":  # the percent sign first
        path = path.replace(character, f"%{ord(character):02X}")
    return f"file://{path}"


def backend() -> str:
    """URL of the place for state that the user has chosen, empty where there is none."""
    if chosen := os.environ.get("PULUMI_BACKEND_URL"):
        return chosen
    try:
        credentials = json.loads((pulumi_home() / "credentials.json").read_text())
        return str(credentials.get("current") or "")
    except (OSError, ValueError, AttributeError):
        return ""


def state_url() -> str:
    """URL of the place where state is kept: the user's choice, else in this checkout."""
    return backend() or file_url(STATE)
