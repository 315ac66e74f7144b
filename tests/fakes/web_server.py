"""A web server on this machine that answers as a test says, and ports where nothing does."""

import socket
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

WELL = (200, [], b"")


@contextmanager
def answering(answer, context=None):
    """A web server that answers every request with (status, headers, body); notes what it was sent.

    In `seen` paths and logins, in `asked` methods and paths. With an SSL context by https.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self):
            self.do_GET()

        def do_GET(self):
            server.seen.append((self.path, self.headers.get("Authorization")))
            server.asked.append((self.command, self.path.partition("?")[0]))
            status, headers, body = answer(self) if callable(answer) else answer
            self.send_response(status)
            for name, value in headers:
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, *_):
            """Nothing to standard error."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if context:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    server.seen, server.asked = [], []
    server.url = f"{'https' if context else 'http'}://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
