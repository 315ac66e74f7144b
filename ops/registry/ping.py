"""Checks whether a registry answers at all: `GET /v2/`."""

import base64
import http.client
from urllib.parse import urlsplit

from ops import waiting
from ops.tls.contexts import unverified_tls
from plan.network import address_of
from plan.settings.credentials import Credentials

POLL_SECONDS = 0.05
REQUEST_TIMEOUT_SECONDS = 5


def wait_for_answer(endpoint: str, seconds: float, login: Credentials | None = None) -> str | None:
    """Wait until the registry answers; returns None, or the last reason why it did not."""
    return waiting.until(
        lambda why: not why,
        lambda: failure(endpoint, login),
        seconds=seconds,
        pause=POLL_SECONDS,
    )


def failure(endpoint: str, login: Credentials | None = None) -> str | None:
    """Why `GET /v2/` at this endpoint is not answered as a registry does; None if it is.

    The environment's proxies are ignored on purpose: the endpoint is on this machine.

    Args:
        endpoint: URL.
        login: what the registry must accept; without one, it may require one.
    """
    try:
        code = status(endpoint, REQUEST_TIMEOUT_SECONDS, login)
    except (OSError, http.client.HTTPException) as error:
        return str(error) or type(error).__name__
    good = (http.client.OK,) if login else (http.client.OK, http.client.UNAUTHORIZED)
    return None if code in good else f"it answers with status {code}"


def status(endpoint: str, seconds: float, login: Credentials | None = None) -> int:
    """The HTTP status of `GET /v2/`, without proxies.

    Args:
        endpoint: URL; its path is ignored. Certificates are not checked: they would only prove
            whose the server is, and a login is only sent to caches on this machine.
        seconds: how long connecting may take, and then answering.
        login: sent along, if given.

    Raises:
        OSError, http.client.HTTPException: there is no answer, or it is not a web server's.
        ValueError: the endpoint is not an http or https URL.
    """
    host, port = address_of(endpoint)
    if urlsplit(endpoint).scheme == "https":
        connection: http.client.HTTPConnection = http.client.HTTPSConnection(
            host, port, timeout=seconds, context=unverified_tls()
        )
    else:
        connection = http.client.HTTPConnection(host, port, timeout=seconds)
    try:
        connection.request("GET", "/v2/", headers=_authorization(login))
        return connection.getresponse().status
    finally:
        connection.close()


def _authorization(login: Credentials | None) -> dict[str, str]:
    if login is None:
        return {}
    pair = f"{login.username}:{login.password}".encode()
    return {"Authorization": f"Basic {base64.b64encode(pair).decode()}"}
