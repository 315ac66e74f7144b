"""The connection to Docker, one for all calls, and Docker's errors as messages that help."""

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
    """The Docker daemon of the provider option `host`, or of DOCKER_HOST, or the default one."""

    def __init__(self) -> None:
        self._address: str | None = None
        self._api: Any = None
        self._lock = threading.Lock()

    def configure(self, config: Values) -> None:
        """Take the provider options; like the official plugin, fail if Docker does not answer."""
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
    """Turn Docker's errors into one line that begins with `failed`, which says what did."""
    from docker.errors import APIError, DockerException
    from requests.exceptions import RequestException

    try:
        yield
    except APIError as error:
        raise PluginError(f"{failed}: {_one_line(error)}") from error
    except (DockerException, RequestException) as error:
        raise PluginError(f"{failed}: Docker no longer answers ({error})") from error


def absent(error: Exception) -> bool:
    """Whether Docker reports that the object does not exist."""
    from docker.errors import NotFound

    return isinstance(error, NotFound)


def status_of(error: Exception) -> int | None:
    """The HTTP status of Docker's error, if it is one of Docker's."""
    return getattr(getattr(error, "response", None), "status_code", None)


def _one_line(error: Any) -> str:
    return " ".join(str(error.explanation or error).split())


def _connect(address: str | None) -> Any:
    import docker
    from docker.errors import DockerException
    from requests.exceptions import RequestException

    try:
        # Like the official provider, it ignores Docker contexts.
        endpoint = Endpoint(url=address) if address else docker_endpoint.without_context()
        return docker.APIClient(
            endpoint.url,
            tls=docker_tls.config(endpoint),
            version="auto",
            timeout=ANSWER_SECONDS,
            max_pool_size=CALLS_AT_ONCE,
        )
    except SetupError as error:
        raise PluginError(str(error)) from error
    except (DockerException, RequestException) as error:
        raise PluginError(
            f"Docker can't be reached at {endpoint.url}. Start it (`systemctl start docker`, or "
            "`dockerd` as root if there is no systemd), or point DOCKER_HOST at it."
        ) from error


def or_none(action: Any) -> Any:
    """The action's result; None if Docker reports that the object does not exist."""
    try:
        return action()
    except Exception as error:
        if not absent(error):
            raise
        return None
