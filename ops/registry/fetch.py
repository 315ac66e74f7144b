"""Fetches manifests and blobs from a registry by HTTP, and checks every byte of them.

API: the OCI distribution specification, v1.1.
"""

import functools
import ssl
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import httpx

from host.errors import TalosCacheError
from ops.chunks import CHUNK_BYTES
from ops.registry import answers, error_text
from ops.registry.verdicts import NO_REPOSITORY
from ops.tls.contexts import unverified_tls
from plan import patience
from plan.caches.cache import Cache
from plan.images.digest import SHA256, Hashed, digest_of_hex
from plan.images.manifests import INDEX_TYPES, MANIFEST_BYTES, MANIFEST_TYPES

# Between two bytes, and to connect: a cold cache first waits for its upstream.
TIMEOUT = httpx.Timeout(120, connect=5)
# For requests that only serve to learn more.
PROBE_SECONDS = 30
_ACCEPT = ", ".join((*INDEX_TYPES, *MANIFEST_TYPES))
_MESSAGE_LENGTH = 200
# A digest that no blob and no manifest has.
NOBODYS = digest_of_hex("0" * 64)
# There is no such blob. On HEAD of a blob, Harbor only looks at what it has, and asks no upstream.
NO_BLOB = f"{NO_REPOSITORY}/blobs/{NOBODYS}"
REFUSALS = (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN)


class FetchError(TalosCacheError):
    """A registry did not deliver; the text includes its message.

    Attributes:
        status: of its answer; 0 if there was none, or if it is not the problem.
        retry_after: the header of that name.
        is_broken_off: whether an answer ended too early.
    """

    def __init__(
        self, text: str, *, status: int = 0, retry_after: str = "", is_broken_off: bool = False
    ) -> None:
        super().__init__(text)
        self.status = status
        self.retry_after = retry_after
        self.is_broken_off = is_broken_off

    @property
    def is_temporary(self) -> bool:
        """Whether it says that it may deliver later."""
        return patience.is_temporary(self.status, str(self))


@dataclass(frozen=True, kw_only=True)
class Source:
    """A registry, or a part of one.

    Attributes:
        url: what comes before the name of a repository, without a slash at the end.
        client: for its requests; threads may share it.
    """

    url: str
    client: httpx.Client

    def close(self) -> None:
        """Close its connections; later requests fail."""
        self.client.close()


def source(
    url: str,
    *,
    auth: httpx.Auth | None = None,
    context: ssl.SSLContext | None = None,
    transport: httpx.BaseTransport | None = None,
) -> Source:
    """A registry on this machine or in the user's network: without the environment's proxies.

    Args:
        url: what comes before the name of a repository.
        auth: how to log in; None for no login.
        context: what to trust; None for the default.
        transport: how it is reached; None for the default.
    """
    headers = {"Accept": _ACCEPT, **answers.IDENTITY}
    # A registry that can't store what its upstream sent resets the connection after its answer:
    # the next request must not use it.
    single_use = httpx.Limits(max_keepalive_connections=0)
    client = httpx.Client(
        auth=auth,
        verify=True if context is None else context,
        timeout=TIMEOUT,
        limits=single_use,
        transport=transport,
        trust_env=False,
        headers=headers,
        follow_redirects=True,
        event_hooks={"response": [answers.cut_refusal]},
    )
    return Source(url=url, client=client)


@functools.cache
def of_cache(cache: Cache) -> Source:
    """What `opened` returns, once for each cache."""
    return opened(cache)


def opened(cache: Cache) -> Source:
    """A cache on this machine; images go by the names that nodes use for them."""
    auth = httpx.BasicAuth(cache.login.username, cache.login.password) if cache.login else None
    url = f"{cache.local_endpoint}/v2/{cache.path_prefix}".rstrip("/")
    return source(url, auth=auth, context=unverified_tls())


def manifest(registry: Source, repository: str, reference: str) -> bytes:
    """A manifest or an index, by tag or by digest.

    Raises:
        FetchError: the registry does not have it and can't get it, or sends something else.
    """
    content = b""

    def collect(chunk: bytes) -> None:
        nonlocal content
        content += chunk
        if len(content) > MANIFEST_BYTES:
            raise FetchError(f"{registry.url}/{path}: it is larger than any manifest")

    digest = reference if reference.startswith(SHA256) else ""
    path = f"{repository}/manifests/{reference}"
    _fetch(registry, path, digest, collect)
    return content


def blob(registry: Source, repository: str, digest: str, progress: Callable[[int], object]) -> None:
    """Make a cache deliver a blob, so that it stores it; the content is discarded.

    Args:
        registry: the cache.
        repository: that the blob belongs to.
        digest: of the blob.
        progress: called with the number of bytes of every chunk.

    Raises:
        FetchError: it is not delivered, or not completely.
    """
    path = f"{repository}/blobs/{digest}"
    _fetch(registry, path, digest, lambda chunk: progress(len(chunk)))


def upstream_trouble(
    registry: Source, repository: str, seconds: float | None = None
) -> FetchError | None:
    """Why a cache can't get anything from its upstream; None if it can.

    By tag a cache answers "manifest unknown" whatever its upstream has answered. For a blob that
    does not exist it passes on any status but 404. That costs the upstream one HEAD.

    Args:
        registry: the cache.
        repository: to request it from.
        seconds: to wait for an answer, if not the usual time.
    """
    return _refused(registry, f"{repository}/blobs/{NOBODYS}", seconds)


def limit_on_manifests(registry: Source, repository: str) -> FetchError | None:
    """Why a cache gets no manifest from an upstream that delivers blobs; None if it does.

    By digest it passes on the statuses that it understands, and turns all others into 500, many a
    404 too. That costs the upstream one GET of a manifest that does not exist.
    """
    error = _refused(registry, f"{repository}/manifests/{NOBODYS}", PROBE_SECONDS)
    return error if error and (error.is_temporary or error.status in REFUSALS) else None


def _refused(registry: Source, path: str, seconds: float | None) -> FetchError | None:
    timeout = None if seconds is None else httpx.Timeout(seconds)
    try:
        with asked(registry, "GET", path, timeout=timeout):
            return None
    except FetchError as error:
        return error if error.status not in (0, httpx.codes.NOT_FOUND) else None


def _message(answer: httpx.Response) -> str:
    """The start of an answer's error message, on one line."""
    return " ".join(error_text.error_message(answer.text).split())[:_MESSAGE_LENGTH]


def head(registry: Source, repository: str, reference: str) -> str:
    """The digest of a manifest or an index, as the registry states it; without its content.

    Raises:
        FetchError: the registry does not have it and can't get it, or does not state it.
    """
    path = f"{repository}/manifests/{reference}"
    with asked(registry, "HEAD", path) as answer:
        digest = answer.headers.get("Docker-Content-Digest", "")
    if not digest.startswith(SHA256):
        raise FetchError(f"{registry.url}/{path}: it answers without a digest")
    return str(digest)


def begin(registry: Source, path: str) -> None:
    """Request something, and close the connection as soon as the answer begins.

    Raises:
        FetchError: the registry does not have it and can't get it.
    """
    with asked(registry, "GET", path):
        pass


@contextmanager
def asked(
    registry: Source,
    method: str,
    path: str,
    expected: Collection[int] = (httpx.codes.OK,),
    timeout: httpx.Timeout | None = None,
) -> Iterator[httpx.Response]:
    """A registry's answer, as it begins; its connection is closed at the end.

    Args:
        registry: to send the request to.
        method: GET or HEAD.
        path: below the registry's URL.
        expected: statuses that are not a refusal.
        timeout: None for the registry's own.

    Raises:
        FetchError: there is no answer, another status, or not all of it.
    """
    url = f"{registry.url}/{path}"
    try:
        limits = timeout or registry.client.timeout
        with registry.client.stream(method, url, timeout=limits) as answer:
            if answer.status_code not in expected:
                answer.read()
                raise refusal(url, answer)
            yield answer
    except httpx.HTTPError as error:
        broken_off = isinstance(error, (httpx.RemoteProtocolError, httpx.ReadError))
        raise FetchError(
            f"{url}: {error or type(error).__name__}", is_broken_off=broken_off
        ) from error


def refusal(url: object, answer: httpx.Response) -> FetchError:
    """The error for a refusal, whose content has been read."""
    return FetchError(
        f"{url}: {answer.status_code} {_message(answer) or answer.reason_phrase}",
        status=answer.status_code,
        retry_after=answer.headers.get("Retry-After", ""),
    )


def _fetch(registry: Source, path: str, digest: str, take: Callable[[bytes], object]) -> None:
    with asked(registry, "GET", path) as answer:
        hashed = Hashed(answer.iter_raw(CHUNK_BYTES))
        for chunk in hashed:
            take(chunk)
    if digest and hashed.digest != digest:
        url = f"{registry.url}/{path}"
        raise FetchError(f"{url}: the content has another digest ({hashed.digest})")
