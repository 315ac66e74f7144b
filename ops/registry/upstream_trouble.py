"""What is wrong with an upstream, and what to do about it, in words without secrets."""

import base64
import html
import json
import re
import ssl
from collections.abc import Iterator, Sequence
from urllib.parse import SplitResult, quote, quote_plus, urlsplit

import httpx
from publicsuffixlist import PublicSuffixList

from ops.registry import upstream_transport
from ops.registry.error_text import words
from ops.registry.fetch import REFUSALS
from ops.registry.upstream_transport import (
    Answer,
    Way,
)
from ops.registry.verdicts import (
    Accepted,
    Question,
    Refused,
    Unreachable,
    Untrusted,
    Useless,
    Verdict,
)
from plan.network import ip_address, is_used
from plan.problems import MASK
from plan.settings.credentials import set_secret

SHOWN_CHARACTERS = 300
LATER = "wait until it is well again; what is cached is served meanwhile"
_NETWORK = (
    "open it in a browser and log in, name your network's proxy in upstreamProxy, or correct "
    "upstreams.{host}.remoteUrl"
)
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


def is_networks(question: Question, answer: Answer) -> bool:
    """Whether a page stands in the place of the upstream, as a network has it for strangers.

    One that refuses somebody, or says how to log in, may be a web server's before a registry.
    """
    if answer.status in REFUSALS:
        return answer.is_page and question.login is None
    return answer.is_page and answer.status == httpx.codes.OK


def judged_answer(
    question: Question, answer: Answer, who: str = "it", secrets: Sequence[str] = ()
) -> Verdict:
    """What a last answer means."""
    if is_networks(question, answer):
        where = clean(_address(urlsplit(answer.url)), question, secrets)
        reason = (
            f"{who} answers with a web page (from {where}), as the login page of a network does"
        )
        return useless(question, reason, _NETWORK.format(host=question.host))
    if answer.status == httpx.codes.OK:
        return Accepted(host=question.host)
    said = clean(words(answer.text), question, secrets) or _phrase(answer.status)
    if answer.status in REFUSALS:
        return _refusal(question, answer.status, said)
    if answer.status == httpx.codes.TOO_MANY_REQUESTS:
        reason = f"{who} has had too many requests from here (429): {said}"
        fix = f"wait, or use an account of yours there: {how_to_set(question)}"
        if question.login:
            fix = "wait, or use an account there that has a higher limit"
        return useless(question, reason, fix)
    later = answer.status >= httpx.codes.INTERNAL_SERVER_ERROR
    if answer.status == httpx.codes.NETWORK_AUTHENTICATION_REQUIRED:
        later = False
    fix = LATER if later else _NETWORK
    reason = f"{who} answers with status {answer.status}: {said}"
    return useless(question, reason, fix.format(host=question.host))


def _phrase(status: int) -> str:
    """What a status stands for, where nothing else is said."""
    return httpx.codes.get_reason_phrase(status) or "it says nothing more"


def _refusal(question: Question, status: int, said: str) -> Verdict:
    """What the upstream answers to somebody, or to nobody."""
    if question.login:
        fix = how_to_correct(question)
        return Refused(host=question.host, status=status, words=said, fix=fix)
    if status == httpx.codes.UNAUTHORIZED:
        return wants_login(question, f"it lets nobody in without a login ({status}): {said}")
    fix = f"{_NETWORK.format(host=question.host)}, or set credentials: {how_to_set(question)}"
    return useless(question, f"it refuses this machine ({status}): {said}", fix)


def can_not_log_in(question: Question, why: str) -> Verdict:
    """Of an upstream that wants a login in a way that no cache knows."""
    fix = without_a_cache(question)
    if question.login:
        status = httpx.codes.UNAUTHORIZED
        return Refused(host=question.host, status=status, words=why, fix=fix)
    return useless(question, f"it wants a login, and {why}", fix)


def without_a_cache(question: Question) -> str:
    """The way round a cache that can't work."""
    return f"take {question.host} out of upstreams: nodes can ask it themselves"


def wants_login(question: Question, reason: str) -> Useless:
    """Of an upstream that lets nobody in without a login."""
    return useless(question, reason, f"the stack has no credentials for it: {how_to_set(question)}")


def useless(question: Question, reason: str, fix: str) -> Useless:
    """The verdict, for the question's host."""
    return Useless(host=question.host, reason=reason, fix=fix)


def how_to_correct(question: Question) -> str:
    """What to do about credentials that the stack has."""
    if question.from_docker:
        return f"run docker login {question.host}"
    return f'correct credentials["{question.host}"]'


def how_to_set(question: Question) -> str:
    """The command that stores a password."""
    return f"{set_secret(question.host, 'username')} (then the same for password)"


def in_its_words(question: Question, answer: Answer) -> str:
    """What an answer says, short and without secrets."""
    said = clean(words(answer.text), question)
    return f" ({answer.status}): {said}" if said else f" ({answer.status})"


def why_not_sent(question: Question, realm: str) -> str | None:
    """Why this token service is not asked; None if it is.

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
        return None
    if _share_a_domain(upstream.hostname or "", names):
        return None
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


def failed(
    question: Question, error: httpx.HTTPError | httpx.InvalidURL, way: Way
) -> Untrusted | Unreachable | Useless:
    """What it means that there was no answer."""
    causes = tuple(_causes(error))
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            fix = _fix_of(cause.verify_code, question.host)
            said = clean(cause.verify_message, question)
            return Untrusted(host=question.host, words=said, fix=fix)
    is_timeout = isinstance(error, httpx.TimeoutException)
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout) and not way.is_connected:
        why = next((c.strerror for c in causes if isinstance(c, OSError) and c.strerror), "")
        why = why or str(error) or type(error).__name__
        why = f"no answer within {upstream_transport.TIMEOUT_SECONDS} s" if is_timeout else why
        where = f"{_address(urlsplit(way.url))}{_behind(question, way)}: "
        return Unreachable(host=question.host, reason=f"{where}{clean(why, question)}")
    if is_timeout:
        return silent(question, way, upstream_transport.TIMEOUT_SECONDS)
    return _broken(question, error, causes, way)


def silent(question: Question, way: Way, seconds: float) -> Useless:
    """Of one who is there: who has no network gets no connection."""
    reason = f"{_who(question, way)} takes connections, and does not answer within {seconds} s"
    fix = "wait until it is well again (what is cached is served meanwhile), or "
    return useless(question, reason, fix + _correct_address(question, way))


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
    return useless(question, clean(reason, question), fix)


def _correct_address(question: Question, way: Way) -> str:
    fix = f"correct upstreams.{question.host}.remoteUrl"
    return f"{fix} or upstreamProxy" if _behind(question, way) else fix


def _who(question: Question, way: Way) -> str:
    """Who did not answer: the upstream, or whom it has sent the question to."""
    at = clean(_address(urlsplit(way.url)), question)
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


def clean(text: str, question: Question, secrets: Sequence[str] = ()) -> str:
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
