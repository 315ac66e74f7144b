"""An upstream that answers another content than it is asked for: a cache must not pass it on.

CVE-2026-85747 of distribution up to 3.1.1, as far as manifests go. Blobs it streams on unchecked,
and keeps only those that are right; containerd checks them.
"""

import hashlib
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import requests

from tests.real.private import registry_process

MEDIA_TYPE = "application/vnd.oci.image.manifest.v1+json"
CONFIG = {"mediaType": "application/vnd.oci.image.config.v1+json", "size": 2}
CONFIG["digest"] = f"sha256:{hashlib.sha256(b'{}').hexdigest()}"
ASKED_FOR = json.dumps(
    {"schemaVersion": 2, "mediaType": MEDIA_TYPE, "config": CONFIG, "layers": []}
).encode()
ANSWERED = ASKED_FOR + b"\n"
DIGEST = f"sha256:{hashlib.sha256(ASKED_FOR).hexdigest()}"


class Liar(BaseHTTPRequestHandler):
    """A double of a registry: has one manifest, and says that it is any that is asked for."""

    answer = ANSWERED

    def do_GET(self):
        manifest = "/manifests/" in self.path
        content = self.answer if manifest else b"{}"
        self.send_response(200)
        self.send_header("Content-Type", MEDIA_TYPE if manifest else "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Docker-Content-Digest", DIGEST)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def do_HEAD(self):
        self.do_GET()

    def log_message(self, *_):
        pass


@contextmanager
def upstream():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Liar)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_a_manifest_that_is_not_what_was_asked_for_is_neither_served_nor_kept(
    tmp_path, monkeypatch
):
    with (
        upstream() as url,
        registry_process.running(tmp_path, environment={"REGISTRY_PROXY_REMOTEURL": url}) as cache,
    ):
        asked = f"{cache.url}/v2/team/app/manifests/{DIGEST}"
        for _ in range(2):
            refused = requests.get(asked, headers={"Accept": MEDIA_TYPE}, timeout=30)
            assert refused.status_code == 500
            assert "digest mismatch" in refused.text
        monkeypatch.setattr(Liar, "answer", ASKED_FOR)
        served = requests.get(asked, headers={"Accept": MEDIA_TYPE}, timeout=30)
        assert (served.status_code, served.content) == (200, ASKED_FOR)
