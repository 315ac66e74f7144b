"""A double of Harbor: a server with the used part of its API, its token service and proxy caches.

As a program, for a try by hand: `python -m tests.harbor.server --upstream URL=REAL ...` prints its
URL. It says what it is in its Server header and in its log, and answers 501 to everything else.
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

import httpx

from plan.manifests import INDEX_TYPES, MANIFEST_TYPES
from tests.harbor import description
from tests.harbor.api import FailedError, Harbor, not_found, not_implemented
from tests.harbor.store import digest_of

NAME = "double-of-Harbor/2.16"
SERVICE = "harbor-registry"
PULL = re.compile(r"/v2/([^/]+)/(.+)/(manifests|blobs)/([^/]+)")
CHUNK = 1024 * 1024
TOKEN_SECONDS = 1800


@dataclass
class Token:
    """What a token opens: the projects that its owner may pull from."""

    projects: set
    ends: float


class Server(ThreadingHTTPServer):
    """The double, on an address; `harbor` is what it knows.

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
        self.upstream_bytes = 0
        self.sent_bytes = 0
        self.scheme = "http"
        self.context = None
        if tls:
            self.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            self.context.load_cert_chain(*tls)
            self.scheme = "https"

    def finish_request(self, request, client_address):
        # In the thread of the request: a client that breaks off its handshake stops no other.
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


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # head and body go in two pieces
    server_version = NAME
    sys_version = ""

    def do_GET(self):
        self.started = False
        length = int(self.headers.get("Content-Length") or 0)
        content = self.rfile.read(length)
        try:
            self._route(content)
        except FailedError as error:
            self._json(error.status, error.body, getattr(error, "headers", {}))
        except description.WrongError as error:
            self._json(500, {"errors": [{"code": "DOUBLE", "message": f"the double: {error}"}]})

    def _route(self, content):
        url = urlsplit(self.path)
        base = description.SUBSET["base"]
        if url.path.startswith(f"{base}/"):
            self._api(url.path.removeprefix(base), dict(parse_qsl(url.query)), content)
        elif url.path == "/service/token" and self.command == "GET":
            self._token(parse_qsl(url.query))
        elif url.path == "/service/token" and self.command == "POST":
            # Harbor has a handler for GET alone; containerd, given a login, tries POST first and
            # goes by this status.
            raise FailedError(405, "METHOD_NOT_ALLOWED", "Method Not Allowed")
        elif url.path == "/v2/" and self.command == "GET":
            self._ping()
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

    # The token service, and what is asked with its tokens ------------------------------------

    def _token(self, query):
        if dict(query).get("service") != SERVICE:
            raise FailedError(400, "BAD_REQUEST", "Unable to handle service")
        scopes = [one for name, value in query if name == "scope" for one in value.split()]
        user = self.server.harbor.user(self._basic())
        if not user and not scopes:
            raise FailedError(401, "UNAUTHORIZED", "unauthorized")
        # Also for those whose password is wrong: they are nobody, and get what is public.
        projects = set()
        for scope in scopes:
            project = self.server.harbor.project(scope.split(":")[1].split("/")[0])
            if project and self.server.harbor.may_pull(user, project):
                projects.add(project["project_id"])
        text = secrets.token_hex(16)
        ends = time.monotonic() + self.server.token_seconds
        self.server.tokens[text] = Token(projects, ends)
        given = {"token": text, "access_token": "", "expires_in": TOKEN_SECONDS}
        self._json(200, given)

    def _ping(self):
        if self.server.harbor.user(self._basic()) or self._bearer() is not None:
            self._json(200, {})
        else:
            raise self._challenge("", "unauthorized")

    def _allowed(self, project_name, repository):
        """The project, if who asks may pull from it."""
        name = f"{project_name}/{repository}"
        if "Authorization" not in self.headers:
            raise self._challenge(f"repository:{name}:pull", "authorize header needed")
        project = self.server.harbor.project(project_name)
        if project is None:
            raise self._challenge("", f"project {project_name} not found")
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
        error = FailedError(401, "UNAUTHORIZED", message)
        realm = self.server.realm or f"{self.server.scheme}://{self.headers['Host']}/service/token"
        challenge = f'Bearer realm="{realm}",service="{SERVICE}"'
        challenge += f',scope="{scope}"' if scope else ""
        if "Authorization" in self.headers:
            challenge = 'Basic realm="harbor"'
        error.headers = {"Www-Authenticate": challenge}
        return error

    # Proxy caches ---------------------------------------------------------------------------

    def _pull(self, project_name, repository, kind, reference):
        project = self._allowed(project_name, repository)
        registry = self.server.harbor.registries.get(project.get("registry_id"))
        if registry is None:
            raise not_implemented("projects that are no proxy caches")
        if registry["type"] == "docker-hub" and "/" not in repository:
            place = f"/v2/{project_name}/library/{repository}/{kind}/{reference}"
            self._send(301, {"Location": place}, b"")
            return
        there = self.server.harbor.store.repository(project["project_id"], repository)
        if kind == "blobs":
            self._blob(registry, repository, there, reference)
        else:
            self._manifest(registry, repository, there, reference)

    def _manifest(self, registry, repository, there, reference):
        if reference.startswith("sha256:") and (held := there.find(reference)):
            self._send_manifest(held.media_type, held.content)
            return
        headers = {"Accept": ", ".join((*INDEX_TYPES, *MANIFEST_TYPES))}
        try:
            with self._upstream(registry, repository, f"manifests/{reference}", headers) as answer:
                answer.read()
        except httpx.HTTPError:
            # Away: what is held is served, which of an index may be less than the upstream's.
            held = there.find(reference)
            if held is None:
                raise not_found(f"manifest {reference}") from None
            self._send_manifest(held.media_type, held.content)
            return
        if answer.status_code != 200:
            raise not_found(f"repo {repository}, tag {reference}")
        content, media_type = answer.content, answer.headers["Content-Type"]
        digest = digest_of(content)
        with self.server.lock:
            self.server.upstream_bytes += len(content)
            there.manifests[digest] = (media_type, content)
            if not reference.startswith("sha256:"):
                there.tags[reference] = digest
        self._send_manifest(media_type, content)

    def _send_manifest(self, media_type, content):
        digest = digest_of(content)
        headers = {"Docker-Content-Digest": digest, "Etag": digest, "Content-Type": media_type}
        self._send(200, headers, content)

    def _blob(self, registry, repository, there, digest):
        file = self.server.harbor.store.blob(digest)
        if digest in there.blobs:
            self._send_blob(digest, file.stat().st_size, _chunks(file))
            return
        try:
            with self._upstream(registry, repository, f"blobs/{digest}", {}) as answer:
                if answer.status_code != 200:
                    raise not_found(f"blob {digest}")
                size = int(answer.headers["Content-Length"])
                self._send_blob(digest, size, self._stored(answer, there, digest))
        except httpx.HTTPError as error:
            if self.started:
                self.close_connection = True  # short of its length, as the real one leaves it
                return
            raise FailedError(500, "UNKNOWN", "internal server error") from error

    def _stored(self, answer, there, digest):
        """The pieces of an upstream's blob; it is held before the last of them is given away."""
        file = self.server.harbor.store.blob(digest)
        part = file.with_name(f"{file.name}.{threading.get_ident()}")
        last = b""
        with part.open("wb") as written:
            for chunk in answer.iter_raw(CHUNK):
                yield last
                written.write(chunk)
                last = chunk
        part.replace(file)
        with self.server.lock:
            self.server.upstream_bytes += file.stat().st_size
            there.blobs.add(digest)
        yield last

    def _send_blob(self, digest, size, chunks):
        headers = {"Docker-Content-Digest": digest, "Etag": digest}
        headers |= {"Content-Type": "application/octet-stream", "Content-Length": str(size)}
        self._head(200, headers)
        for chunk in chunks:
            if self.command != "HEAD":
                self.wfile.write(chunk)
                self.server.sent_bytes += len(chunk)

    @contextlib.contextmanager
    def _upstream(self, registry, repository, path, headers):
        real, auth = self.server.harbor.upstream(registry)
        timeout = httpx.Timeout(60, connect=2)
        with (
            httpx.Client(auth=auth, trust_env=False, timeout=timeout) as client,
            client.stream("GET", f"{real}/v2/{repository}/{path}", headers=headers) as answer,
        ):
            yield answer

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


def _chunks(file):
    with file.open("rb") as content:
        while chunk := content.read(CHUNK):
            yield chunk


def main():
    """Serve until ended; prints the URL."""
    parser = argparse.ArgumentParser(prog="python -m tests.harbor.server", description=__doc__)
    parser.add_argument("--address", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--certificate", type=Path)
    parser.add_argument("--key", type=Path)
    parser.add_argument("--upstream", action="append", default=[], metavar="URL=REAL")
    arguments = parser.parse_args()
    tls = (arguments.certificate, arguments.key) if arguments.certificate else None
    upstreams = dict(one.split("=", 1) for one in arguments.upstream)
    with tempfile.TemporaryDirectory() as folder:
        harbor = Harbor(folder, upstreams)
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
