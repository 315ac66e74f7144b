"""The way to Docker: one connection for all calls, and Docker's errors in words that help."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from host import docker_endpoint, docker_tls
from host.docker_endpoint import Endpoint
from host.errors import SetupError
from toolchain.fallback_plugins.protocol.server import CALLS_AT_ONCE, PluginError
from toolchain.fallback_plugins.protocol.values import Values

# Longer than any single answer of Docker should take, a slow pull's next line included.
ANSWER_SECONDS = 600


class DockerHost:
    """The Docker daemon of the provider option `host`, or of DOCKER_HOST, or the usual one."""

    def __init__(self) -> None:
        self._address: str | None = None
        self._api: Any = None
        self._lock = threading.Lock()

    def configure(self, config: Values) -> None:
        """Takes the provider options; fails if Docker does not answer, as the official one does."""
        self._address = config.get("host") or None
        self.connect()

    def connect(self) -> Any:
        """The client for Docker's API; one for all threads."""
        with self._lock:
            if self._api is None:
                self._api = _connect(self._address)
            return self._api


@contextmanager
def explained(failed: str) -> Iterator[None]:
    """Turns Docker's errors into one line that begins with what `failed`."""
    from docker.errors import APIError, DockerException
    from requests.exceptions import RequestException

    try:
        yield
    except APIError as error:
        raise PluginError(f"{failed}: {_words(error)}") from error
    except (DockerException, RequestException) as error:
        raise PluginError(f"{failed}: Docker does not answer any more ({error})") from error


def absent(error: Exception) -> bool:
    """Whether Docker says that what was asked for does not exist."""
    from docker.errors import NotFound

    return isinstance(error, NotFound)


def status_of(error: Exception) -> int | None:
    """The HTTP status of Docker's error, if it is one of Docker's."""
    return getattr(getattr(error, "response", None), "status_code", None)


def _words(error: Any) -> str:
    return " ".join(str(error.explanation or error).split())


def _connect(address: str | None) -> Any:
    import docker
    from docker.errors import DockerException
    from requests.exceptions import RequestException

    try:
        # Like the official provider it knows no contexts.
        where = Endpoint(url=address) if address else docker_endpoint.without_context()
        return docker.APIClient(
            where.url,
            tls=docker_tls.config(where),
            version="auto",
            timeout=ANSWER_SECONDS,
            max_pool_size=CALLS_AT_ONCE,
        )
    except SetupError as error:
        raise PluginError(str(error)) from error
    except (DockerException, RequestException) as error:
        raise PluginError(
            f"Docker can't be reached at {where.url}. Start it (`systemctl start docker`, or "
            "`dockerd` as root where there is no systemd), or set DOCKER_HOST to where it runs."
        ) from error


def or_none(action: Any) -> Any:
    """What the action gives; None if what it is about does not exist."""
    try:
        return action()
    except Exception as error:
        if not absent(error):
            raise
        return None
