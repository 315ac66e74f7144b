"""What is wrong with an upstream, and what to do about it, in sentences without secrets."""

import base64
import html
import json
import re
import ssl
from collections.abc import Iterator
from urllib.parse import SplitResult, quote, quote_plus, urlsplit

import httpx
from publicsuffixlist import PublicSuffixList

from ops.registry.error_text import error_message
from ops.registry.fetch import REFUSALS
from ops.registry.upstream_transport import Answer, Transport, step_seconds
from ops.registry.verdicts import (
    Accepted,
    Question,
    Refused,
    Unreachable,
    Untrusted,
    Useless,
    Verdict,
)
from plan.network import ip_address
from plan.problems import MASK, cut
from plan.settings.credentials import set_secret

SHOWN_CHARACTERS = 300
LATER = "wait until it is healthy again; what is cached is served meanwhile"
_NETWORK = (
    "open it in a browser and log in, name your network's proxy in upstreamProxy, or correct "
    "upstreams.{}.remoteUrl"
)
# How OpenSSL calls an answer that is not TLS: its versions differ.
_NO_TLS = (
    "WRONG_VERSION_NUMBER",
    "PACKET_LENGTH_TOO_LONG",
    "RECORD_LAYER_FAILURE",
    "UNKNOWN_PROTOCOL",
    "HTTP_REQUEST",
)
# OpenSSL's numbers of what can be wrong with a certificate that is trusted otherwise.
EXPIRED, NOT_YET_VALID, OTHER_HOST, OTHER_ADDRESS = 10, 9, 62, 64


def is_networks(question: Question, answer: Answer) -> bool:
    """Whether a page is in the place of the upstream, as a network has it for strangers.

    One that refuses someone, or says how to log in, may be of a web server before a registry.
    """
    if answer.status in REFUSALS:
        return answer.is_page and question.login is None
    return answer.is_page and answer.status == httpx.codes.OK


def judged(question: Question, answer: Answer, who: str = "it", token: str = "") -> Verdict:
    """What a last answer means, to a request with this token, if any."""
    if is_networks(question, answer):
        where = clean(_address(urlsplit(answer.url)), question, token)
        reason = (
            f"{who} answers with a web page (from {where}), as the login page of a network does"
        )
        return useless(question, reason, _NETWORK.format(question.host))
    if answer.status == httpx.codes.OK:
        return Accepted(host=question.host)
    message = clean(error_message(answer.text), question, token)
    message = message or httpx.codes.get_reason_phrase(answer.status) or "without a reason"
    if answer.status in REFUSALS:
        return _refused(question, answer.status, message)
    if answer.status == httpx.codes.TOO_MANY_REQUESTS:
        reason = f"{who} has had too many requests from here (429): {message}"
        fix = f"wait, or use an account of yours there: {how_to_set(question)}"
        if question.login:
            fix = "wait, or use an account there that has a higher limit"
        return useless(question, reason, fix)
    is_networks_status = answer.status == httpx.codes.NETWORK_AUTHENTICATION_REQUIRED
    is_unhealthy = httpx.codes.is_server_error(answer.status) and not is_networks_status
    fix = LATER if is_unhealthy else _NETWORK.format(question.host)
    return useless(question, f"{who} answers with status {answer.status}: {message}", fix)


def _refused(question: Question, status: int, message: str) -> Verdict:
    """What a refusal means, of someone or of everyone."""
    if question.login:
        reason = f"({status}): {message}"
        return Refused(host=question.host, reason=reason, fix=how_to_correct(question))
    if status == httpx.codes.UNAUTHORIZED:
        return wants_login(question, f"it lets no one in without a login ({status}): {message}")
    fix = f"{_NETWORK.format(question.host)}, or set credentials: {how_to_set(question)}"
    return useless(question, f"it refuses this machine ({status}): {message}", fix)


def cannot_log_in(question: Question, why: str) -> Verdict:
    """Of an upstream that wants a login in a way that no cache knows."""
    fix, why = without_a_cache(question), clean(why, question)
    if question.login:
        return Refused(host=question.host, reason=f"(401): {why}", fix=fix)
    return useless(question, f"it wants a login, but {why}", fix)


def without_a_cache(question: Question) -> str:
    """The way round a cache that can't work."""
    return f"remove {question.host} from upstreams: nodes can ask it themselves"


def wants_login(question: Question, reason: str) -> Useless:
    """Of an upstream that lets no one in without a login."""
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


def quoted(question: Question, answer: Answer) -> str:
    """An answer's status and message, short and without secrets."""
    message = clean(error_message(answer.text), question)
    return f" ({answer.status}): {message}" if message else f" ({answer.status})"


def why_not_sent(question: Question, realm: str) -> str | None:
    """Why this token service gets no request; None if it does.

    The cache uses only one at the upstream's own host and port, or in its registrable domain
    (`realmAllowed` in registry/proxy/proxyauth.go). That passwords don't leave TLS is our own.
    """
    try:
        upstream, service = urlsplit(question.remote_url), urlsplit(realm)
        name = service.hostname
    except ValueError:
        name = None
    if not name or service.scheme not in ("http", "https"):
        return f"it names no token service that can be used: {realm!r}"
    shown = f"{service.scheme}://{_address(service)}"
    if question.login and (upstream.scheme, service.scheme) == ("https", "http"):
        return f"its token service {shown} has no TLS, so the password was not sent to it"
    if _address(upstream) == _address(service):
        return None
    if _share_a_domain(upstream.hostname or "", name):
        return None
    return f"its token service {shown} is not in its own domain: a cache sends no request there"


def _address(parts: SplitResult) -> str:
    """Host and port, without a user name."""
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
    question: Question, error: httpx.HTTPError | httpx.InvalidURL, transport: Transport
) -> Verdict:
    """What it means that there was no answer."""
    causes = tuple(_causes(error))
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            fix = _fix_of(cause.verify_code, question.host)
            message = clean(cause.verify_message, question)
            return Untrusted(host=question.host, reason=f"({message})", fix=fix)
    is_timeout = isinstance(error, httpx.TimeoutException)
    seconds = f"within {step_seconds(question):g} s"
    proxy = f" through the proxy {_proxy(question)}" if transport.is_proxied else ""
    at = _address(urlsplit(str(transport.url or "")))
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout) and not transport.is_connected:
        why = next((c.strerror for c in causes if isinstance(c, OSError) and c.strerror), "")
        why = f"no answer {seconds}" if is_timeout else why or str(error) or type(error).__name__
        return unreachable(question, clean(f"{at}{proxy}: {why}", question))
    is_own = at in ("", _address(urlsplit(str(httpx.URL(question.remote_url)))))
    who = f"it{proxy}" if is_own else f"{at}, to which it redirects,{proxy}"
    fix = f"correct upstreams.{question.host}.remoteUrl"
    fix = f"{fix} or upstreamProxy" if proxy else fix
    in_tls = next((cause for cause in causes if isinstance(cause, ssl.SSLError)), None)
    if is_timeout:
        reason = f"{who} accepts connections but does not answer {seconds}"
        fix = f"{LATER}, or {fix}"
    elif isinstance(error, httpx.ProxyError):
        reason = f"the proxy {_proxy(question)} refuses connections to {at}: {error}"
        fix = "correct upstreamProxy"
    elif in_tls and in_tls.reason in _NO_TLS:
        reason = f"{who} does not speak TLS"
        if is_own:
            fix = f"write http:// in upstreams.{question.host}.remoteUrl, if that is meant"
    else:
        reason = f"{who} does not answer as a registry does ({error or type(error).__name__})"
    return useless(question, clean(reason, question), fix)


def unreachable(question: Question, reason: str) -> Unreachable:
    """The verdict, for the question's host."""
    keys = f"upstreams.{question.host}.remoteUrl and upstreamProxy"
    fix = f"check this machine's network, {keys}"
    return Unreachable(host=question.host, reason=reason, fix=fix)


def _proxy(question: Question) -> str:
    return _address(urlsplit(question.proxy.url)) if question.proxy else ""


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _fix_of(code: int, host: str) -> str:
    if code in (EXPIRED, NOT_YET_VALID):
        return "renew it, or correct this machine's clock"
    if code in (OTHER_HOST, OTHER_ADDRESS):
        return f"it is for another name: correct upstreams.{host}.remoteUrl, or the certificate"
    return f"name its CA with upstreams.{host}.ca"


def clean(text: str, question: Question, token: str = "") -> str:
    """One line without secrets, in whatever form they may come back, and not too long."""
    secrets = {token}
    username = ""
    if question.credentials:
        username, password = question.credentials.username, question.credentials.password
        secrets |= {password, base64.b64encode(f"{username}:{password}".encode()).decode()}
    forms = {form for secret in filter(None, secrets) for form in _forms(secret)}
    for form in sorted(forms, key=len, reverse=True):
        text = text.replace(form, MASK)
    if username:
        text = re.sub(rf"(?<!\w){re.escape(username)}(?!\w)", MASK, text)
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return cut(text, SHOWN_CHARACTERS)


def _forms(secret: str) -> set[str]:
    """The secret, and what HTML, URLs and JSON make of it (Go's JSON: three more characters)."""
    in_json = {json.dumps(secret, ensure_ascii=ascii_only)[1:-1] for ascii_only in (True, False)}
    in_go = {re.sub("[<>&]", lambda m: f"\\u{ord(m[0]):04x}", one) for one in in_json}
    in_urls = {quote(secret), quote(secret, safe=""), quote_plus(secret)}
    return {secret, html.escape(secret), *in_json, *in_go, *in_urls}
