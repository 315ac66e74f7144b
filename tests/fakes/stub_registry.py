"""A fake registry, as far as the watchdog sees it. `python stub_registry.py FOLDER`.

The files in FOLDER say what happens:

- `waiting`: what the first registry's list of goroutines shows, but not with an upstream that
  refuses; `{asked}` in it is the number of requests so far.
- `steps`: what the second one shows during a request: pairs of a call and of how many checks see
  it, 0 for ever. The calls of a look-up of a tag are left out if a blob is requested.
- `downloading`: while it exists, something is written with every request.

Every start of a first one is recorded in `starts`, every request in `questions`.
"""

import json
import os
import socket
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Semaphore, Thread

FOLDER = Path(sys.argv[1])
IS_SECOND = "asker" in os.environ.get("REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY", "")
REFUSES = "http://127.0.0.1:1"
TAG_CALL = "client.(*tags).Get"
LONG = 3600
calls = {"now": ""}
looked = Semaphore(0)


class Questions(BaseHTTPRequestHandler):
    def do_GET(self):
        note("questions", self.path)
        if (FOLDER / "downloading").exists():
            (FOLDER / "io").write_text(f"write_bytes: {asked()}\n")
        for line, (call, looks) in enumerate(json.loads((FOLDER / "steps").read_text())):
            if call == TAG_CALL and "/manifests/" not in self.path:
                continue
            frame = f"registry/{call}(0xc0001, 0x2)\n\tclient/repository.go:{line} +0x1b4"
            calls["now"] = f"goroutine 7 [select]:\n{frame}\n"
            for _ in range(looks or LONG):
                looked.acquire()
        self.send_error(404)

    def log_message(self, *arguments):
        """No one reads it."""


class Goroutines(Questions):
    def do_GET(self):
        if IS_SECOND:
            shown = calls["now"]
        elif os.environ.get("REGISTRY_PROXY_REMOTEURL") == REFUSES:
            shown = ""
        else:
            shown = (FOLDER / "waiting").read_text().replace("{asked}", f"{asked()}")
        self.send_response(200)
        self.end_headers()
        self.wfile.write(shown.encode())
        if shown:
            looked.release()


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


def asked():
    questions = FOLDER / "questions"
    return len(questions.read_text().splitlines()) if questions.exists() else 0


def main():
    if not IS_SECOND:
        note("starts", os.environ.get("REGISTRY_PROXY_REMOTEURL", "its own"))
    if not (FOLDER / "no-debug").exists():
        serve("REGISTRY_HTTP_DEBUG_ADDR", Goroutines)
    address = serve("REGISTRY_HTTP_ADDR", Questions)
    # The watchdog reads the goroutines only while there are connections.
    with socket.create_connection(address):
        time.sleep(LONG)


if __name__ == "__main__":
    main()
