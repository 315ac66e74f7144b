"""Static credentials from the user's own Docker configuration, as `docker login` leaves them there.

The `docker` package reads the file and runs credential helpers: docs/adr/0038 says what follows.
"""

import os
import warnings
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from docker import auth
from docker.errors import DockerException

from host.docker_endpoint import docker_folder
from ops.errors import OpsError
from plan import foreign_json
from plan.problems import cut
from plan.settings.credentials import Credentials
from plan.settings.stack import Settings
from plan.upstreams import DOCKER_IO_ALIASES

SHOWN_CHARACTERS = 300
# Variables that start like this are no concern of a helper: passphrases are among them.
_OUR_OWN = ("PULUMI_", "TALOS_CACHE_")


def with_logins(settings: Settings, hosts: Collection[str] | None = None) -> Settings:
    """The settings with the credentials that some upstreams take from the user's Docker login.

    Args:
        settings: of the stack.
        hosts: of the upstreams whose credentials are needed; absent: of all.

    Raises:
        OpsError: there are none for one of them, or they can't be read.
    """
    needed = [
        upstream.host
        for upstream in settings.upstreams
        if upstream.from_docker and (hosts is None or upstream.host in hosts)
    ]
    if not needed or settings.offline:
        return settings
    logins = tuple((host, _login(host)) for host in needed)
    return replace(settings, credentials=(*settings.credentials, *logins))


def credentials_for(host: str) -> Credentials | None:
    """What `docker pull` would log in with at a registry; None if it has nothing for it.

    Args:
        host: upstream registry, as in an image reference.

    Raises:
        OpsError: the configuration can't be read, a helper is missing or fails, or what is there is
            an identity token, which distribution's proxy can't use.
    """
    login = _resolved(host)
    if "IdentityToken" in login:
        raise OpsError(
            f"Docker has an identity token for {host}, which distribution's proxy can't log in "
            "with: create an access token there, and set it as the password (credentials in the "
            "stack)"
        )
    # From the file the keys are in lower case, from a helper they are not.
    by_key = {key.lower(): value for key, value in login.items()}
    if not by_key:
        return None
    return Credentials(username=by_key["username"], password=by_key["password"])


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


def _resolved(host: str) -> dict[str, str]:
    """The package's own entry for a registry, whatever its keys are; empty if there is none.

    No error has a cause: the package's quote what is in the file, or what a helper has printed.
    """
    path = config_file()
    environment = {name: "" for name in os.environ if name.startswith(_OUR_OWN)}
    names = (host, *sorted(DOCKER_IO_ALIASES)) if host == auth.INDEX_NAME else (host,)
    try:
        # The package treats a file that it can't read as an empty one, so it is given the content.
        content = foreign_json.read(path.read_text())
        config = auth.load_config(str(path), content, credstore_env=environment)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about a missing helper, which is an error too
            logins = (config.resolve_authconfig(name) for name in names)
            return next(filter(None, logins), {})
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise OpsError(f"{path} can't be read: {error.strerror}") from None
    except DockerException as error:
        said = " ".join(str(error.__cause__ or error).split())
        if '"Secret"' in said:
            said = "a credential helper fails, and what it prints may contain a secret"
        fix = f"repair it, or set credentials for {host} in the stack instead"
        raise OpsError(f"{path}: {cut(said, SHOWN_CHARACTERS)}: {fix}") from None
    except (ValueError, TypeError, LookupError, AttributeError):
        raise OpsError(
            f"{path}, or the answer of a credential helper that it names, is damaged: repair it, "
            f"or run docker login {host}"
        ) from None
