"""A web server on this machine that answers everything the same, and ports where nothing does."""

import http.server
import socket
import threading
from contextlib import contextmanager


@contextmanager
def server(status=200, context=None):
    """A web server on this machine; gives its port and the requested paths."""

    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as made:
        if context:
            made.socket = context.wrap_socket(made.socket, server_side=True)
        threading.Thread(target=made.serve_forever, daemon=True).start()
        yield made.server_address[1], asked
        made.shutdown()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
