"""Static credentials from the user's own Docker configuration, as `docker login` leaves them there.

The `docker` package reads the entries. Its loader takes a damaged file for an empty one, and gives
a credential helper all the time it wants: the file and the helpers are this module's work.
"""

import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from docker import auth
from docker.errors import DockerException

from host.docker_endpoint import docker_folder
from ops.errors import OpsError
from plan.settings.credentials import Credentials
from plan.settings.stack import Settings
from plan.upstreams import DOCKER_IO_ALIASES

HELPER_SECONDS = 10
SHOWN_CHARACTERS = 300
# What every helper says, in its own case, when it has nothing for a host.
NOT_FOUND = "credentials not found"
# Begins the variables that a helper has no business with: passphrases are among them.
_OUR_OWN = ("PULUMI_", "TALOS_CACHE_")
_HELPER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def with_logins(settings: Settings, hosts: Collection[str] | None = None) -> Settings:
    """The settings with the credentials that some upstreams take from the user's Docker login.

    Args:
        settings: of the stack.
        hosts: of the upstreams whose credentials are needed; absent: of all.

    Raises:
        OpsError: there are none for one of them, or they can't be had.
    """
    asked = [
        upstream.host
        for upstream in settings.upstreams
        if upstream.from_docker and (hosts is None or upstream.host in hosts)
    ]
    if not asked or settings.offline:
        return settings
    found = tuple((host, _login(host)) for host in asked)
    return replace(settings, credentials=(*settings.credentials, *found))


def credentials_for(host: str) -> Credentials | None:
    """What `docker pull` would log in with at a registry; None where it has nothing for it.

    Args:
        host: upstream registry, as in an image reference.

    Raises:
        OpsError: the configuration can't be read, a helper is missing or fails, or what is there is
            an identity token, which distribution's proxy has no use for.
    """
    path = config_file()
    content = _content(path)
    if content is None:
        return None
    entries = _mapping(content, "auths", path)
    helpers = _mapping(content, "credHelpers", path)
    store = content.get("credsStore") or None
    # Only these: a damaged entry for another registry is nobody's concern here.
    entries = {key: entry for key, entry in entries.items() if _is_for(key, host) and entry}
    config = auth.AuthConfig({"credHelpers": helpers, "credsStore": store})
    name = config.get_credential_store(host)
    if name is not None:
        server = auth.INDEX_URL if host == auth.INDEX_NAME else host
        if found := _from_helper(name, server, path):
            return found
    return _from_entries(entries, host, path)


def config_file() -> Path:
    """Where Docker's command line keeps it."""
    return docker_folder() / "config.json"


def _login(host: str) -> Credentials:
    if (login := credentials_for(host)) is None:
        raise OpsError(
            f"talos-cache:upstreams.{host}.credentialsFrom: {config_file()} has no login for "
            f"{host}. Log in with: docker login {host}"
        )
    return login


def _content(path: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise OpsError(f"{path} can't be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:  # the error quotes nothing of the file
        raise OpsError(f"{path} is not readable as JSON: mend it, or run docker login") from error
    if not isinstance(content, dict):
        raise OpsError(f"{path} holds no JSON object: mend it, or run docker login")
    return content


def _mapping(content: Mapping[str, Any], key: str, path: Path) -> dict[str, Any]:
    value = content.get(key)
    if value is not None and not isinstance(value, dict):
        raise OpsError(f"{path}: {key!r} is no JSON object: mend it, or run docker login")
    return value or {}


def _is_for(key: str, host: str) -> bool:
    """Whether an entry is for a registry: keys are hosts or URLs, docker.io has several names."""
    named = auth.convert_to_hostname(key)
    return named == host or (host == auth.INDEX_NAME and named in DOCKER_IO_ALIASES)


def _from_entries(entries: Mapping[str, Any], host: str, path: Path) -> Credentials | None:
    """From what stands in the file; the entry under the host's own name is the first choice."""
    ordered = sorted(entries.items(), key=lambda item: item[0] != host)
    try:
        parsed = auth.parse_auth(dict(ordered), raise_on_error=True)
    except (DockerException, ValueError, TypeError) as error:  # no base64, no colon, no text
        why = f"{path}: the entry for {host} is damaged: run docker login {host}"
        raise OpsError(why) from error
    for entry in parsed.values():
        if entry.get("IdentityToken"):
            raise _identity_token(host)
        if entry:
            return Credentials(username=entry["username"], password=entry["password"])
    return None


def _from_helper(name: Any, server: str, path: Path) -> Credentials | None:
    """From `docker-credential-NAME get`.

    Protocol: https://github.com/docker/docker-credential-helpers: the server on standard input, a
    JSON object or an error on standard output.
    """
    if not isinstance(name, str) or not _HELPER_NAME.fullmatch(name):
        raise OpsError(f"{path}: {name!r} is no name of a credential helper")
    program = f"docker-credential-{name}"
    status, printed, complained = _run(program, server, path)
    if status != 0 and NOT_FOUND in printed.lower():
        return None
    if status != 0:
        words = " ".join(f"{printed} {complained}".split())[:SHOWN_CHARACTERS]
        said = "what it says may hold a secret" if '"Secret"' in words else words or "silently"
        raise OpsError(f"{program} fails for {server} (exit status {status}): {said}")
    try:
        answer = json.loads(printed)
        username, password = answer["Username"], answer["Secret"]
    except (ValueError, KeyError, TypeError, RecursionError):
        answer = username = password = None
    if not isinstance(username, str) or not isinstance(password, str):
        # Without its cause, which would quote what was printed.
        raise OpsError(f"{program} answers for {server} with something else than credentials")
    if username == auth.TOKEN_USERNAME:
        raise _identity_token(server)
    return Credentials(username=username, password=password) if username or password else None


def _run(program: str, server: str, path: Path) -> tuple[int, str, str]:
    """Exit status, standard output and standard error."""
    found = shutil.which(program)
    if found is None:
        raise OpsError(f"{path} names the credential helper {program}, which is not on PATH")
    try:
        # In a session of its own, so that what it has started ends with it.
        helper = subprocess.Popen(
            [found, "get"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={key: value for key, value in os.environ.items() if not key.startswith(_OUR_OWN)},
            start_new_session=True,
        )
    except OSError as error:
        raise OpsError(f"{program} can't be started: {error.strerror}") from error
    try:
        printed, complained = helper.communicate(server.encode(), HELPER_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(helper.pid, signal.SIGKILL)
        helper.communicate()
        why = "does it wait for someone to unlock a keychain?"
        # Without its cause, which would hold what was printed so far.
        raise OpsError(f"{program} is not done within {HELPER_SECONDS} s: {why}") from None
    return helper.returncode, printed.decode(errors="replace"), complained.decode(errors="replace")


def _identity_token(server: str) -> OpsError:
    return OpsError(
        f"Docker has an identity token for {server}, which distribution's proxy can't log in with: "
        "make an access token there, and set it as the password (credentials in the stack)"
    )
