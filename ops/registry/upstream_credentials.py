"""Asks upstream registries, from this machine, whether a stack's caches can pull from them.

It goes the way that a cache goes (distribution v3.1.2, registry/proxy and internal/client/auth):
`GET /v2/`; where that is refused, again with basic authentication, or with a token that the
upstream's token service gives for the same user name and password, or for none. Where `/v2/` says
too little, a manifest is asked for by HEAD, which no upstream counts as a pull. Of certificates it
believes what the registry's image believes (Mozilla's authorities), and the private CA that it is
told of.
"""

import base64
import functools
import html
import json
import re
import ssl
import threading
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias
from urllib.parse import SplitResult, quote, quote_plus, urlsplit

import httpx
from publicsuffixlist import PublicSuffixList

from ops.registry import answers, tokens
from ops.registry.error_text import words
from ops.registry.fetch import NO_BLOB, NOBODYS, REFUSALS
from plan.images.manifests import INDEX_TYPES, MANIFEST_TYPES
from plan.network import ip_address, is_used
from plan.problems import MASK
from plan.settings.credentials import set_secret
from plan.upstreams import KNOWN

# For each step: to connect, and between two bytes.
TIMEOUT_SECONDS = 5
SHOWN_CHARACTERS = 300
# Of an answer; words of errors and tokens are far shorter.
ANSWER_BYTES = 256 * 1024
# Until somebody who waits for an anonymous answer goes on without it.
PATIENCE_SECONDS = 3
# The same for what fails an `up`: its steps have a time each, and a few bytes a second end none.
LOGIN_PATIENCE_SECONDS = 30
# A repository and a tag that are there, or were, and cost nobody anything; the one of docker.io is
# what its documentation of the limit names. Elsewhere one that is not there says enough.
KNOWN_IMAGES = {
    "docker.io": ("ratelimitpreview/test", "latest"),
    "registry.k8s.io": ("pause", "3.10"),
    "quay.io": ("prometheus/busybox", "latest"),
    "gcr.io": ("distroless/static", "latest"),
    "ghcr.io": ("siderolabs/kubelet", "latest"),
}
ANY_IMAGE = ("talos-cache/question", "latest")
_LATER = "wait until it is well again; what is cached is served meanwhile"
_NETWORK = (
    "open it in a browser and log in, name your network's proxy in upstreamProxy, or correct "
    "upstreams.{host}.remoteUrl"
)
# What an upstream says to whoever asks for an image that is not there, and means everybody. Others
# may call the name wrong (the Image Factory), or forbidden; and Harbor and Quay want a login for
# it, also of who has a token.
_SAYS_ENOUGH = (
    httpx.codes.OK,
    httpx.codes.TOO_MANY_REQUESTS,
    httpx.codes.SERVICE_UNAVAILABLE,
    httpx.codes.NETWORK_AUTHENTICATION_REQUIRED,
)
_SILENT = (httpx.codes.FORBIDDEN, httpx.codes.NOT_FOUND, httpx.codes.METHOD_NOT_ALLOWED)
MANIFESTS = ", ".join((*INDEX_TYPES, *MANIFEST_TYPES))
# What may stand before a page: a byte order mark as well.
BLANKS = " \t\r\n\f\ufeff"
# How OpenSSL calls an answer that is no TLS: its versions differ.
_NO_TLS = (
    "WRONG_VERSION_NUMBER",
    "PACKET_LENGTH_TOO_LONG",
    "RECORD_LAYER_FAILURE",
    "UNKNOWN_PROTOCOL",
    "HTTP_REQUEST",
)
# How `httpx` and `h11` call what has no class of its own there.
_LOCATION = "Invalid URL in location header"
_CLOSED = re.compile("Server disconnected|peer closed connection")
# OpenSSL's numbers of what can be wrong with a certificate that is trusted otherwise.
EXPIRED, NOT_YET_VALID, OTHER_HOST, OTHER_ADDRESS = 10, 9, 62, 64


@dataclass(frozen=True, kw_only=True)
class Question:
    """Whether an upstream can be pulled from, with these credentials.

    Attributes:
        host: upstream registry, as in an image reference.
        remote_url: where its API is, without a slash at the end.
        username: may be a secret as well; empty for nobody.
        password: or token.
        from_docker: whether these two are from the user's Docker configuration.
        path_prefix: of its repositories. One that has it may be a Harbor, which fetches manifests
            that it is asked for.
        ca_pem: certificates to trust beside the public authorities; empty for none.
        proxy_url: of a forward proxy, which may have a password in it; empty for none.
        no_proxy: who is asked without it, see `plan.network.is_used`.
    """

    host: str
    remote_url: str
    username: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    from_docker: bool = False
    path_prefix: str = ""
    ca_pem: str = ""
    proxy_url: str = field(default="", repr=False)
    no_proxy: tuple[str, ...] = ()

    @property
    def login(self) -> httpx.BasicAuth | None:
        """What it is asked with; None for anonymous pulls."""
        return httpx.BasicAuth(self.username, self.password) if self.password else None

    @property
    def known_image(self) -> tuple[str, str] | None:
        """A repository and a tag that are there; None where nobody knows, as of a mirror."""
        known = KNOWN.get(self.host)
        if self.path_prefix or known is None or self.remote_url != known.remote_url:
            return None
        return KNOWN_IMAGES.get(self.host)

    @property
    def repository(self) -> str:
        """Of these one that is there, where somebody knows; without what stands before all."""
        if self.path_prefix:
            return NO_BLOB.partition("/blobs/")[0]
        return (self.known_image or ANY_IMAGE)[0]


@dataclass(frozen=True, kw_only=True)
class Accepted:
    """Images can be pulled: the upstream takes the credentials, or asks for none."""

    host: str


@dataclass(frozen=True, kw_only=True)
class Refused:
    """The upstream, or its token service, does not take them.

    Attributes:
        host: upstream registry.
        status: 401 or 403.
        words: the upstream's own, without secrets; or why the credentials were not sent.
        fix: what to do.
    """

    host: str
    status: int
    words: str
    fix: str

    def __str__(self) -> str:
        return f"{self.host} refuses the credentials ({self.status}): {self.words}; {self.fix}"


@dataclass(frozen=True, kw_only=True)
class Useless:
    """It answers, and nothing can be pulled: a cache serves only what it has.

    Attributes:
        host: upstream registry.
        reason: as a half sentence about it.
        fix: what to do.
        what: can be pulled.
    """

    host: str
    reason: str
    fix: str
    what: str = "nothing"

    def __str__(self) -> str:
        return f"{self.what} can be pulled from {self.host}: {self.reason}; {self.fix}"


@dataclass(frozen=True, kw_only=True)
class Untrusted:
    """The certificate is not to be trusted, so nothing was sent: a cache would fail as well."""

    host: str
    words: str
    fix: str

    def __str__(self) -> str:
        return f"{self.host} has a certificate that is not trusted ({self.words}): {self.fix}"


@dataclass(frozen=True, kw_only=True)
class Unreachable:
    """No connection to it came about, as where there is no network."""

    host: str
    reason: str

    def __str__(self) -> str:
        asked = f"{self.host} could not be asked whether images can be pulled: {self.reason}"
        keys = f"upstreams.{self.host}.remoteUrl and upstreamProxy"
        return f"{asked}; check this machine's network, {keys}"


Verdict: TypeAlias = Accepted | Refused | Useless | Untrusted | Unreachable


def ask_all(questions: Sequence[Question]) -> tuple[Verdict, ...]:
    """The verdicts, in the order of the questions, which are asked side by side.

    Who asks anonymously waits `PATIENCE_SECONDS` at most, and `LOGIN_PATIENCE_SECONDS` with a
    login: looking up a name can take much longer where there is no network, and nothing ends that.
    """
    # Before the threads, each of which would make one of its own.
    for ca_pem in {question.ca_pem for question in questions}:
        context(ca_pem)
    asked = [_Asked(question) for question in questions]
    return tuple(one.verdict() for one in asked)


class _Asked:
    """A question under way, which the program does not wait for when it ends."""

    def __init__(self, question: Question) -> None:
        self._question = question
        self._patience = LOGIN_PATIENCE_SECONDS if question.login else PATIENCE_SECONDS
        self._deadline = time.monotonic() + self._patience
        self._way = Way()
        self._found: Verdict | BaseException | None = None
        self._thread = threading.Thread(target=self._ask, daemon=True)
        self._thread.start()

    def _ask(self) -> None:
        try:
            self._found = ask(self._question, self._way)
        except BaseException as error:
            self._found = error

    def verdict(self) -> Verdict:
        self._thread.join(max(0, self._deadline - time.monotonic()))
        if self._found is None and self._way.is_silent(self._patience / 2):
            return _silent(self._question, self._way, self._patience)
        if self._found is None:
            reason = f"no answer within {self._patience} s"
            return Unreachable(host=self._question.host, reason=reason)
        if isinstance(self._found, BaseException):
            raise self._found
        return self._found


class Way:
    """How far a question has come, for whoever waits for it.

    Attributes:
        url: that is asked now; empty before the first.
        is_connected: whether somebody has taken the connection, be it a proxy.
    """

    def __init__(self) -> None:
        self.url = ""
        self.is_connected = False
        self._since = time.monotonic()

    def begin(self, url: str) -> None:
        """The next request is this one's."""
        self.url = url
        self._since = time.monotonic()

    def is_silent(self, seconds: float) -> bool:
        """Whether the request under way has waited so long; several slow ones are a slow line."""
        return self.is_connected and time.monotonic() - self._since >= seconds

    def heard(self, event: str, _: Mapping[str, object]) -> None:
        """For the extension `trace` of a request: connections are kept for the next one."""
        if event.endswith(".connect_tcp.started"):
            self.is_connected = False
        elif event.endswith(".connect_tcp.complete"):
            self.is_connected = True


def ask(question: Question, way: Way | None = None) -> Verdict:
    """What the upstream says to these credentials. No verdict holds a secret.

    Args:
        question: to ask.
        way: told meanwhile how far it is.

    Raises:
        ValueError: `ca_pem` holds no certificates.
    """
    way = way or Way()
    try:
        with _client(question, way) as client:
            return _verdict(question, client)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return _failed(question, error, way)


def lacks_nobodys_blob(question: Question, repository: str) -> bool:
    """Whether it says to this machine that it does not have a blob that nobody has.

    That costs one HEAD. Who says so of a repository lets these credentials, or nobody's, pull from
    it: others say that it is forbidden, or nothing.

    Args:
        question: for which it is well.
        repository: without what stands before all of them.
    """
    path = f"{question.path_prefix}/{repository}" if question.path_prefix else repository
    try:
        with _client(question, Way()) as client:
            auth = _auth(question, client, path)
            url = f"{question.remote_url}/v2/{path}/blobs/{NOBODYS}"
            return _get(client, url, method="HEAD", auth=auth).status == httpx.codes.NOT_FOUND
    except (httpx.HTTPError, httpx.InvalidURL):
        return False


def _auth(question: Question, client: httpx.Client, path: str) -> httpx.Auth | None:
    """As a cache comes to it, for a repository; None where nothing is asked for, or given."""
    asked = _get(client, f"{question.remote_url}/v2/")
    if asked.status != httpx.codes.UNAUTHORIZED or "basic" in asked.challenges:
        return question.login
    asked_for = asked.challenges.get("bearer", {})
    realm = asked_for.get("realm", "")
    if _why_not_sent(question, realm):
        return None
    query = {"service": asked_for.get("service", ""), "scope": f"repository:{path}:pull"}
    given = {key: value for key, value in query.items() if value}
    url = str(httpx.URL(realm).copy_merge_params(given))
    token = tokens.token(_get(client, url, auth=question.login).text)
    return _Bearer(token) if token else None


def _client(question: Question, way: Way) -> httpx.Client:
    return httpx.Client(
        transport=Transport(question, way),
        trust_env=False,
        timeout=TIMEOUT_SECONDS,
        follow_redirects=True,
        headers=answers.IDENTITY,
        event_hooks={"response": [functools.partial(answers.cut, most=ANSWER_BYTES)]},
    )


@functools.cache
def context(ca_pem: str) -> ssl.SSLContext:
    """Trust as the registry has it: the public authorities, and these certificates.

    Reading the authorities takes longer than all the rest of a question, so they are read once.

    Raises:
        ValueError: there are no certificates in it.
    """
    made = httpx.create_ssl_context(trust_env=False)
    # As Go does: a trusted certificate need not be a root's, nor as complete as newer Pythons ask.
    made.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    made.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if ca_pem:
        try:
            made.load_verify_locations(cadata=ca_pem)
        except ssl.SSLError as error:
            raise ValueError(f"no certificates in PEM: {error.reason}") from error
    return made


@dataclass(frozen=True, kw_only=True)
class _Answer:
    method: str
    status: int
    headers: httpx.Headers
    text: str
    url: str

    @property
    def challenges(self) -> dict[str, dict[str, str]]:
        """How to log in, as in `tokens`."""
        return tokens.challenges(self.headers)

    @property
    def is_page(self) -> bool:
        """Whether it is made for people who look at it; no registry's answer is.

        Its media type does not tell: many a web framework calls everything a page, and so Quay the
        `true` that it answers at `/v2/`. Nothing else is there where the method is HEAD.
        """
        if self.challenges or "Docker-Distribution-Api-Version" in self.headers:
            return False
        if self.method == "HEAD":
            return str(self.headers.get("Content-Type", "")).startswith("text/html")
        return self.text.lstrip(BLANKS).startswith("<")

    @property
    def is_silent(self) -> bool:
        """Whether a cache goes on after this at `/v2/`: there it looks for a login only at 401.

        There are upstreams that serve images and nothing else, such as a web server with files.
        """
        return self.status in _SILENT and not self.is_page


class Transport(httpx.BaseTransport):
    """Asks through the proxy whom a cache would ask through it, redirects included."""

    def __init__(self, question: Question, way: Way | None = None) -> None:
        self._way = way or Way()
        trusted = context(question.ca_pem)
        self._no_proxy = question.no_proxy
        self._direct = httpx.HTTPTransport(verify=trusted, trust_env=False)
        self._proxied = self._direct
        if question.proxy_url:
            to_proxy = trusted if question.proxy_url.startswith("https://") else None
            proxy = httpx.Proxy(question.proxy_url, ssl_context=to_proxy)
            self._proxied = httpx.HTTPTransport(verify=trusted, trust_env=False, proxy=proxy)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Pass it on to whoever it is to go through."""
        self._way.begin(str(request.url))
        request.extensions = {**request.extensions, "trace": self._way.heard}
        try:
            proxied = is_used(str(request.url), self._no_proxy)
        except ValueError as error:  # where a redirect leads
            raise httpx.UnsupportedProtocol(str(error)) from error
        try:
            return (self._proxied if proxied else self._direct).handle_request(request)
        except UnicodeError as error:  # a name that can't be one
            raise httpx.UnsupportedProtocol(f"{request.url.host!r} is no name: {error}") from error

    def close(self) -> None:
        """Close the connections."""
        self._direct.close()
        self._proxied.close()


def _verdict(question: Question, client: httpx.Client) -> Verdict:
    url = f"{question.remote_url}/v2/"
    asked = _get(client, url)
    challenges = asked.challenges
    if asked.status != httpx.codes.UNAUTHORIZED or _is_networks(question, asked):
        return _without_login(question, client, asked)
    # Where both are offered the cache sends these in the end, too.
    if "basic" in challenges:
        if question.login is None:
            return _wants_login(question, f"it wants a login{_says(question, asked)}")
        return _with_login(question, client, question.login)
    if "bearer" not in challenges:
        offered = ", ".join(sorted(challenges)) or "nothing"
        said = f"it offers neither Basic nor Bearer authentication, but {offered}"
        return _can_not_log_in(question, _clean(said, question))
    return _by_token(question, client, challenges["bearer"])


def _without_login(question: Question, client: httpx.Client, asked: _Answer) -> Verdict:
    """Of an upstream that wants no login at `/v2/`."""
    judged = _judged(question, asked)
    if isinstance(judged, Accepted) or asked.is_silent:
        return _of_images(question, client, before=asked)
    return judged


def _by_token(question: Question, client: httpx.Client, asked_for: Mapping[str, str]) -> Verdict:
    realm = asked_for.get("realm", "")
    if why := _why_not_sent(question, realm):
        return _can_not_log_in(question, _clean(why, question))
    issued = _issued(question, client, realm, asked_for)
    if issued.status != httpx.codes.OK:
        if question.login is None and issued.status in REFUSALS:
            said = _says(question, issued)
            return _wants_login(question, f"its token service gives no token without a login{said}")
        return _judged(question, issued, "its token service")
    token = tokens.token(issued.text)
    if not token and issued.is_page:
        return _judged(question, issued, "its token service")
    if not token:
        return _useless(question, "its token service answers without a token", _LATER)
    bearer = _Bearer(token)
    if question.login:
        return _with_login(question, client, bearer, secrets=(token,))
    if question.known_image or question.path_prefix:
        return _of_images(question, client, bearer)
    shown = _get(client, f"{question.remote_url}/v2/", auth=bearer)
    if shown.status == httpx.codes.UNAUTHORIZED or shown.is_silent:
        # Harbor and Quay let nobody in here without a login, and have public images all the same.
        return _of_images(question, client, bearer)
    return _judged(question, shown, secrets=(token,))


def _issued(
    question: Question, client: httpx.Client, realm: str, asked_for: Mapping[str, str]
) -> _Answer:
    """What the token service answers."""
    query = {key: asked_for[key] for key in ("service", "scope") if asked_for.get(key)}
    example = httpx.URL(realm).copy_merge_params(query)
    # For one repository, as a pull has it: what the challenge proposes is an example.
    scope = f"repository:{_repository(question)}:pull"
    issued = None
    if question.login is None or question.path_prefix or question.known_image:
        issued = _get(client, str(example.copy_set_param("scope", scope)), auth=question.login)
    if issued is None or (question.known_image and question.login and issued.status in REFUSALS):
        # It may have been the image that was refused, and not the credentials.
        issued = _get(client, str(example), auth=question.login)
    return issued


class _Bearer(httpx.Auth):
    """A token that is sent along."""

    def __init__(self, token: str) -> None:
        self._token = token

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        request.headers["Authorization"] = f"Bearer {self._token}"
        yield request


def _with_login(
    question: Question, client: httpx.Client, auth: httpx.Auth, secrets: Sequence[str] = ()
) -> Verdict:
    """Whether `/v2/` takes the login; and what is below a path, or an image that is known, adds.

    By the second alone a login that a Harbor does not know would be well where anybody may pull.
    """
    shown = _get(client, f"{question.remote_url}/v2/", auth=auth)
    judged = _judged(question, shown, secrets=secrets)
    if isinstance(judged, Refused):
        return judged
    is_more = isinstance(judged, Accepted) and (question.path_prefix or question.known_image)
    return _of_images(question, client, auth) if is_more or shown.is_silent else judged


def _repository(question: Question) -> str:
    """What is asked for beside `/v2/`."""
    prefix = f"{question.path_prefix}/" if question.path_prefix else ""
    return f"{prefix}{question.repository}"


def _of_images(
    question: Question,
    client: httpx.Client,
    auth: httpx.Auth | None = None,
    before: _Answer | None = None,
) -> Verdict:
    """What HEAD of an image adds to `/v2/`; that there is none says that there could be.

    `before` is what `/v2/` has said without a login.
    """
    if question.path_prefix:
        return _below_path(question, client, auth)
    known = question.known_image
    repository, tag = known or ANY_IMAGE
    url = f"{question.remote_url}/v2/{repository}/manifests/{tag}"
    answer = _get(client, url, method="HEAD", auth=auth, headers={"Accept": MANIFESTS})
    is_refused = answer.status == httpx.codes.FORBIDDEN and (known or question.login)
    if is_refused and before and before.status == answer.status:
        return _judged(question, before)  # its words: an answer to HEAD has none
    is_closed = known and question.login and answer.status in REFUSALS
    if auth is None and (is_closed or answer.status == httpx.codes.UNAUTHORIZED):
        return _wants_login_elsewhere(question, f"manifests ({answer.status})")
    if is_closed:
        return _closed_image(question, repository, answer.status)
    if answer.status == httpx.codes.NOT_FOUND or (not known and answer.status not in _SAYS_ENOUGH):
        return Accepted(host=question.host)
    return _judged(question, answer)


def _closed_image(question: Question, repository: str, status: int) -> Verdict:
    """Of credentials that are right. Other images may come all the same, so it is no refusal."""
    reason = (
        f"it takes the credentials, and refuses {repository}, which anybody may pull ({status})"
    )
    fix = f"let that account pull public images, or {_correct(question)}"
    return Useless(host=question.host, reason=reason, fix=fix, what="not everything")


def _below_path(question: Question, client: httpx.Client, auth: httpx.Auth | None) -> Verdict:
    """What HEAD of a blob that nobody has adds: no manifest's, which a Harbor would fetch."""
    url = f"{question.remote_url}/v2/{question.path_prefix}/{NO_BLOB}"
    answer = _get(client, url, method="HEAD", auth=auth)
    if answer.status in REFUSALS:
        if auth is None and (question.login or answer.status == httpx.codes.UNAUTHORIZED):
            return _wants_login_elsewhere(question, f"blobs ({answer.status})")
        return _closed_path(question, answer.status)
    if answer.status not in _SAYS_ENOUGH:
        return Accepted(host=question.host)
    return _judged(question, answer)


def _closed_path(question: Question, status: int) -> Verdict:
    prefix = question.path_prefix
    if question.login:
        words = f"they may not pull below {prefix}, or there is nothing of that name"
        fix = f"{_correct(question)}, or correct upstreams.{question.host}.pathPrefix"
        return Refused(host=question.host, status=status, words=words, fix=fix)
    reason = f"nobody without a login may pull below {prefix} ({status}), or it is not there"
    fix = f"log in: {_set(question)}, or correct upstreams.{question.host}.pathPrefix"
    return _useless(question, reason, fix)


def _wants_login_elsewhere(question: Question, what: str) -> Verdict:
    unused = ": the credentials are not used" if question.login else ""
    where = "does not say so at /v2/, the only place where a cache looks"
    reason = f"it wants a login for {what} but {where}{unused}"
    return _useless(question, reason, _without_a_cache(question))


def _is_networks(question: Question, answer: _Answer) -> bool:
    """Whether a page stands in the place of the upstream, as a network has it for strangers.

    One that refuses somebody, or says how to log in, may be a web server's before a registry.
    """
    if answer.status in REFUSALS:
        return answer.is_page and question.login is None
    return answer.is_page and answer.status == httpx.codes.OK


def _get(
    client: httpx.Client,
    url: str,
    *,
    method: str = "GET",
    auth: httpx.Auth | None = None,
    headers: Mapping[str, str] | None = None,
) -> _Answer:
    answer = client.request(method, url, auth=auth or httpx.USE_CLIENT_DEFAULT, headers=headers)
    text = answer.content.decode(errors="replace")
    return _Answer(
        method=method,
        status=answer.status_code,
        headers=answer.headers,
        text=text,
        url=str(answer.url),
    )


def _judged(
    question: Question, answer: _Answer, who: str = "it", secrets: Sequence[str] = ()
) -> Verdict:
    """What a last answer means."""
    if _is_networks(question, answer):
        where = _clean(_address(urlsplit(answer.url)), question, secrets)
        reason = (
            f"{who} answers with a web page (from {where}), as the login page of a network does"
        )
        return _useless(question, reason, _NETWORK.format(host=question.host))
    if answer.status == httpx.codes.OK:
        return Accepted(host=question.host)
    said = _clean(words(answer.text), question, secrets) or _phrase(answer.status)
    if answer.status in REFUSALS:
        return _refusal(question, answer.status, said)
    if answer.status == httpx.codes.TOO_MANY_REQUESTS:
        reason = f"{who} has had too many requests from here (429): {said}"
        fix = f"wait, or use an account of yours there: {_set(question)}"
        if question.login:
            fix = "wait, or use an account there that has a higher limit"
        return _useless(question, reason, fix)
    later = answer.status >= httpx.codes.INTERNAL_SERVER_ERROR
    if answer.status == httpx.codes.NETWORK_AUTHENTICATION_REQUIRED:
        later = False
    fix = _LATER if later else _NETWORK
    reason = f"{who} answers with status {answer.status}: {said}"
    return _useless(question, reason, fix.format(host=question.host))


def _phrase(status: int) -> str:
    """What a status stands for, where nothing else is said."""
    return httpx.codes.get_reason_phrase(status) or "it says nothing more"


def _refusal(question: Question, status: int, said: str) -> Verdict:
    """What the upstream answers to somebody, or to nobody."""
    if question.login:
        fix = _correct(question)
        return Refused(host=question.host, status=status, words=said, fix=fix)
    if status == httpx.codes.UNAUTHORIZED:
        return _wants_login(question, f"it lets nobody in without a login ({status}): {said}")
    fix = f"{_NETWORK.format(host=question.host)}, or set credentials: {_set(question)}"
    return _useless(question, f"it refuses this machine ({status}): {said}", fix)


def _can_not_log_in(question: Question, why: str) -> Verdict:
    """Of an upstream that wants a login in a way that no cache knows."""
    fix = _without_a_cache(question)
    if question.login:
        status = httpx.codes.UNAUTHORIZED
        return Refused(host=question.host, status=status, words=why, fix=fix)
    return _useless(question, f"it wants a login, and {why}", fix)


def _without_a_cache(question: Question) -> str:
    return f"take {question.host} out of upstreams: nodes can ask it themselves"


def _wants_login(question: Question, reason: str) -> Useless:
    return _useless(question, reason, f"the stack has no credentials for it: {_set(question)}")


def _useless(question: Question, reason: str, fix: str) -> Useless:
    return Useless(host=question.host, reason=reason, fix=fix)


def _correct(question: Question) -> str:
    """What to do about credentials that the stack has."""
    if question.from_docker:
        return f"run docker login {question.host}"
    return f'correct credentials["{question.host}"]'


def _set(question: Question) -> str:
    return f"{set_secret(question.host, 'username')} (then the same for password)"


def _says(question: Question, answer: _Answer) -> str:
    said = _clean(words(answer.text), question)
    return f" ({answer.status}): {said}" if said else f" ({answer.status})"


def _why_not_sent(question: Question, realm: str) -> str:
    """Why this token service is not asked; empty if it is.

    The cache asks only one at the upstream's own host and port, or in its registrable domain
    (`realmAllowed` in registry/proxy/proxyauth.go). That passwords don't leave TLS is our own.
    """
    try:
        upstream, service = urlsplit(question.remote_url), urlsplit(realm)
        names = service.hostname
    except ValueError:
        names = None
    if not names or service.scheme not in ("http", "https"):
        return f"it names no token service that can be asked: {realm!r}"
    shown = f"{service.scheme}://{_address(service)}"
    if question.login and (upstream.scheme, service.scheme) == ("https", "http"):
        return f"its token service {shown} has no TLS, the password was not sent to it"
    if _address(upstream) == _address(service):
        return ""
    if _share_a_domain(upstream.hostname or "", names):
        return ""
    sends = "sends no password there" if question.login else "asks for no token there"
    return (
        f"its token service {shown} is not in its own domain: a cache {sends}, and neither did this"
    )


def _address(parts: SplitResult) -> str:
    """Host and port, without who asks."""
    return parts.netloc.rpartition("@")[2].lower()


def _share_a_domain(*hosts: str) -> bool:
    """Whether all have one registrable domain, which addresses and localhost never share.

    Names that have none, such as `registry`, are all of one domain: for the cache as well.
    """
    if any(host == "localhost" or ip_address(host) is not None for host in hosts):
        return False
    suffixes = PublicSuffixList()
    return len({suffixes.privatesuffix(host) for host in hosts}) == 1


def _failed(
    question: Question, error: httpx.HTTPError | httpx.InvalidURL, way: Way
) -> Untrusted | Unreachable | Useless:
    """What it means that there was no answer."""
    causes = tuple(_causes(error))
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            fix = _fix_of(cause.verify_code, question.host)
            said = _clean(cause.verify_message, question)
            return Untrusted(host=question.host, words=said, fix=fix)
    is_timeout = isinstance(error, httpx.TimeoutException)
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout) and not way.is_connected:
        why = next((c.strerror for c in causes if isinstance(c, OSError) and c.strerror), "")
        why = why or str(error) or type(error).__name__
        why = f"no answer within {TIMEOUT_SECONDS} s" if is_timeout else why
        where = f"{_address(urlsplit(way.url))}{_behind(question, way)}: "
        return Unreachable(host=question.host, reason=f"{where}{_clean(why, question)}")
    if is_timeout:
        return _silent(question, way, TIMEOUT_SECONDS)
    return _broken(question, error, causes, way)


def _silent(question: Question, way: Way, seconds: float) -> Useless:
    """Of one who is there: who has no network gets no connection."""
    reason = f"{_who(question, way)} takes connections, and does not answer within {seconds} s"
    fix = "wait until it is well again (what is cached is served meanwhile), or "
    return _useless(question, reason, fix + _correct_address(question, way))


def _broken(
    question: Question,
    error: httpx.HTTPError | httpx.InvalidURL,
    causes: Sequence[BaseException],
    way: Way,
) -> Useless:
    """What no registry does that anybody could pull from, in words that are not the library's."""
    who, fix = _who(question, way), _correct_address(question, way)
    in_tls = next((one for one in causes if isinstance(one, ssl.SSLError)), None)
    if isinstance(error, httpx.ProxyError):
        proxy = _address(urlsplit(question.proxy_url))
        at = _address(urlsplit(way.url))
        reason = f"the proxy {proxy} does not let anybody through to {at}: {error}"
        fix = "correct upstreamProxy"
    elif isinstance(error, httpx.TooManyRedirects):
        reason = f"{who} redirects in circles"
    elif isinstance(error, httpx.UnsupportedProtocol | httpx.InvalidURL) or _LOCATION in str(error):
        reason = f"it names an address that can't be asked ({error})"
    elif in_tls and in_tls.reason in _NO_TLS:
        reason = f"{who} does not speak TLS"
        if _is_its_own(question, way):
            fix = f"write http:// in upstreams.{question.host}.remoteUrl, if that is meant"
    elif in_tls and not isinstance(in_tls, ssl.SSLEOFError):
        said = str(in_tls.reason or in_tls).lower().replace("_", " ")
        reason = f"no TLS comes about between this machine and {who} ({said})"
    elif isinstance(error, httpx.NetworkError) or _CLOSED.match(str(error)):
        reason = f"{who} closes connections before it has answered"
    else:
        reason = f"{who} does not answer as a registry does ({error or type(error).__name__})"
    return _useless(question, _clean(reason, question), fix)


def _correct_address(question: Question, way: Way) -> str:
    fix = f"correct upstreams.{question.host}.remoteUrl"
    return f"{fix} or upstreamProxy" if _behind(question, way) else fix


def _who(question: Question, way: Way) -> str:
    """Who did not answer: the upstream, or whom it has sent the question to."""
    at = _clean(_address(urlsplit(way.url)), question)
    who = "it" if _is_its_own(question, way) else f"{at}, where it sends whoever asks,"
    return f"{who}{_behind(question, way)}"


def _is_its_own(question: Question, way: Way) -> bool:
    own = urlsplit(str(httpx.URL(question.remote_url))) if way.url else None
    return own is None or _address(own) == _address(urlsplit(way.url))


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _behind(question: Question, way: Way) -> str:
    """The proxy that the question goes through, if it does."""
    try:
        is_proxied = question.proxy_url and way.url and is_used(way.url, question.no_proxy)
    except ValueError:  # where a redirect leads
        return ""
    return f" through the proxy {_address(urlsplit(question.proxy_url))}" if is_proxied else ""


def _fix_of(code: int, host: str) -> str:
    if code in (EXPIRED, NOT_YET_VALID):
        return "renew it, or correct this machine's clock"
    if code in (OTHER_HOST, OTHER_ADDRESS):
        return f"it is for another name: correct upstreams.{host}.remoteUrl, or the certificate"
    return f"name the CA that it is from with upstreams.{host}.ca"


def _clean(text: str, question: Question, secrets: Sequence[str] = ()) -> str:
    """One line without secrets, in whatever dress they may come back, and not too long."""
    proxy = urlsplit(question.proxy_url)
    login = f"{question.username}:{question.password}".encode()
    held = {question.password, base64.b64encode(login).decode(), proxy.password or "", *secrets}
    for secret in sorted({d for one in held if one for d in _dresses(one)}, key=len, reverse=True):
        text = text.replace(secret, MASK)
    if question.username:
        text = re.sub(rf"(?<!\w){re.escape(question.username)}(?!\w)", MASK, text)
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[: SHOWN_CHARACTERS - 3]}..."


def _dresses(secret: str) -> set[str]:
    """The secret, and what HTML, URLs and JSON make of it (Go's JSON: three more characters)."""
    in_json = {json.dumps(secret, ensure_ascii=ascii_only)[1:-1] for ascii_only in (True, False)}
    in_go = {re.sub("[<>&]", lambda m: f"\\u{ord(m[0]):04x}", one) for one in in_json}
    in_urls = {quote(secret), quote(secret, safe=""), quote_plus(secret)}
    return {secret, html.escape(secret), *in_json, *in_go, *in_urls}
