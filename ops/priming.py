"""Makes a Harbor proxy cache store a blob, without downloading the blob to this machine.

On GET, Harbor fetches a blob that it does not have, and goes on after the client has disconnected
(`ProxyBlob` in `src/controller/proxy` of goharbor/harbor; observed with v2.16). On HEAD it answers
404 until it has the blob, and fetches nothing.
"""

import time

import httpx

from host import progress_bar
from ops.halt import Halt
from ops.registry import fetch
from ops.registry.fetch import FetchError, Source

# How long a blob may take: this long, and longer if it is large.
LEAST_SECONDS = 120.0
SLOWEST_BYTES_A_SECOND = 250_000
FIRST_POLL_SECONDS, MOST_POLL_SECONDS = 0.1, 2.0
# Harbor's fetch may fail silently after its answer, so the request is repeated after this long. If
# that fetch was still under way, Harbor fetches the blob twice at worst.
AGAIN_SECONDS = 60.0


def prime(registry: Source, repository: str, digest: str, size: int, halt: Halt) -> bool:
    """Return once a blob is there.

    Args:
        registry: a proxy cache.
        repository: of the blob.
        digest: of the blob.
        size: in bytes.
        halt: ends the wait.

    Returns:
        Whether it had to be fetched; false if it was there already.

    Raises:
        FetchError: the proxy cache can't get it, or does not store it in time.
    """
    path = f"{repository}/blobs/{digest}"
    if _is_stored(registry, path):
        return False
    fetch.begin(registry, path)
    url, started, begun = f"{registry.url}/{path}", time.monotonic(), 1
    allowed = LEAST_SECONDS + size / SLOWEST_BYTES_A_SECOND
    why = "check the project's quota and Harbor's disk; the log of Harbor's core says why"
    pause = FIRST_POLL_SECONDS
    while not _is_stored(registry, path):
        waited = time.monotonic() - started
        if waited > allowed:
            raise FetchError(f"{url}: requested, but not stored after {allowed:.0f} s: {why}")
        if waited > begun * AGAIN_SECONDS:
            if begun == 1:
                progress_bar.tell(
                    f"{url}: waiting until Harbor has stored it, for at most {allowed:.0f} s"
                )
            begun += 1
            try:
                fetch.begin(registry, path)
            except FetchError as error:  # the fetch under way may still succeed
                why = f"requested again, it answers {error}"
        halt.wait(pause)
        pause = min(2 * pause, MOST_POLL_SECONDS)
    return True


def _is_stored(registry: Source, path: str) -> bool:
    """Whether HEAD finds it.

    Raises:
        FetchError: the answer is neither 200 nor 404.
    """
    expected = (httpx.codes.OK, httpx.codes.NOT_FOUND)
    with fetch.asked(registry, "HEAD", path, expected) as answer:
        return answer.status_code == httpx.codes.OK
