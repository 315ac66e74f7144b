"""The stack's configuration with its secrets, for the commands that have to say who they are."""

import json
from collections.abc import Collection

from ops.engine import cli
from ops.stack import stack_files
from plan.settings.credentials import CREDENTIALS, SECRET_KEYS, Credentials, is_encrypted
from plan.settings.stack import Settings, decode, parse


def settings_of(stack: str, *, upstreams: Collection[str] = (), logins: bool = True) -> Settings:
    """What `stack_files.check` gives, with every secret decrypted if one is that is needed.

    Args:
        stack: its name.
        upstreams: hosts whose credentials are needed, which only caches show to them.
        logins: whether those of the caches and of Harbor are.

    Raises:
        OpsError: the engine can't decrypt them, with what it said.
        SettingsError: with every mistake.
    """
    checked = stack_files.check(stack)
    raw = stack_files.read(stack_files.path_of(stack))
    needed = [checked.credentials_for(host) for host in upstreams]
    needed += _logins(checked) if logins else ()
    # Whose they are is not to be seen where they are encrypted as one.
    whole = upstreams and is_encrypted(raw.get(CREDENTIALS))
    if not whole and not any(login and login.is_encrypted for login in needed):
        return checked
    shown = json.loads(cli.output(stack, "config", "--show-secrets", "--json"))
    prefix = f"{stack_files.PROJECT}:"
    opened = {
        key.removeprefix(prefix): entry["value"]
        for key, entry in shown.items()
        if key.removeprefix(prefix) in SECRET_KEYS and "value" in entry
    }
    return parse({**raw, **decode(opened)}, stack)


def _logins(settings: Settings) -> tuple[Credentials | None, ...]:
    harbor = settings.harbor
    of_harbor = (harbor.admin, harbor.login) if harbor else ()
    return (settings.cache_login, *of_harbor)
