"""Fake servers around an upstream registry: a name server, and a gate for tokens.

Started inside the network namespace of a registry's container, with the container's address:
`python away_upstream.py ADDRESS NAMES MOOD`. The registry behind the gates is a real one.

- UDP port 53: every name has that address; SERVFAIL for as long as the file NAMES exists.
- TCP port 5001: the registry of port 5000, for clients with a token. The challenge sends
  them to another name for it, as Docker Hub does, or to the same if they used its address.
- TCP port 5002: the same for all clients.

The file MOOD says how both gates behave, and does not exist while they are healthy:
`hangs` (requests are read and never answered), `hangs on manifests` (only those for manifests;
`/v2/`, tokens and blobs are answered), `basic` (401, and they require a user name and a
password), `slow` (`/v2/` takes 0.9 s, a token 3 s, the HEAD of a blob 1.5 s, a blob some seconds).
"""

import http.client
import json
import socket
import socketserver
import struct
import sys
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

TOKEN = "a-token"
REALM = "http://auth.upstream.test:5001/token"
TOKEN_SECONDS = 3
PING_SECONDS = 0.9
HEAD_SECONDS = 1.5
PIECES = 8
HEADER_SIZE = 12
TYPE_A = 1
SERVFAIL = 2


class NameServer(socketserver.BaseRequestHandler):
    """Answers one question, without looking at the name."""

    def handle(self):
        query, connection = self.request
        end_of_question = query.index(b"\0", HEADER_SIZE) + 5
        (question_type,) = struct.unpack(">H", query[end_of_question - 4 : end_of_question - 2])
        failing = Path(sys.argv[2]).exists()
        answer = b""
        if question_type == TYPE_A and not failing:
            # A pointer to the name in the question; type A, class IN, one second, four bytes.
            answer = struct.pack(">HHHIH", 0xC00C, TYPE_A, 1, 1, 4) + socket.inet_aton(sys.argv[1])
        flags = 0x8180 | (SERVFAIL if failing else 0)
        header = query[:2] + struct.pack(">HHHHH", flags, 1, 1 if answer else 0, 0, 0)
        question = query[HEADER_SIZE:end_of_question]
        connection.sendto(header + question + answer, self.client_address)


class Gate(BaseHTTPRequestHandler):
    """Passes requests on, as the file MOOD says."""

    protocol_version = "HTTP/1.1"

    def handle(self):
        # A cache that hangs up.
        with suppress(ConnectionError):
            super().handle()

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        self.mood = read(sys.argv[3])
        about_manifests = "/manifests/" in self.path
        if self.mood == "hangs" or (self.mood == "hangs on manifests" and about_manifests):
            # Until the other side hangs up.
            self.rfile.read()
            self.close_connection = True
        elif self.mood == "basic":
            self.answer(401, [("WWW-Authenticate", 'Basic realm="gateway"')], b"{}")
        else:
            if self.mood == "slow":
                time.sleep(self.slowness())
            self.pass_on()

    def slowness(self):
        if self.path == "/v2/":
            return PING_SECONDS
        if self.path.startswith("/token"):
            return TOKEN_SECONDS
        return HEAD_SECONDS if self.command == "HEAD" and "/blobs/" in self.path else 0

    def pass_on(self):
        registry = http.client.HTTPConnection("127.0.0.1", 5000, timeout=10)
        accepted = ", ".join(self.headers.get_all("Accept", []))
        registry.request(self.command, self.path, headers={"Accept": accepted})
        answer = registry.getresponse()
        kept = ("Content-Type", "Content-Length", "Docker-Content-Digest", "Etag")
        headers = [(name, value) for name, value in answer.getheaders() if name in kept]
        self.answer(answer.status, headers, answer.read())
        registry.close()

    def answer(self, status, headers, body):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        if "Content-Length" not in dict(headers):
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            slowly = self.mood == "slow" and "/blobs/" in self.path
            self.write_slowly(body) if slowly else self.wfile.write(body)

    def write_slowly(self, body):
        for start in range(0, len(body), size := len(body) // PIECES + 1):
            self.wfile.write(body[start : start + size])
            self.wfile.flush()
            time.sleep(1)

    def log_message(self, *arguments):
        """No one reads it."""


class TokenGate(Gate):
    """Issues tokens, and passes on requests that carry one."""

    def pass_on(self):
        if self.path.startswith("/token"):
            self.answer(200, [], json.dumps({"token": TOKEN}).encode())
        elif self.headers.get("Authorization") != f"Bearer {TOKEN}":
            by_address = self.headers["Host"].startswith(sys.argv[1])
            realm = f"http://{self.headers['Host']}/token" if by_address else REALM
            challenge = f'Bearer realm="{realm}",service="test"'
            self.answer(401, [("WWW-Authenticate", challenge)], b"{}")
        else:
            super().pass_on()


def read(path):
    try:
        return Path(path).read_text()
    except FileNotFoundError:
        return ""


def main():
    names = socketserver.ThreadingUDPServer(("0.0.0.0", 53), NameServer)
    threading.Thread(target=names.serve_forever, daemon=True).start()
    anonymous = ThreadingHTTPServer(("0.0.0.0", 5002), Gate)
    threading.Thread(target=anonymous.serve_forever, daemon=True).start()
    ThreadingHTTPServer(("0.0.0.0", 5001), TokenGate).serve_forever()


if __name__ == "__main__":
    main()
