"""The secret keys of a stack: user names and passwords, each set with `pulumi config set --secret`.

None of them is ever shown. A value that is still encrypted (`{secure: ...}`, as in a stack file)
reads as empty text.
"""

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from plan.problems import text
from plan.settings.checks import Checks

# What `pulumi config set --secret --path` writes into a stack file instead of a value.
ENCRYPTED_KEY = "secure"
CREDENTIALS = "credentials"
# For clients of the caches; for Harbor's API; for nodes that pull from Harbor.
CACHE_LOGIN = "cacheLogin"
HARBOR_ADMIN = "harborAdmin"
HARBOR_LOGIN = "harborLogin"
LOGINS = (CACHE_LOGIN, HARBOR_ADMIN, HARBOR_LOGIN)
SECRET_KEYS = (CREDENTIALS, *LOGINS)
# The keys of each of them.
NAMES = ("username", "password")
# bcrypt, which the registry's password file requires, ignores the rest.
MOST_PASSWORD_BYTES = 72
# The file has one line per user, and lines that start with # are comments.
_USER_NAME = re.compile(r"[^\s:#][^\s:]*")
# Half of a surrogate pair: JSON can contain it, UTF-8 can't.
_HALF = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, kw_only=True)
class Credentials:
    """User name and password (or token); both empty if they are still encrypted."""

    username: str
    password: str = field(repr=False)

    @property
    def is_encrypted(self) -> bool:
        """Whether they were read from a stack file without its passphrase."""
        return not self.password


def is_absent(value: object) -> bool:
    """Whether one of SECRET_KEYS is empty: `pulumi config rm` leaves empty mappings behind."""
    if isinstance(value, Mapping):
        return all(isinstance(item, Mapping) and is_absent(item) for item in value.values())
    return value is None


def parse_credentials(
    check: Checks, value: object, hosts: list[str]
) -> tuple[tuple[str, Credentials], ...]:
    """(Host, credentials) of the key `credentials`; `hosts` are the stack's upstreams."""
    if is_absent(value) or is_encrypted(value):
        return ()
    if not isinstance(value, Mapping):
        run = set_secret("docker.io", "username")
        fix = f"remove it, and run: {run} (then the same for password)"
        check.hidden(CREDENTIALS, "a secret mapping of hosts to user names and passwords", fix)
        return ()
    return tuple(
        (text(host), credentials)
        for host, item in value.items()
        if not is_absent(item)
        and (credentials := _of_host(check, text(host), item, hosts)) is not None
    )


def parse_login(check: Checks, key: str, value: object) -> Credentials | None:
    """One of LOGINS; None if it is absent."""
    if is_absent(value):
        return None
    if is_encrypted(value):
        return Credentials(username="", password="")
    if not isinstance(value, Mapping):
        fix = f"remove it, and run: {set_login(key, 'username')} (then the same for password)"
        check.hidden(key, "a secret mapping with username and password", fix)
        return None
    return _pair(check, key, value, key, {name: set_login(key, name) for name in NAMES})


def refuse_unusable_login(check: Checks, login: Credentials | None) -> None:
    """Refuse what a cache's password file can't contain."""
    if login is None:
        return
    if login.username and not _USER_NAME.fullmatch(login.username):
        rule = (
            "no colon, no white space and no # at the start (rules of the registry's password file)"
        )
        check.hidden(f"{CACHE_LOGIN}.username", rule, "choose another user name")
    if len(login.password.encode()) > MOST_PASSWORD_BYTES:
        rule = f"at most {MOST_PASSWORD_BYTES} bytes, the limit of bcrypt"
        check.hidden(f"{CACHE_LOGIN}.password", rule, "choose a shorter password")


def set_secret(host: str, key: str) -> str:
    """The command that sets it; it prompts for the value, so the shell's history has no trace."""
    return f"pulumi config set --secret --path 'credentials[\"{host}\"].{key}'"


def set_login(login: str, key: str) -> str:
    """The same for a key of LOGINS."""
    return f"pulumi config set --secret --path '{login}.{key}'"


def is_encrypted(value: object) -> bool:
    """Whether it is what the engine writes into a stack file instead of a secret."""
    return isinstance(value, Mapping) and set(value) == {ENCRYPTED_KEY}


def _of_host(check: Checks, host: str, value: object, hosts: list[str]) -> Credentials | None:
    path = f"{CREDENTIALS}.{host}"
    if hosts and host not in hosts:
        near = difflib.get_close_matches(host, hosts, n=1, cutoff=0.75)
        fix = f"did you mean {near[0]}?" if near else "add the upstream, or remove its credentials"
        check.add(path, host, "an upstream of this stack", fix)
    commands = {name: set_secret(host, name) for name in NAMES}
    if not isinstance(value, Mapping):
        fix = f"run: {commands['username']} (then the same for password)"
        check.hidden(path, "a mapping with username and password", fix)
        return None
    return _pair(check, path, value, f"{CREDENTIALS}.<host>", commands)


def _pair(
    check: Checks, path: str, value: object, group: str, commands: Mapping[str, str]
) -> Credentials:
    pair = check.mapping(path, value, group)
    username, password = (
        _secret_text(check, f"{group}.{name}", f"{path}.{name}", pair.get(name), commands[name])
        for name in NAMES
    )
    return Credentials(username=username, password=password)


def _secret_text(check: Checks, key: str, path: str, value: object, command: str) -> str:
    if isinstance(value, str) and value and not _HALF.search(value):
        return value
    if not is_encrypted(value):
        report = check.missing if value in (None, "") else check.hidden
        report(path, check.key(key).rule, f"run: {command}")
    return ""
