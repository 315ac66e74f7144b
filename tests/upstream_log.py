"""What registries have answered, by their own access logs."""

import re
import time

_SENT = re.compile(r'"GET /v2/\S+/(?:manifests|blobs)/\S+ HTTP/1.1" 200 (\d+)')
# Docker has a line only some time after the client has its answer.
_QUIET_SECONDS = 0.7
_MOST_SECONDS = 20


def bytes_sent(upstream):
    """Bytes of manifests and blobs."""
    return _bytes(settled(upstream.client, upstream.name))


def bytes_sent_so_far(upstream):
    """The same while more are on their way."""
    return _bytes(_log(upstream.client, upstream.name))


def requests_answered(upstream):
    """Requests of clients."""
    return sum("http.request.uri=" in line for line in settled(upstream.client, upstream.name))


def settled(client, container):
    """The lines of a container's log, once no further one comes for a while."""
    deadline = time.monotonic() + _MOST_SECONDS
    lines, before = _log(client, container), None
    while lines != before and time.monotonic() < deadline:
        time.sleep(_QUIET_SECONDS)
        lines, before = _log(client, container), lines
    return lines


def _bytes(lines):
    return sum(int(size) for line in lines for size in _SENT.findall(line))


def _log(client, container):
    return client.containers.get(container).logs().decode(errors="replace").splitlines()
