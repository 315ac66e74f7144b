"""The stack's configuration with its secrets, for the commands that have to log in somewhere."""

import json
from collections.abc import Collection

from ops.engine import cli
from ops.stack import stack_files
from plan.settings.credentials import CREDENTIALS, SECRET_KEYS, Credentials, is_encrypted
from plan.settings.stack import Settings, decode, parse


def settings_of(stack: str, *, upstreams: Collection[str] = (), logins: bool = True) -> Settings:
    """The settings that `stack_files.check` returns, decrypted if any of these secrets is needed.

    Args:
        stack: its name.
        upstreams: hosts whose credentials are needed; usually only the caches use them.
        logins: whether those for the caches and for Harbor are needed.

    Raises:
        OpsError: the engine can't decrypt them; with its message.
        SettingsError: with every mistake.
    """
    checked = stack_files.check(stack)
    raw = stack_files.read(stack_files.path_of(stack))
    needed = [checked.credentials_for(host) for host in upstreams]
    needed += _logins(checked) if logins else ()
    # If they are encrypted as a whole, it is not visible whose they are.
    whole = upstreams and is_encrypted(raw.get(CREDENTIALS))
    if not whole and not any(login and login.is_encrypted for login in needed):
        return checked
    entries = json.loads(cli.output(stack, "config", "--show-secrets", "--json"))
    prefix = f"{stack_files.PROJECT}:"
    decrypted = {
        key.removeprefix(prefix): entry["value"]
        for key, entry in entries.items()
        if key.removeprefix(prefix) in SECRET_KEYS and "value" in entry
    }
    return parse({**raw, **decode(decrypted)}, stack)


def _logins(settings: Settings) -> tuple[Credentials | None, ...]:
    harbor = settings.harbor
    of_harbor = (harbor.admin, harbor.login) if harbor else ()
    return (settings.cache_login, *of_harbor)
