"""What a shell needs so that plain `pulumi` works in it."""

import os
import shlex
from dataclasses import dataclass

from host.console import say
from host.docker_endpoint import Endpoint
from host.passphrases import (
    ASIDE,
    PASSPHRASE_FILE,
    is_public,
    passphrase_file,
    tell_what_is_not_taken,
    users_own,
)
from host.paths import (
    BIN,
)
from host.pulumi_backend import backend, make_own_folder, state_url


@dataclass(frozen=True)
class Copy:
    """The value of another variable, which the shell itself copies: it may be a secret."""

    of: str


Variables = dict[str, str | Copy]


def exports(stack: str, docker: Endpoint) -> Variables:
    """Environment variables for a stack; empty text unsets one, PATH has what goes in front."""
    variables = {**_passphrase(stack), **docker.environment}
    if str(BIN) not in os.environ.get("PATH", "").split(os.pathsep):
        variables["PATH"] = str(BIN)
    make_own_folder()  # also in a shell of an earlier set-up, whose state has been lost since
    if not backend():
        variables["PULUMI_BACKEND_URL"] = state_url()
    return variables


def _passphrase(stack: str) -> Variables:
    """The user's own choice, in this shell or set aside for a public stack's; else a file."""
    chosen = users_own()
    aside = [name for name, place in ASIDE.items() if place in os.environ and not chosen]
    if is_public(stack):
        if chosen:
            say(f"the stack {stack} has a public passphrase; yours is kept for stacks of your own")
        return {
            **(_moved(chosen, ASIDE) if chosen else {}),
            **_unset(*ASIDE),
            PASSPHRASE_FILE: str(passphrase_file(stack)),
        }
    if chosen or aside:
        say(f"using your own {' and '.join(chosen or aside)} for the stack {stack}")
    if chosen:
        return _unset(*ASIDE.values())
    if aside:
        back = {place: name for name, place in ASIDE.items()}
        return {**_moved([ASIDE[name] for name in aside], back), **_unset(*ASIDE.values())}
    tell_what_is_not_taken()
    return {PASSPHRASE_FILE: str(passphrase_file(stack))}


def _moved(names: list[str], places: dict[str, str]) -> Variables:
    """Copy these variables to their places; empty the other places."""
    copies: Variables = {places[name]: Copy(name) for name in names}
    return {**_unset(*places.values()), **copies}


def _unset(*names: str) -> Variables:
    return {name: "" for name in names if name in os.environ}


def shell_lines(variables: Variables) -> str:
    """The same as lines for a POSIX shell."""
    return "\n".join(_line(name, value) for name, value in variables.items())


def _line(name: str, value: str | Copy) -> str:
    if not value:
        return f"unset {name}"
    if isinstance(value, Copy):
        return f'export {name}="${value.of}"'
    if name == "PATH":
        return f'export PATH={shlex.quote(value)}:"$PATH"'
    return f"export {name}={shlex.quote(value)}"
