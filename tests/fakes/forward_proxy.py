"""A fake corporate HTTP proxy: tunnels for https (CONNECT), whole URLs for http (GET, HEAD).

It knows its servers by names that nothing else on this machine can resolve, so that requests that
arrive there have gone through it.
"""

import base64
import contextlib
import http.client
import http.server
import select
import shutil
import socket
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from tests.real.private.registry_process import LOOPBACK, POLL_SECONDS

CHUNK_BYTES = 64 * 1024
IDLE_SECONDS = 30
HOP_BY_HOP = ("connection", "transfer-encoding")
WORDS = "not through this proxy"


@dataclass(frozen=True, kw_only=True)
class ForwardProxy:
    """A proxy that runs.

    Attributes:
        url: without user name and password.
        asked: "CONNECT host:port" or "GET host:port" for everything that it let through.
    """

    url: str
    asked: list[str]


@contextlib.contextmanager
def running(
    names: Mapping[str, str],
    *,
    address: str = LOOPBACK,
    port: int = 0,
    login: tuple[str, str] | None = None,
) -> Iterator[ForwardProxy]:
    """Run it for the duration of the block.

    Args:
        names: host name -> address behind it; it refuses all others.
        address: to listen on.
        port: to listen on; 0 for a free one.
        login: user name and password to require.
    """
    server = http.server.ThreadingHTTPServer((address, port), _Handler)
    server.daemon_threads = True
    asked: list[str] = []
    server.names, server.asked, server.login = names, asked, login
    thread = threading.Thread(target=server.serve_forever, args=(POLL_SECONDS,), daemon=True)
    thread.start()
    try:
        yield ForwardProxy(url=f"http://{address}:{server.server_address[1]}", asked=asked)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Any

    def do_CONNECT(self) -> None:
        server = self._let_through(*_host_and_port(f"//{self.path}"))
        if server is None:
            return
        with socket.create_connection(server, IDLE_SECONDS) as onward:
            self.send_response_only(200, "Connection established")
            self.end_headers()
            _tunnel(self.connection, onward)
        self.close_connection = True

    def do_GET(self) -> None:
        server = self._let_through(*_host_and_port(self.path))
        if server is None:
            return
        parts = urlsplit(self.path)
        query = f"?{parts.query}" if parts.query else ""
        headers = [(k, v) for k, v in self.headers.items() if not k.lower().startswith("proxy-")]
        hand_on(self, server, f"{parts.path}{query}", headers)

    do_HEAD = do_GET  # noqa: N815 - the name that http.server calls

    def log_message(self, *args: Any) -> None:
        """Nothing to standard error; see `asked`."""

    def _let_through(self, host: str, port: int) -> tuple[str, int] | None:
        """The server's address; None if the request was refused."""
        if self.server.login:
            login = base64.b64encode(":".join(self.server.login).encode()).decode()
            if self.headers.get("Proxy-Authorization") != f"Basic {login}":
                self.send_error(407)
                return None
        if host not in self.server.names:
            self.send_error(403, WORDS)
            return None
        self.server.asked.append(f"{self.command} {host}:{port}")
        return self.server.names[host], port


def hand_on(
    handler: http.server.BaseHTTPRequestHandler,
    server: tuple[str, int],
    path: str,
    headers: Iterable[tuple[str, str]],
) -> None:
    """Send the handler's request to a server, and return its answer."""
    onward = http.client.HTTPConnection(*server, timeout=IDLE_SECONDS)
    try:
        onward.putrequest(handler.command, path, skip_host=True, skip_accept_encoding=True)
        for name, value in headers:  # some occur several times
            onward.putheader(name, value)
        onward.endheaders()
        answer = onward.getresponse()
        handler.send_response_only(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in HOP_BY_HOP:
                handler.send_header(name, value)
        handler.send_header("Connection", "close")
        handler.end_headers()
        shutil.copyfileobj(answer, handler.wfile)
    finally:
        onward.close()


def _host_and_port(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or 80


def _tunnel(one: socket.socket, other: socket.socket) -> None:
    """Pass on data in both directions until one side closes."""
    onward = {one: other, other: one}
    while ready := select.select(list(onward), [], [], IDLE_SECONDS)[0]:
        for side in ready:
            if not (data := side.recv(CHUNK_BYTES)):
                return
            onward[side].sendall(data)
