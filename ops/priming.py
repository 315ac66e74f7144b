"""Has a proxy cache of Harbor's store a blob, without the blob being sent here.

Harbor fetches a blob that it lacks for itself as soon as somebody asks GET for it, and goes on when
whoever asked has hung up (`ProxyBlob` in `src/controller/proxy` of goharbor/harbor; v2.16 was seen
to). To HEAD it answers 404 until then, and fetches nothing.
"""

import time

import httpx

from host import progress_bar
from ops.halt import Halt
from ops.registry import fetch
from ops.registry.fetch import FetchError, Source

# How long a blob may take: so many seconds, and more for what is large.
LEAST_SECONDS = 120.0
SLOWEST_BYTES_A_SECOND = 250_000
FIRST_POLL_SECONDS, MOST_POLL_SECONDS = 0.1, 2.0
# Harbor's own fetch may fail when it has answered already, and nobody is told: so often it is asked
# again. If it was still at it, it fetches the blob twice at worst.
AGAIN_SECONDS = 60.0


def prime(registry: Source, repository: str, digest: str, size: int, halt: Halt) -> bool:
    """Return once a blob is there.

    Args:
        registry: a proxy cache.
        repository: that the blob belongs to.
        digest: of the blob.
        size: in bytes.
        halt: ends the wait.

    Returns:
        Whether it had to be fetched; false where it was there already.

    Raises:
        FetchError: the proxy cache can't get it, or does not store it in time.
    """
    path = f"{repository}/blobs/{digest}"
    if _is_stored(registry, path):
        return False
    fetch.begin(registry, path)
    url, started, begun = f"{registry.url}/{path}", time.monotonic(), 1
    allowed = LEAST_SECONDS + size / SLOWEST_BYTES_A_SECOND
    why = "is there a quota, or room on its disk? Its own log (Harbor's core) says why"
    pause = FIRST_POLL_SECONDS
    while not _is_stored(registry, path):
        waited = time.monotonic() - started
        if waited > allowed:
            raise FetchError(
                f"{url}: it was asked for, and is not stored after {allowed:.0f} s: {why}"
            )
        if waited > begun * AGAIN_SECONDS:
            if begun == 1:
                progress_bar.tell(
                    f"{url}: waiting until Harbor has stored it, for {allowed:.0f} s at most"
                )
            begun += 1
            try:
                fetch.begin(registry, path)
            except FetchError as error:  # what it is still fetching may come all the same
                why = f"asked for again, it says {error}"
        halt.wait(pause)
        pause = min(2 * pause, MOST_POLL_SECONDS)
    return True


def _is_stored(registry: Source, path: str) -> bool:
    """Whether HEAD finds it.

    Raises:
        FetchError: neither it does, nor that it is not there.
    """
    expected = (httpx.codes.OK, httpx.codes.NOT_FOUND)
    with fetch.asked(registry, "HEAD", path, expected) as answer:
        return answer.status_code == httpx.codes.OK
