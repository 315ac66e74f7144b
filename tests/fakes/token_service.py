"""A token service in front of the real registry, both at one host and port.

A fake of what Docker Hub, Harbor and others have: the registry sends clients to it, and it issues
signed tokens for a user name and a password. It implements what distribution's client uses of it,
`GET /token` with basic authentication. They share an address because a cache gives its password
only to a token service at the upstream's own (or in its domain, and tests have none).
"""

import base64
import contextlib
import http.server
import json
import ssl
import sys
import threading
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import ec

from tests.fakes.forward_proxy import hand_on
from tests.real.private import registry_process
from tests.real.private.authority import ServerFiles
from tests.real.private.registry_process import LOOPBACK, POLL_SECONDS, RegistryProcess

SERVICE, ISSUER, KEY_ID = "private registry", "fake token service", "the-only-key"
TOKEN_PATH = "/token"
WRONG, DENIED = "incorrect username or password", "access of this account is suspended"


@dataclass(kw_only=True)
class TokenService:
    """Issues tokens.

    Attributes:
        accounts: user name -> password; may be changed at any time.
        denied: user names that are answered with 403.
        expires_in: seconds that a token is valid, as its answer says. The registry allows 60 more
            for clocks that differ, so that one below -60 is useless from the start.
        echo: whether its refusals repeat the request's login, as no service should.
        issued: user name and scopes of every token.
    """

    accounts: dict[str, str]
    denied: set[str] = field(default_factory=set)
    expires_in: int = 300
    echo: bool = False
    issued: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)
    _key: ec.EllipticCurvePrivateKey = field(
        default_factory=lambda: ec.generate_private_key(ec.SECP256R1())
    )

    @property
    def keys(self) -> dict[str, Any]:
        """The keys that the registry must trust, as a JSON Web Key Set."""
        key = jwt.algorithms.ECAlgorithm.to_jwk(self._key.public_key(), as_dict=True)
        return {"keys": [{**key, "kid": KEY_ID, "alg": "ES256", "use": "sig"}]}

    def answer(self, authorization: str, query: Mapping[str, list[str]]) -> tuple[int, Any]:
        """Status and content for one request."""
        name, password = _login(authorization)
        if name in self.denied:
            return 403, {"errors": [{"code": "DENIED", "message": DENIED}]}
        if not name or self.accounts.get(name) != password:
            details = f"{WRONG}: {authorization} is {name}:{password}" if self.echo else WRONG
            return 401, {"details": details}
        scopes = tuple(scope for part in query.get("scope", []) for scope in part.split())
        self.issued.append((name, scopes))
        return 200, {"token": self._token(name, scopes), "expires_in": self.expires_in}

    def _token(self, name: str, scopes: Iterable[str]) -> str:
        now = int(time.time())
        claims = {
            "iss": ISSUER,
            "sub": name,
            "aud": SERVICE,
            "iat": now,
            "nbf": now - 1,
            "exp": now + self.expires_in,
            "jti": uuid.uuid4().hex,
            "access": [_access(scope) for scope in scopes],
        }
        return jwt.encode(claims, self._key, algorithm="ES256", headers={"kid": KEY_ID})


@dataclass(frozen=True, kw_only=True)
class PrivateUpstream:
    """A registry behind a token service.

    Attributes:
        url: of both.
        tokens: the service.
        registry: the one behind it, which requires a token.
        asked: path of every request, in order.
    """

    url: str
    tokens: TokenService
    registry: RegistryProcess
    asked: list[str]


@contextlib.contextmanager
def running(
    folder: Path,
    tokens: TokenService,
    *,
    data: Path | None = None,
    address: str = LOOPBACK,
    port: int = 0,
    name: str = "",
    tls: ServerFiles | None = None,
    realm: str = "",
) -> Iterator[PrivateUpstream]:
    """Run both for the duration of the block.

    Args:
        folder: of the registry.
        tokens: the service.
        data: of the registry (see `registry_process.filled`).
        address: to listen on.
        port: to listen on; 0 for a free one.
        name: in the URL instead of the address, if clients know it.
        tls: absent: http.
        realm: where clients are sent for tokens; absent: here.
    """
    asked: list[str] = []
    front = _Server((address, port), _Front)
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tls.certificate, tls.key)
        # The handshake is done in the connection's thread, not in the one that accepts it.
        front.socket = context.wrap_socket(
            front.socket, server_side=True, do_handshake_on_connect=False
        )
    url = f"{'https' if tls else 'http'}://{name or address}:{front.server_address[1]}"
    auth = registry_process.token_auth(
        folder, realm=realm or url + TOKEN_PATH, service=SERVICE, issuer=ISSUER, keys=tokens.keys
    )
    with registry_process.running(folder, data=data, auth=auth) as registry:
        front.tokens, front.registry, front.asked = tokens, registry, asked
        thread = threading.Thread(target=front.serve_forever, args=(POLL_SECONDS,), daemon=True)
        thread.start()
        try:
            yield PrivateUpstream(url=url, tokens=tokens, registry=registry, asked=asked)
        finally:
            front.shutdown()
            front.server_close()
            thread.join()


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore clients that do not trust the certificate, or speak no TLS: tests use such."""
        if not isinstance(sys.exc_info()[1], (ssl.SSLError, ConnectionError)):
            super().handle_error(request, client_address)


class _Front(http.server.BaseHTTPRequestHandler):
    """Answers for the token service itself, and passes everything else on to the registry.

    GET and HEAD only: BaseHTTPRequestHandler answers 501 to anything else.
    """

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Any

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        where = urlsplit(self.path)
        if where.path == TOKEN_PATH:
            authorization = self.headers.get("Authorization", "")
            status, content = self.server.tokens.answer(authorization, parse_qs(where.query))
            self._send(status, json.dumps(content).encode())
        else:
            self._hand_on()

    do_HEAD = do_GET  # noqa: N815 - the name that http.server calls

    def log_message(self, *args: Any) -> None:
        """Nothing to standard error; see `asked`."""

    def _send(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _hand_on(self) -> None:
        registry = self.server.registry
        headers = self.headers.items()
        hand_on(self, (registry.address, registry.port), self.path, headers)


def _login(authorization: str) -> tuple[str, str]:
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        return "", ""
    name, _, password = base64.b64decode(encoded).decode().partition(":")
    return name, password


def _access(scope: str) -> dict[str, Any]:
    kind, name, actions = scope.split(":", 2)
    return {"type": kind, "name": name, "actions": actions.split(",")}
