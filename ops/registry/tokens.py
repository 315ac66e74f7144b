"""The dialogue of registries, their token services, and clients that want a token.

The other side may answer anything.

Source: "Token Authentication Specification" of distribution; RFC 9110, section 11.6.1.
"""

import re
from collections.abc import Generator, Mapping

import httpx

from ops.registry import answers, fetch
from ops.registry.error_text import parsed
from ops.registry.fetch import FetchError

# Of a token service's answer: a token has a few kilobytes.
TOKEN_BYTES = 256 * 1024
# A name starts where no other character of one is before it, so that none is looked at twice.
_PARAMETER = re.compile(r'(?<![\w-])([\w-]+)=(?:"((?:[^"\\]|\\.)*)"|([^\s,"]*))')
# What can be in a header: RFC 6750 allows even fewer characters.
_TOKEN = re.compile("[!-~]+")


def challenges(headers: httpx.Headers) -> dict[str, dict[str, str]]:
    """Scheme in lower case -> its parameters, as far as they can be read: one in each header."""
    by_scheme = {}
    for challenge in headers.get_list("WWW-Authenticate"):
        scheme, _, rest = challenge.strip().partition(" ")
        if scheme:
            by_scheme[scheme.lower()] = {
                name.lower(): re.sub(r"\\(.)", r"\1", quoted) or bare
                for name, quoted, bare in _PARAMETER.findall(rest)
            }
    return by_scheme


def token(text: str) -> str | None:
    """The token in the answer of a token service; None if there is none that could be sent."""
    content = parsed(text)
    if not isinstance(content, Mapping):
        return None
    issued = content.get("access_token") or content.get("token")
    return issued if isinstance(issued, str) and _TOKEN.fullmatch(issued) else None


def token_url(parameters: Mapping[str, str], scope: str = "") -> httpx.URL:
    """The URL of the request for a token.

    Args:
        parameters: of a challenge.
        scope: of the token; absent: what the challenge proposes.

    Raises:
        InvalidURL: the challenge names no URL.
    """
    query = {"service": parameters.get("service", ""), "scope": scope or parameters.get("scope")}
    present = {name: value for name, value in query.items() if value}
    return httpx.URL(parameters.get("realm", "")).copy_merge_params(present)


class BearerAuth(httpx.Auth):
    """Sends a token with every request."""

    def __init__(self, token: str) -> None:
        self.token = token

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Add it."""
        request.headers["Authorization"] = f"Bearer {self.token}"
        yield request


class RefusedError(FetchError):
    """The client may not pull it, or it does not exist: both look alike."""


class TokenAuth(httpx.Auth):
    """A registry's token authentication; tokens are kept for as long as they are accepted.

    Harbor gives one for each repository (`src/server/middleware/v2auth` of goharbor/harbor).

    Args:
        username: empty for anonymous tokens, which open what is public.
        password: of that user.
        keys: of the configuration that has these, if the user name may be a secret; absent: those
            of Harbor, and the user name is shown.
    """

    def __init__(self, username: str, password: str, keys: str = "") -> None:
        self._user = httpx.BasicAuth(username, password) if username else None
        self._name = f"the user {f'of {keys}' if keys else username}" if username else ""
        self._keys = keys or "harborLogin (or harborAdmin)"
        self._tokens: dict[str, str] = {}

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Send it; if that is refused with the URL of a token service, send it with a token."""
        repository = request.url.path.rsplit("/", 2)[0]
        if kept := self._tokens.get(repository):
            request.headers["Authorization"] = f"Bearer {kept}"
        answer = yield request
        if answer.status_code == httpx.codes.UNAUTHORIZED and kept:
            # It has expired. Harbor names its token service only to requests without one.
            del request.headers["Authorization"]
            answer = yield request
        if answer.status_code != httpx.codes.UNAUTHORIZED:
            return
        token_request = _token_request(request, answer)
        if token_request is None:
            return
        if self._user is not None:
            token_request = next(self._user.auth_flow(token_request))
        issued = yield token_request
        self._tokens[repository] = _issued_token(issued)
        request.headers["Authorization"] = f"Bearer {self._tokens[repository]}"
        answer = yield request
        if answer.status_code == httpx.codes.UNAUTHORIZED:
            raise RefusedError(self._refused(request.url), status=answer.status_code)

    def _refused(self, url: httpx.URL) -> str:
        """Harbor gives anyone a token, and says what is wrong only when it is used."""
        project = url.path.removeprefix("/v2/").partition("/")[0]
        if not self._name:
            return (
                f"{_origin(url)}: no one may pull from {project} without a login, or it does not "
                f"exist: set {self._keys}, or make the project public"
            )
        return (
            f"Harbor at {_origin(url)}: {self._name} may not pull from the project {project}, or "
            f"there is none of that name: correct {self._keys}, or let that account pull from the "
            "project"
        )


def _token_request(refused: httpx.Request, answer: httpx.Response) -> httpx.Request | None:
    """The request for a token; None for another kind of challenge.

    Raises:
        FetchError: the token service is elsewhere, so it does not get the password; or its URL is
            not valid.
    """
    parameters = challenges(answer.headers).get("bearer", {})
    if not parameters.get("realm"):
        return None
    try:
        realm = httpx.URL(parameters["realm"])
    except httpx.InvalidURL as error:
        raise FetchError(
            f"{refused.url}: it names the token service {parameters['realm']!r}: {error}"
        ) from error
    if _origin(realm) != _origin(refused.url):
        raise FetchError(
            f"{refused.url}: it names the token service {_origin(realm)}, but a password goes to "
            "no other server: write the URL that Harbor's own configuration has as external_url"
        )
    return httpx.Request("GET", token_url(parameters))


def _origin(url: httpx.URL) -> str:
    return f"{url.scheme}://{url.netloc.decode()}"


def _issued_token(answer: httpx.Response) -> str:
    answers.cut(answer, TOKEN_BYTES)
    answer.read()
    if not answer.is_success:
        error = fetch.refusal(answer.url.copy_with(query=None), answer)
        if error.is_temporary:
            raise error
        raise FetchError(f"{error}: are the user name and the password right?")
    issued = token(answer.content.decode(errors="replace"))
    if not issued:
        raise FetchError(f"{answer.url.copy_with(query=None)}: it gives no token")
    return issued
