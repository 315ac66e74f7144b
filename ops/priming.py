"""Has a proxy cache of Harbor's store a blob, without the blob being sent here.

Harbor fetches a blob that it lacks for itself as soon as somebody asks GET for it, and goes on when
whoever asked has hung up (`ProxyBlob` in `src/controller/proxy` of goharbor/harbor; v2.16 was seen
to). To HEAD it answers 404 until then, and fetches nothing.
"""

import time

import httpx

from ops import fetching
from ops.fetching import FetchError, Source

# How long a blob may take: so many seconds, and more for what is large.
LEAST_SECONDS = 120.0
SLOWEST_BYTES_A_SECOND = 250_000
FIRST_POLL_SECONDS, MOST_POLL_SECONDS = 0.1, 2.0


def prime(registry: Source, repository: str, digest: str, size: int) -> None:
    """Return once a blob is there.

    Args:
        registry: a proxy cache.
        repository: that the blob belongs to.
        digest: of the blob.
        size: in bytes.

    Raises:
        FetchError: the proxy cache can't get it, or does not store it in time.
    """
    path = f"{repository}/blobs/{digest}"
    if _is_stored(registry, path):
        return
    fetching.begin(registry, path)
    allowed = LEAST_SECONDS + size / SLOWEST_BYTES_A_SECOND
    deadline = time.monotonic() + allowed
    pause = FIRST_POLL_SECONDS
    while not _is_stored(registry, path):
        if time.monotonic() > deadline:
            raise FetchError(
                f"{registry.url}/{path}: it was asked for, and is not stored after {allowed:.0f} s:"
                " is there a quota, or room on its disk? Its own log (Harbor's core) says why"
            )
        time.sleep(pause)
        pause = min(2 * pause, MOST_POLL_SECONDS)


def _is_stored(registry: Source, path: str) -> bool:
    """Whether HEAD finds it.

    Raises:
        FetchError: neither it does, nor that it is not there.
    """
    url = f"{registry.url}/{path}"
    try:
        status = registry.client.head(url).status_code
    except httpx.HTTPError as error:
        raise FetchError(f"{url}: {error or type(error).__name__}") from error
    if status not in (httpx.codes.OK, httpx.codes.NOT_FOUND):
        raise FetchError(f"{url}: {status} {httpx.codes.get_reason_phrase(status)}")
    return status == httpx.codes.OK
