"""The dialogue of registries, their token services, and those who want a token.

What the other side says may be anything.

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
# A name starts where no other character of one stands before it, so that none is looked at twice.
_PARAMETER = re.compile(r'(?<![\w-])([\w-]+)=(?:"((?:[^"\\]|\\.)*)"|([^\s,"]*))')
# What can stand in a header: RFC 6750 allows fewer characters still.
_TOKEN = re.compile("[!-~]+")


def challenges(headers: httpx.Headers) -> dict[str, dict[str, str]]:
    """Scheme in lower case -> its parameters, as far as they can be read: one in each header."""
    found = {}
    for challenge in headers.get_list("WWW-Authenticate"):
        scheme, _, rest = challenge.strip().partition(" ")
        if scheme:
            found[scheme.lower()] = {
                name.lower(): re.sub(r"\\(.)", r"\1", quoted) or bare
                for name, quoted, bare in _PARAMETER.findall(rest)
            }
    return found


def token(text: str) -> str | None:
    """The token in what a token service answers; None if there is none that could be sent."""
    content = parsed(text)
    if not isinstance(content, Mapping):
        return None
    given = content.get("access_token") or content.get("token")
    return given if isinstance(given, str) and _TOKEN.fullmatch(given) else None


def token_url(parameters: Mapping[str, str], scope: str = "") -> httpx.URL:
    """Where a token is asked for.

    Args:
        parameters: of a challenge.
        scope: what it is to open; absent: what the challenge proposes.

    Raises:
        InvalidURL: the challenge names no URL.
    """
    wanted = {"service": parameters.get("service", ""), "scope": scope or parameters.get("scope")}
    given = {name: value for name, value in wanted.items() if value}
    return httpx.URL(parameters.get("realm", "")).copy_merge_params(given)


class BearerAuth(httpx.Auth):
    """A token that is sent along."""

    def __init__(self, token: str) -> None:
        self.token = token

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Add it."""
        request.headers["Authorization"] = f"Bearer {self.token}"
        yield request


class RefusedError(FetchError):
    """Who asks may not, with or without a login; or it is not there, which is not told apart."""


class TokenAuth(httpx.Auth):
    """A registry's token authentication; tokens are kept for as long as they are taken.

    Harbor gives one for each repository (`src/server/middleware/v2auth` of goharbor/harbor).

    Args:
        username: whose tokens; empty for anybody's, which open what is public.
        password: of that user.
        keys: of the configuration, where these come from, and a name that may be a secret; absent:
            those of Harbor, whose name is none.
    """

    def __init__(self, username: str, password: str, keys: str = "") -> None:
        self._user = httpx.BasicAuth(username, password) if username else None
        self._name = f"the user {f'of {keys}' if keys else username}" if username else ""
        self._keys = keys or "harborLogin (or harborAdmin)"
        self._tokens: dict[str, str] = {}

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Ask, and where that is refused with the address of a token service, ask with a token."""
        repository = request.url.path.rsplit("/", 2)[0]
        if kept := self._tokens.get(repository):
            request.headers["Authorization"] = f"Bearer {kept}"
        answer = yield request
        if answer.status_code == httpx.codes.UNAUTHORIZED and kept:
            # It has run out. Harbor names its token service only to those who come without one.
            del request.headers["Authorization"]
            answer = yield request
        if answer.status_code != httpx.codes.UNAUTHORIZED:
            return
        asked = _token_request(request, answer)
        if asked is None:
            return
        if self._user is not None:
            asked = next(self._user.auth_flow(asked))
        given = yield asked
        self._tokens[repository] = _given_token(given)
        request.headers["Authorization"] = f"Bearer {self._tokens[repository]}"
        answer = yield request
        if answer.status_code == httpx.codes.UNAUTHORIZED:
            raise RefusedError(self._refused(request.url), status=answer.status_code)

    def _refused(self, url: httpx.URL) -> str:
        """Harbor gives a token to everybody, and says what is wrong only when it is used."""
        project = url.path.removeprefix("/v2/").partition("/")[0]
        if not self._name:
            return (
                f"{_origin(url)}: nobody without a login may pull from {project}, or it is not "
                f"there: set {self._keys}, or make the project public"
            )
        return (
            f"Harbor at {_origin(url)}: {self._name} may not pull from the project {project}, or "
            f"there is none of this name: correct {self._keys}, or let that account pull from the "
            "project"
        )


def _token_request(refused: httpx.Request, answer: httpx.Response) -> httpx.Request | None:
    """The request for a token; None where the challenge is another.

    Raises:
        FetchError: the token service is elsewhere, and is not told the password; or is none.
    """
    parameters = challenges(answer.headers).get("bearer", {})
    if not parameters.get("realm"):
        return None
    try:
        realm = httpx.URL(parameters["realm"])
    except httpx.InvalidURL as error:
        raise FetchError(
            f"{refused.url}: it sends for a token to {parameters['realm']!r}: {error}"
        ) from error
    if _origin(realm) != _origin(refused.url):
        raise FetchError(
            f"{refused.url}: it sends for a token to {_origin(realm)}, and a password goes to no "
            "other server: write the URL that Harbor's own configuration has as external_url"
        )
    return httpx.Request("GET", token_url(parameters))


def _origin(url: httpx.URL) -> str:
    return f"{url.scheme}://{url.netloc.decode()}"


def _given_token(answer: httpx.Response) -> str:
    answers.cut(answer, TOKEN_BYTES)
    answer.read()
    if not answer.is_success:
        error = fetch.refusal(answer.url.copy_with(query=None), answer)
        if error.is_temporary:
            raise error
        raise FetchError(f"{error}: are the user name and the password right?")
    given = token(answer.content.decode(errors="replace"))
    if not given:
        raise FetchError(f"{answer.url.copy_with(query=None)}: it gives no token")
    return given
