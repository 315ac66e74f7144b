"""A fake Harbor: a server with the used part of its API, its token service and proxy caches.

As a program, to try by hand: `python -m tests.fakes.harbor.server --upstream URL=REAL ...`
prints its URL. It names itself in its Server header and in its log, and answers 501 to all else.
"""

import argparse
import base64
import binascii
import contextlib
import json
import os
import re
import secrets
import ssl
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from tests.fakes.harbor import description
from tests.fakes.harbor.api import Harbor
from tests.fakes.harbor.proxy import Proxy, UpstreamError
from tests.real.private.harbor.failures import FailedError, internal, not_implemented, unauthorized

NAME = "fake-Harbor/2.16"
SERVICE = "harbor-registry"
BASIC = 'Basic realm="harbor"'
PULL = re.compile(r"/v2/([^/]+)/(.+)/(manifests|blobs|tags)/([^/]+)")
TOKEN_SECONDS = 1800


@dataclass
class Token:
    """What a token allows: the projects that its owner may pull from."""

    projects: set
    ends: float
    user: str  # empty for an anonymous token


class Server(ThreadingHTTPServer):
    """The fake, on an address; `harbor` is its state.

    Args:
        harbor: the state.
        address: to bind.
        port: to bind; 0 for any.
        tls: (certificate, key) files; None for plain HTTP.
        log: where every request goes; None for nowhere.
    """

    daemon_threads = True

    def __init__(self, harbor, address="127.0.0.1", port=0, tls=None, log=None):
        super().__init__((address, port), Handler)
        self.harbor = harbor
        self.lock = threading.RLock()
        self.tokens = {}
        self.token_seconds = TOKEN_SECONDS
        self.realm = ""  # another token service than its own, for tests
        self.log = log
        self.pulls = []  # (method, path) of requests to proxy caches
        self.upstream_bytes = 0
        self.sent_bytes = 0
        self.scheme = "http"
        self.context = None
        if tls:
            self.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            self.context.load_cert_chain(*tls)
            self.scheme = "https"

    def finish_request(self, request, client_address):
        # In the request's thread: a client that aborts its handshake blocks no other.
        with contextlib.suppress(ssl.SSLError, ConnectionError):
            if self.context:
                request = self.context.wrap_socket(request, server_side=True)
            super().finish_request(request, client_address)

    @property
    def url(self):
        return f"{self.scheme}://{self.server_address[0]}:{self.server_address[1]}"

    def start(self):
        """Serve in a thread until `stop`."""
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def stop(self):
        self.shutdown()
        self.server_close()
        self.harbor.background.stop()

    def count_upstream(self, number):
        with self.lock:
            self.upstream_bytes += number


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # head and body are sent in two pieces
    server_version = NAME
    sys_version = ""

    def do_GET(self):
        self.started = False
        length = int(self.headers.get("Content-Length") or 0)
        content = self.rfile.read(length)
        try:
            self._route(content)
        except FailedError as error:
            self._json(error.status, error.body, error.headers)
        except description.WrongError as error:
            self._json(500, {"errors": [{"code": "FAKE", "message": f"the fake: {error}"}]})

    def _route(self, content):
        url = urlsplit(self.path)
        base = description.SUBSET["base"]
        if url.path.startswith(f"{base}/"):
            self._api(url.path.removeprefix(base), dict(parse_qsl(url.query)), content)
        elif url.path == "/service/token" and self.command == "GET":
            self._token(parse_qsl(url.query))
        elif url.path == "/service/token" and self.command == "POST":
            # Harbor has a handler for GET alone; containerd, given a login, tries POST first and
            # falls back on this status.
            raise FailedError(405, "METHOD_NOT_ALLOWED", "Method Not Allowed")
        elif url.path == "/v2/" and self.command == "GET":
            self._ping()
        elif url.path == "/v2/_catalog" and self.command == "GET":
            self._catalogue()
        elif (found := PULL.fullmatch(url.path)) and self.command in ("GET", "HEAD"):
            self._pull(*found.groups())
        else:
            raise not_implemented(f"{self.command} {url.path}")

    def _api(self, path, query, content):
        body = json.loads(content) if content else None
        user = self.server.harbor.user(self._basic())
        with self.server.lock:
            cookie = self.headers.get("Cookie", "")
            answer = self.server.harbor.answer(self.command, path, query, body, user, cookie)
        status, headers, given = answer
        self._json(status, given, {**headers, "Set-Cookie": "sid=a-session; Path=/; HttpOnly"})

    # The token service, and requests with its tokens -----------------------------------------

    def _token(self, query):
        if dict(query).get("service") != SERVICE:
            raise FailedError(400, "BAD_REQUEST", "Unable to handle service")
        scopes = [one for name, value in query if name == "scope" for one in value.split()]
        user = self.server.harbor.user(self._basic())
        if not user and not scopes:
            raise unauthorized()
        # Also with a wrong password: such a client is anonymous, and gets what is public.
        projects = set()
        for scope in scopes:
            project = self.server.harbor.project(scope.split(":")[1].split("/")[0])
            if project and self.server.harbor.may_pull(user, project):
                projects.add(project["project_id"])
        text = secrets.token_hex(16)
        ends = time.monotonic() + self.server.token_seconds
        self.server.tokens[text] = Token(projects, ends, user)
        given = {"token": text, "access_token": "", "expires_in": TOKEN_SECONDS}
        self._json(200, given)

    def _ping(self):
        # An anonymous token does not count as a login (`IsAuthenticated` in `v2auth`).
        token = self._bearer()
        if self.server.harbor.user(self._basic()) or (token and token.user):
            self._json(200, {})
        else:
            raise self._challenge("", "unauthorized")

    def _allowed(self, project_name, repository):
        """The project, if the client may pull from it."""
        name = f"{project_name}/{repository}"
        if "Authorization" not in self.headers:
            raise self._challenge(f"repository:{name}:pull", "authorize header needed")
        project = self.server.harbor.project(project_name)
        if project is None:
            error = unauthorized(f"project {project_name} not found")
            error.headers = {"Www-Authenticate": ""}
            raise error
        token = self._bearer()
        if token is not None:
            allowed = project["project_id"] in token.projects
        else:
            allowed = self.server.harbor.may_pull(self.server.harbor.user(self._basic()), project)
        if not allowed:
            raise self._challenge("", f"unauthorized to access repository: {name}, action: pull")
        return project

    def _challenge(self, scope, message):
        """A refusal; only who came without any authorization is sent to the token service."""
        error = unauthorized(message)
        realm = self.server.realm or f"{self.server.scheme}://{self.headers['Host']}/service/token"
        challenge = f'Bearer realm="{realm}",service="{SERVICE}"'
        challenge += f',scope="{scope}"' if scope else ""
        if "Authorization" in self.headers:
            challenge = BASIC
        error.headers = {"Www-Authenticate": challenge}
        return error

    # Proxy caches ---------------------------------------------------------------------------

    def _pull(self, project_name, repository, kind, reference):
        project = self._allowed(project_name, repository)
        registry = self.server.harbor.registries.get(project.get("registry_id"))
        if registry is None:
            raise not_implemented("projects that are not proxy caches")
        if registry["type"] == "docker-hub" and "/" not in repository:
            place = f"/v2/{project_name}/library/{repository}/{kind}/{reference}"
            self._send(301, {"Location": place}, b"")
            return
        self.server.pulls.append((self.command, self.path))
        proxy = Proxy(self.server.harbor, project, repository, self.server.count_upstream)
        if kind == "manifests":
            self._send_pieces(proxy.manifest(self.command, reference))
        elif kind == "blobs":
            self._blob(proxy, reference)
        elif (self.command, reference) == ("GET", "list"):
            self._json(200, {"name": proxy.full_name, "tags": proxy.tags()})
        else:
            raise not_implemented(f"{self.command} {self.path}")

    def _blob(self, proxy, digest):
        try:
            self._send_pieces(proxy.blob(self.command, digest, self.headers.get("Range")))
        except UpstreamError as error:
            if self.started:
                self.close_connection = True  # short of its length, as the real one leaves it
                return
            raise internal() from error

    def _catalogue(self):
        user = self.server.harbor.user(self._basic())
        if user != self.server.harbor.admin[0]:
            error = unauthorized("unauthorized to list catalog")
            error.headers = {"Www-Authenticate": BASIC}
            raise error
        projects, store = self.server.harbor.projects, self.server.harbor.store
        names = [
            f"{project['name']}/{name}"
            for number, project in projects.items()
            for name, _ in store.listed(number)
        ]
        self._json(200, {"repositories": sorted(names)})

    # Who asks, and how it is answered -------------------------------------------------------

    def _basic(self):
        kind, _, value = self.headers.get("Authorization", "").partition(" ")
        if kind.lower() != "basic":
            return None
        try:
            name, _, password = base64.b64decode(value).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return None
        return name, password

    def _bearer(self):
        kind, _, value = self.headers.get("Authorization", "").partition(" ")
        token = self.server.tokens.get(value) if kind.lower() == "bearer" else None
        return token if token and token.ends > time.monotonic() else None

    def _json(self, status, body, headers=None):
        content = b"" if body is None else json.dumps(body).encode()
        self._send(status, {"Content-Type": "application/json", **(headers or {})}, content)

    def _send(self, status, headers, content):
        self._head(status, {**headers, "Content-Length": str(len(content))})
        if self.command != "HEAD":
            self.wfile.write(content)
            if self.path.startswith("/v2/"):
                self.server.sent_bytes += len(content)

    def _send_pieces(self, answer):
        self._head(answer.status, answer.headers)
        for piece in answer.pieces if self.command != "HEAD" else ():
            self.wfile.write(piece)
            self.server.sent_bytes += len(piece)

    def _head(self, status, headers):
        self.send_response(status)
        self.started = True
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, format, *arguments):
        if self.server.log:
            self.server.log(f"{NAME}: {format % arguments}")


for _method in ("HEAD", "POST", "PUT", "PATCH", "DELETE"):
    setattr(Handler, f"do_{_method}", Handler.do_GET)


def main():
    """Serve until ended; prints the URL."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.fakes.harbor.server", description=__doc__
    )
    parser.add_argument("--address", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--certificate", type=Path)
    parser.add_argument("--key", type=Path)
    parser.add_argument("--upstream", action="append", default=[], metavar="URL=REAL")
    parser.add_argument("--pace", type=float, default=1.0, help="what a second of Harbor's lasts")
    arguments = parser.parse_args()
    tls = (arguments.certificate, arguments.key) if arguments.certificate else None
    upstreams = dict(one.split("=", 1) for one in arguments.upstream)
    with tempfile.TemporaryDirectory() as folder:
        harbor = Harbor(folder, upstreams, pace=arguments.pace)
        harbor.admin = ("admin", os.environ.get("HARBOR_ADMIN_PASSWORD", harbor.admin[1]))
        server = Server(
            harbor,
            arguments.address,
            arguments.port,
            tls,
            log=lambda line: print(line, file=sys.stderr, flush=True),
        )
        print(server.url, flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            server.serve_forever()


if __name__ == "__main__":
    main()
