"""Asks an upstream as its cache would: the same trust, the same proxy, the same redirects."""

import functools
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass

import httpx

from ops.registry import answers, tokens
from ops.registry.verdicts import (
    Question,
)
from ops.tls import contexts
from plan.network import is_used

# For each step: to connect, and between two bytes.
TIMEOUT_SECONDS = 5
# Of an answer; words of errors and tokens are far shorter.
ANSWER_BYTES = 256 * 1024
_SILENT = (httpx.codes.FORBIDDEN, httpx.codes.NOT_FOUND, httpx.codes.METHOD_NOT_ALLOWED)
# What may stand before a page: a byte order mark as well.
BLANKS = " \t\r\n\f\ufeff"


class Way:
    """How far a question has come, for whoever waits for it.

    Attributes:
        url: that is asked now; empty before the first.
        is_connected: whether somebody has taken the connection, be it a proxy.
    """

    def __init__(self) -> None:
        self.url = ""
        self.is_connected = False
        self._since = time.monotonic()

    def begin(self, url: str) -> None:
        """The next request is this one's."""
        self.url = url
        self._since = time.monotonic()

    def is_silent(self, seconds: float) -> bool:
        """Whether the request under way has waited so long; several slow ones are a slow line."""
        return self.is_connected and time.monotonic() - self._since >= seconds

    def heard(self, event: str, _: Mapping[str, object]) -> None:
        """For the extension `trace` of a request: connections are kept for the next one."""
        if event.endswith(".connect_tcp.started"):
            self.is_connected = False
        elif event.endswith(".connect_tcp.complete"):
            self.is_connected = True


def client_for(question: Question, way: Way) -> httpx.Client:
    """A client that asks as the upstream's cache would."""
    return httpx.Client(
        transport=Transport(question, way),
        trust_env=False,
        timeout=TIMEOUT_SECONDS,
        follow_redirects=True,
        headers=answers.IDENTITY,
        event_hooks={"response": [functools.partial(answers.cut, most=ANSWER_BYTES)]},
    )


def context(ca_pem: str) -> ssl.SSLContext:
    """Trust as the registry has it: the public authorities, and these certificates.

    Raises:
        ValueError: there are no certificates in it.
    """
    try:
        return contexts.public_trust(ca_pem)
    except ssl.SSLError as error:
        raise ValueError(f"no certificates in PEM: {error.reason}") from error


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What an upstream has answered, as far as it is looked at."""

    method: str
    status: int
    headers: httpx.Headers
    text: str
    url: str

    @property
    def challenges(self) -> dict[str, dict[str, str]]:
        """How to log in, as in `tokens`."""
        return tokens.challenges(self.headers)

    @property
    def is_page(self) -> bool:
        """Whether it is made for people who look at it; no registry's answer is.

        Its media type does not tell: many a web framework calls everything a page, and so Quay the
        `true` that it answers at `/v2/`. Nothing else is there where the method is HEAD.
        """
        if self.challenges or "Docker-Distribution-Api-Version" in self.headers:
            return False
        if self.method == "HEAD":
            return str(self.headers.get("Content-Type", "")).startswith("text/html")
        return self.text.lstrip(BLANKS).startswith("<")

    @property
    def is_silent(self) -> bool:
        """Whether a cache goes on after this at `/v2/`: there it looks for a login only at 401.

        There are upstreams that serve images and nothing else, such as a web server with files.
        """
        return self.status in _SILENT and not self.is_page


class Transport(httpx.BaseTransport):
    """Asks through the proxy whom a cache would ask through it, redirects included."""

    def __init__(self, question: Question, way: Way | None = None) -> None:
        self._way = way or Way()
        trusted = context(question.ca_pem)
        self._no_proxy = question.no_proxy
        self._direct = httpx.HTTPTransport(verify=trusted, trust_env=False)
        self._proxied = self._direct
        if question.proxy_url:
            to_proxy = trusted if question.proxy_url.startswith("https://") else None
            proxy = httpx.Proxy(question.proxy_url, ssl_context=to_proxy)
            self._proxied = httpx.HTTPTransport(verify=trusted, trust_env=False, proxy=proxy)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Pass it on to whoever it is to go through."""
        self._way.begin(str(request.url))
        request.extensions = {**request.extensions, "trace": self._way.heard}
        try:
            proxied = is_used(str(request.url), self._no_proxy)
        except ValueError as error:  # where a redirect leads
            raise httpx.UnsupportedProtocol(str(error)) from error
        try:
            return (self._proxied if proxied else self._direct).handle_request(request)
        except UnicodeError as error:  # a name that can't be one
            raise httpx.UnsupportedProtocol(f"{request.url.host!r} is no name: {error}") from error

    def close(self) -> None:
        """Close the connections."""
        self._direct.close()
        self._proxied.close()


def get(
    client: httpx.Client,
    url: str,
    *,
    method: str = "GET",
    auth: httpx.Auth | None = None,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """One request, redirects followed."""
    answer = client.request(method, url, auth=auth or httpx.USE_CLIENT_DEFAULT, headers=headers)
    text = answer.content.decode(errors="replace")
    return Answer(
        method=method,
        status=answer.status_code,
        headers=answer.headers,
        text=text,
        url=str(answer.url),
    )
