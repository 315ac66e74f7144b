"""A fake dockerd: it answers every request with one version, and does nothing."""

import contextlib
import http.server
import socket
import ssl
import threading

import trustme


class Answer(http.server.BaseHTTPRequestHandler):
    body = b'{"Version": "27.1.0", "ApiVersion": "1.41"}'

    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, *_):
        pass


class _UnixServer(http.server.ThreadingHTTPServer):
    address_family = socket.AF_UNIX

    def server_bind(self):
        self.socket.bind(self.server_address)

    def get_request(self):
        return self.socket.accept()[0], ("", 0)


@contextlib.contextmanager
def unix_server(path):
    with _serving(_UnixServer(str(path), Answer)):
        yield


@contextlib.contextmanager
def tls_server(folder):
    """Requires a client certificate; `folder` gets what a client needs. Returns the URL."""
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    client = authority.issue_cert("client")
    authority.cert_pem.write_to_path(folder / "ca.pem")
    client.private_key_pem.write_to_path(folder / "key.pem")
    client.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    with _serving(server):
        yield f"tcp://127.0.0.1:{server.server_port}"


@contextlib.contextmanager
def _serving(server):
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
