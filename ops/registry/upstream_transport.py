"""Asks an upstream as its cache would: the same trust, the same proxy, the same redirects."""

import functools
import ssl
from collections.abc import Mapping
from dataclasses import dataclass

import httpx

from ops.registry import answers, tokens
from ops.registry.verdicts import Question
from ops.tls import contexts
from plan.network import is_used

# For each step: to connect, and between two bytes. Without a login there are seconds for all steps
# together (`upstream_credentials.PATIENCE_SECONDS`).
LOGIN_STEP_SECONDS = 5
STEP_SECONDS = 2
# Of an answer; error messages and tokens are far shorter.
ANSWER_BYTES = 256 * 1024
_PASSED_OVER = (httpx.codes.FORBIDDEN, httpx.codes.NOT_FOUND, httpx.codes.METHOD_NOT_ALLOWED)
# What may be before a page: a byte order mark as well.
BLANKS = " \t\r\n\f\ufeff"


class Transport(httpx.BaseTransport):
    """Uses the proxy for the URLs for which a cache would use it, redirects included.

    Attributes:
        url: of the latest request; None before the first.
        is_proxied: whether the proxy was used for it.
        is_connected: whether its connection was accepted, by a proxy or by the server itself.
    """

    def __init__(self, question: Question) -> None:
        self.url: httpx.URL | None = None
        self.is_proxied = False
        self.is_connected = False
        trusted = context(question.ca_pem)
        self._no_proxy = question.proxy.no_proxy if question.proxy else ()
        self._direct = httpx.HTTPTransport(verify=trusted, trust_env=False)
        self._by_proxy = None
        if question.proxy:
            to_proxy = trusted if question.proxy.url.startswith("https://") else None
            proxy = httpx.Proxy(question.proxy.url, ssl_context=to_proxy)
            self._by_proxy = httpx.HTTPTransport(verify=trusted, trust_env=False, proxy=proxy)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send it the way that it has to go."""
        self.url, self.is_proxied = request.url, False
        request.extensions = {**request.extensions, "trace": self._trace}
        try:
            proxied = self._by_proxy if is_used(str(request.url), self._no_proxy) else None
            self.is_proxied = proxied is not None
            return (proxied or self._direct).handle_request(request)
        except ValueError as error:  # a redirect may lead to a port or a name that can't be one
            raise httpx.UnsupportedProtocol(str(error)) from error

    def close(self) -> None:
        """Close the connections."""
        self._direct.close()
        if self._by_proxy:
            self._by_proxy.close()

    def _trace(self, event: str, _: Mapping[str, object]) -> None:
        """Connections are kept for the next request, which then has no such event."""
        if event.endswith((".connect_tcp.started", ".connect_tcp.complete")):
            self.is_connected = event.endswith(".complete")


def client_for(question: Question, transport: Transport) -> httpx.Client:
    """A client that asks as the upstream's cache would."""
    return httpx.Client(
        transport=transport,
        trust_env=False,
        timeout=step_seconds(question),
        follow_redirects=True,
        headers=answers.IDENTITY,
        event_hooks={"response": [functools.partial(answers.cut, most=ANSWER_BYTES)]},
    )


def step_seconds(question: Question) -> float:
    """How long to wait for each step of an answer."""
    return LOGIN_STEP_SECONDS if question.login else STEP_SECONDS


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
        """Whether it is made for people; no registry's answer is.

        The media type does not tell: many a web framework calls everything a page, and so Quay the
        `true` that it answers at `/v2/`. An answer to HEAD has nothing else.
        """
        if self.challenges or "Docker-Distribution-Api-Version" in self.headers:
            return False
        if self.method == "HEAD":
            return str(self.headers.get("Content-Type", "")).startswith("text/html")
        return self.text.lstrip(BLANKS).startswith("<")

    @property
    def is_passed_over(self) -> bool:
        """Whether a cache goes on after this at `/v2/`: it looks for a login only at 401.

        There are upstreams that serve only images, such as a web server with files.
        """
        return self.status in _PASSED_OVER and not self.is_page


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
