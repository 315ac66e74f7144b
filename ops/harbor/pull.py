"""Pulls images through a proxy cache of Harbor, so that it holds them; every byte is hashed.

Who asks says so as Docker's clients do: Harbor answers 401 with the address of its token service,
which gives a token for one repository (`src/server/middleware/v2auth` of goharbor/harbor).
"""

import hashlib
import re
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import httpx

from ops import answers, fetching
from ops.fetching import FetchError, Source
from ops.harbor.client import trusting
from plan import foreign_json, manifests
from plan.harbor import mirror_url
from plan.images import ImageReference, Platform

_CHALLENGE = re.compile(r'(\w+)="([^"]*)"')
# Of a token service's answer: a token has a few kilobytes.
TOKEN_BYTES = 256 * 1024
Blob = tuple[str, str]  # repository, digest


@dataclass(frozen=True, kw_only=True)
class Pulled:
    """What a pull did.

    Attributes:
        transferred: bytes of manifests and blobs that Harbor sent, each once in a repository.
        said: image -> why it did not come, for those that did not.
    """

    transferred: int
    said: Mapping[ImageReference, str]


class TokenAuth(httpx.Auth):
    """A registry's token authentication; tokens are kept for as long as they are taken.

    Source: "Token Authentication Specification" of distribution.

    Args:
        username: whose tokens; empty for anybody's, which open what is public.
        password: of that user.
    """

    def __init__(self, username: str, password: str) -> None:
        self._user = httpx.BasicAuth(username, password) if username else None
        self._tokens: dict[str, str] = {}

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Ask, and where that is refused with the address of a token service, ask with a token."""
        repository = request.url.path.rsplit("/", 2)[0]
        if token := self._tokens.get(repository):
            request.headers["Authorization"] = f"Bearer {token}"
        answer = yield request
        if answer.status_code == httpx.codes.UNAUTHORIZED and token:
            # It has run out. Harbor names its token service only to those who come without one.
            del request.headers["Authorization"]
            answer = yield request
        if answer.status_code != httpx.codes.UNAUTHORIZED:
            return
        asked = _token_request(request, answer.headers.get("WWW-Authenticate", ""))
        if asked is None:
            return
        if self._user is not None:
            asked = next(self._user.auth_flow(asked))
        given = yield asked
        self._tokens[repository] = _token(given)
        request.headers["Authorization"] = f"Bearer {self._tokens[repository]}"
        yield request


def source(url: str, project: str, username: str, password: str, ca_pem: str = "") -> Source:
    """A project of Harbor as a registry.

    Args:
        url: of the Harbor.
        project: name of the proxy cache.
        username: of a robot, or of a user; empty for nobody.
        password: of it.
        ca_pem: certificates to trust beside the machine's own.
    """
    return fetching.source(
        mirror_url(url, project), auth=TokenAuth(username, password), context=trusting(ca_pem)
    )


def pull(
    registry: Source,
    images: Sequence[ImageReference],
    platform: Platform,
    parallel: int,
    progress: Callable[[int], object],
) -> Pulled:
    """Make Harbor deliver images, and with that store them.

    Args:
        registry: the proxy cache of the images' upstream.
        images: all of that upstream.
        platform: which entry of an index is wanted.
        parallel: how much to fetch at once.
        progress: told the number of bytes of every piece that came.
    """
    wanted = tuple(dict.fromkeys(images))
    said: dict[ImageReference, str] = {}
    sizes: dict[Blob, int] = {}
    needed: dict[Blob, list[ImageReference]] = {}
    with ThreadPoolExecutor(max_workers=parallel) as pool:
        walks = [pool.submit(_manifests, registry, image, platform) for image in wanted]
        for image, walk in zip(wanted, walks, strict=True):
            try:
                contents, parts = walk.result()
            except (FetchError, manifests.ManifestError) as error:
                said[image] = str(error)
                continue
            sizes |= {(image.repository, _digest(some)): len(some) for some in contents}
            for part in parts:
                needed.setdefault((image.repository, part.digest), []).append(image)
        fetches = {blob: pool.submit(_blob, registry, blob, progress) for blob in needed}
        for blob, fetch in fetches.items():
            try:
                sizes[blob] = fetch.result()
            except FetchError as error:
                said |= {image: str(error) for image in needed[blob]}
    return Pulled(transferred=sum(sizes.values()), said=said)


def _manifests(
    registry: Source, image: ImageReference, platform: Platform
) -> tuple[tuple[bytes, ...], tuple[manifests.Descriptor, ...]]:
    """Contents of an image's manifests; its config and layers."""
    contents = [fetching.manifest(registry, image.repository, image.wanted)]
    manifest = manifests.parse(contents[0])
    if manifest.is_index:
        entry = manifests.for_platform(manifest, platform)
        if entry is None:
            raise FetchError(f"{image}: there is none for {platform}")
        contents.append(fetching.manifest(registry, image.repository, entry.digest))
        manifest = manifests.parse(contents[1])
    return tuple(contents), manifest.refers_to


def _blob(registry: Source, blob: Blob, progress: Callable[[int], object]) -> int:
    """Fetch it; its size in bytes. Harbor keeps what each repository has pulled, by repository."""
    size = 0

    def came(number: int) -> None:
        nonlocal size
        size += number
        progress(number)

    repository, digest = blob
    fetching.blob(registry, repository, digest, came)
    return size


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _token_request(refused: httpx.Request, challenge: str) -> httpx.Request | None:
    """The request for a token; None where the challenge is another.

    Raises:
        FetchError: the token service is elsewhere, and is not told the password.
    """
    kind, _, rest = challenge.partition(" ")
    parameters = dict(_CHALLENGE.findall(rest))
    if kind.lower() != "bearer" or "realm" not in parameters:
        return None
    realm = httpx.URL(parameters.pop("realm"))
    if _origin(realm) != _origin(refused.url):
        raise FetchError(
            f"{refused.url}: it sends for a token to {_origin(realm)}, and a password goes to no "
            "other server: write the URL that Harbor's own configuration has as external_url"
        )
    wanted = {name: parameters[name] for name in ("service", "scope") if name in parameters}
    return httpx.Request("GET", realm.copy_merge_params(wanted))


def _origin(url: httpx.URL) -> str:
    return f"{url.scheme}://{url.netloc.decode()}"


def _token(answer: httpx.Response) -> str:
    answers.cut(answer, TOKEN_BYTES)
    answer.read()
    if not answer.is_success:
        raise FetchError(
            f"{answer.url.copy_with(query=None)}: {answer.status_code} {fetching.words(answer)}: "
            "are the user name and the password right?"
        )
    try:
        given = foreign_json.read(answer.content)
        if not isinstance(given, Mapping):
            raise TypeError
        return str(given.get("token") or given["access_token"])
    except (ValueError, KeyError, TypeError) as error:
        raise FetchError(f"{answer.url.copy_with(query=None)}: it gives no token") from error
