"""What a shell needs so that plain `pulumi` works in it."""

import json
import os
import shlex

from toolchain.paths import BIN, STATE, private_folder, pulumi_home
from toolchain.secrets_store import passphrase_file


def exports(stack: str) -> dict[str, str]:
    """Environment variables for a stack; empty text: unset it; PATH: only what goes in front."""
    variables = {"PULUMI_CONFIG_PASSPHRASE_FILE": str(passphrase_file(stack))}
    if str(BIN) not in os.environ.get("PATH", "").split(os.pathsep):
        variables["PATH"] = str(BIN)
    if "PULUMI_CONFIG_PASSPHRASE" in os.environ:
        variables["PULUMI_CONFIG_PASSPHRASE"] = ""  # it would win over the file
    if not backend():
        variables["PULUMI_BACKEND_URL"] = f"file://{private_folder(STATE)}"
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


def backend() -> str:
    """URL of the place for state that the user has chosen, empty where there is none."""
    if chosen := os.environ.get("PULUMI_BACKEND_URL"):
        return chosen
    try:
        credentials = json.loads((pulumi_home() / "credentials.json").read_text())
        return str(credentials.get("current") or "")
    except (OSError, ValueError, AttributeError):
        return ""
