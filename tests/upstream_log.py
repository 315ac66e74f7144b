"""What an upstream has answered, by its own access log."""

import re

_SENT = re.compile(r'"GET /v2/\S+/(?:manifests|blobs)/\S+ HTTP/1.1" 200 (\d+)')


def bytes_sent(upstream):
    """Bytes of manifests and blobs."""
    return sum(map(int, _SENT.findall(_log(upstream))))


def requests_answered(upstream):
    """Requests of clients."""
    return sum("http.request.uri=" in line for line in _log(upstream).splitlines())


def _log(upstream):
    return upstream.client.containers.get(upstream.name).logs().decode(errors="replace")
