"""Test double: what the watch sees of a registry. `python stub_registry.py FOLDER`.

The files in FOLDER say what happens. `waiting` is what the first registry's list of goroutines
shows, but not with an upstream that refuses; `steps`, what the second one does when it is asked:
pairs of a call and of seconds, 0 for ever. Every start stands in `starts`, every question in
`questions`.
"""

import json
import os
import socket
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

FOLDER = Path(sys.argv[1])
IS_SECOND = "asker" in os.environ.get("REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY", "")
REFUSES = "http://127.0.0.1:1"
calls = {"now": ""}


class Questions(BaseHTTPRequestHandler):
    def do_GET(self):
        note("questions", self.path)
        for call, seconds in json.loads((FOLDER / "steps").read_text()):
            calls["now"] = f"goroutine 7 [select]:\nregistry/{call}(0xc0001, 0x2)\n\tfile.go:1\n"
            time.sleep(seconds or 3600)
        self.send_error(404)

    def log_message(self, *arguments):
        """Nobody reads it."""


class Goroutines(Questions):
    def do_GET(self):
        refused = os.environ.get("REGISTRY_PROXY_REMOTEURL") == REFUSES
        waiting = "" if refused else (FOLDER / "waiting").read_text()
        body = (calls["now"] if IS_SECOND else waiting).encode()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body)


class Server(ThreadingHTTPServer):
    daemon_threads = True


def serve(variable, handler):
    host, port = os.environ[variable].split(":")
    server = Server((host, int(port)), handler)
    Thread(target=server.serve_forever).start()
    return server.server_address


def note(name, line):
    with (FOLDER / name).open("a") as notes:
        notes.write(f"{line}\n")


def main():
    if not IS_SECOND:
        note("starts", os.environ.get("REGISTRY_PROXY_REMOTEURL", "its own"))
    if not (FOLDER / "no-debug").exists():
        serve("REGISTRY_HTTP_DEBUG_ADDR", Goroutines)
    address = serve("REGISTRY_HTTP_ADDR", Questions)
    # The watch looks closer only while there are connections.
    with socket.create_connection(address):
        time.sleep(3600)


if __name__ == "__main__":
    main()
