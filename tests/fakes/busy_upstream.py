"""A fake upstream that is busy: it refuses some requests before it answers them.

Real ones can't be made to do so; the tests show how a real cache reacts.
"""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
CONFIG, LAYER = b'{"architecture": "amd64"}', b"x" * 5000


def digest_of(content: bytes) -> str:
    """As registries write it."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


MANIFEST = json.dumps(
    {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": digest_of(CONFIG),
            "size": len(CONFIG),
        },
        "layers": [
            {
                "mediaType": "application/vnd.oci.image.layer.v1.tar",
                "digest": digest_of(LAYER),
                "size": len(LAYER),
            }
        ],
    }
).encode()


class BusyUpstream:
    """Has one image in every repository, as `v1`.

    Attributes:
        url: its address.
        status: of its refusals.
        refusing: which requests it refuses: a part of their path, or empty for none.
        method: refuse only requests with this method; empty for all.
        says: media type and content of its refusals.
        lacks: the same for content that it does not have.
        seen: (method, path) of all requests.
    """

    def __init__(self) -> None:
        self.url = ""
        self.status = 429
        self.refusing = ""
        self.method = ""
        self.says = ("text/html", b"<html>busy</html>")
        self.lacks = ("application/json", b'{"errors": [{"code": "MANIFEST_UNKNOWN"}]}')
        self.seen: list[tuple[str, str]] = []

    def answer(self, method: str, path: str) -> tuple[int, str, bytes]:
        """Status, media type and content of the answer."""
        self.seen.append((method, path))
        if self.refusing and self.refusing in path and self.method in ("", method):
            return self.status, *self.says
        if path == "/v2/":
            return 200, "application/json", b"{}"
        blobs = {digest_of(blob): blob for blob in (CONFIG, LAYER)}
        reference = path.rpartition("/")[2]
        if "/manifests/" in path and reference in ("v1", digest_of(MANIFEST)):
            return 200, MANIFEST_TYPE, MANIFEST
        if "/blobs/" in path and reference in blobs:
            return 200, "application/octet-stream", blobs[reference]
        return 404, *self.lacks


@contextmanager
def running() -> Iterator[BusyUpstream]:
    """One on loopback."""
    upstream = BusyUpstream()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            status, kind, content = upstream.answer(self.command, self.path)
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            if status == 200:
                self.send_header("Docker-Content-Digest", digest_of(content))
            else:
                self.send_header("Retry-After", "7")
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content)

        do_HEAD = do_GET  # noqa: N815  # the name that the library looks for

        def handle(self) -> None:
            with suppress(ConnectionError):  # a cache closes it when it has what it needs
                super().handle()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    upstream.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield upstream
    finally:
        server.shutdown()
        server.server_close()
