"""An upstream that answers another content than it is asked for: a cache must not pass it on.

CVE-2026-85747 of distribution up to 3.1.1, as far as manifests go. Blobs it streams on unchecked,
and keeps only those that are right; containerd checks them.
"""

import hashlib
import json

import requests

from tests.fakes.web_server import answering
from tests.real.private import registry_process

MEDIA_TYPE = "application/vnd.oci.image.manifest.v1+json"
CONFIG = {"mediaType": "application/vnd.oci.image.config.v1+json", "size": 2}
CONFIG["digest"] = f"sha256:{hashlib.sha256(b'{}').hexdigest()}"
ASKED_FOR = json.dumps(
    {"schemaVersion": 2, "mediaType": MEDIA_TYPE, "config": CONFIG, "layers": []}
).encode()
ANSWERED = ASKED_FOR + b"\n"
DIGEST = f"sha256:{hashlib.sha256(ASKED_FOR).hexdigest()}"


class Liar:
    """A double of a registry: has one manifest, and says that it is any that is asked for."""

    manifest = ANSWERED

    def __call__(self, request):
        is_manifest = "/manifests/" in request.path
        kind = MEDIA_TYPE if is_manifest else "application/json"
        headers = [("Content-Type", kind), ("Docker-Content-Digest", DIGEST)]
        return 200, headers, self.manifest if is_manifest else b"{}"


def test_a_manifest_that_is_not_what_was_asked_for_is_neither_served_nor_kept(tmp_path):
    liar = Liar()
    with (
        answering(liar) as upstream,
        registry_process.running(
            tmp_path, environment={"REGISTRY_PROXY_REMOTEURL": upstream.url}
        ) as cache,
    ):
        asked = f"{cache.url}/v2/team/app/manifests/{DIGEST}"
        for _ in range(2):
            refused = requests.get(asked, headers={"Accept": MEDIA_TYPE}, timeout=30)
            assert refused.status_code == 500
            assert "digest mismatch" in refused.text
        liar.manifest = ASKED_FOR
        served = requests.get(asked, headers={"Accept": MEDIA_TYPE}, timeout=30)
        assert (served.status_code, served.content) == (200, ASKED_FOR)
