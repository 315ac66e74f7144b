"""Asks upstream registries, from this machine, whether a stack's caches can pull from them.

It goes the way that a cache goes (distribution v3.1.2, registry/proxy and internal/client/auth):
`GET /v2/`; if that is refused, again with basic authentication, or with a token that the upstream's
token service gives for the same user name and password, or for none. If that is well, it asks for
a manifest by HEAD, which no upstream counts as a pull. It trusts the certificates that the
registry's image trusts (Mozilla's authorities), and the private CA that the stack names.
"""

import threading
import time
from collections.abc import Mapping, Sequence
from concurrent import futures
from dataclasses import replace

import httpx

from ops.registry import tokens
from ops.registry.fetch import NO_BLOB, NOBODYS, REFUSALS
from ops.registry.upstream_transport import Answer, Transport, client_for, context, get
from ops.registry.upstream_trouble import (
    LATER,
    cannot_log_in,
    failed,
    how_to_correct,
    how_to_set,
    is_networks,
    judged,
    quoted,
    unreachable,
    useless,
    wants_login,
    why_not_sent,
    without_a_cache,
)
from ops.registry.verdicts import ANY_IMAGE, Accepted, Partial, Question, Refused, Verdict
from plan.images.manifests import INDEX_TYPES, MANIFEST_TYPES
from plan.traffic import rate_limit

# For all that is asked of an upstream without a login; looking up its name is part of it.
PATIENCE_SECONDS = 3
# The same for what fails an `up`: its steps have a timeout each, and a few bytes a second end none.
LOGIN_PATIENCE_SECONDS = 30
# What an upstream says to a request for an image that does not exist, and means every image. Others
# may call the name wrong (the Image Factory), or forbidden; and Harbor and Quay want a login for
# it, even with a token.
_SAYS_ENOUGH = (
    httpx.codes.OK,
    httpx.codes.TOO_MANY_REQUESTS,
    httpx.codes.SERVICE_UNAVAILABLE,
    httpx.codes.NETWORK_AUTHENTICATION_REQUIRED,
)
MANIFESTS = ", ".join((*INDEX_TYPES, *MANIFEST_TYPES))


def ask_all(questions: Sequence[Question]) -> tuple[Verdict, ...]:
    """The verdicts, in the order of the questions, which are asked side by side.

    One takes `PATIENCE_SECONDS` at most, and `LOGIN_PATIENCE_SECONDS` with a login: looking up a
    name can take much longer without a network, and nothing ends that.
    """
    # Before the threads, each of which would make one of its own.
    for ca_pem in {question.ca_pem for question in questions}:
        context(ca_pem)
    started = time.monotonic()
    asked = [(question, _in_background(question)) for question in questions]
    return tuple(_in_time(question, verdict, started) for question, verdict in asked)


def _in_background(question: Question) -> "futures.Future[Verdict]":
    """In a thread that the program does not wait for when it ends; a pool's it would."""
    verdict: futures.Future[Verdict] = futures.Future()

    def run() -> None:
        try:
            verdict.set_result(ask(question))
        except BaseException as error:
            verdict.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return verdict


def _in_time(question: Question, verdict: "futures.Future[Verdict]", started: float) -> Verdict:
    patience = LOGIN_PATIENCE_SECONDS if question.login else PATIENCE_SECONDS
    try:
        return verdict.result(max(0, started + patience - time.monotonic()))
    except futures.TimeoutError:
        return unreachable(question, f"no answer within {patience} s")


def ask(question: Question) -> Verdict:
    """What the upstream says to these credentials.

    Raises:
        ValueError: `ca_pem` contains no certificates.
    """
    transport = Transport(question)
    try:
        with client_for(question, transport) as client:
            return _verdict(question, client)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return failed(question, error, transport)


def lacks_nobodys_blob(question: Question, repository: str) -> bool:
    """Whether it says to this machine that it does not have a blob that no one has.

    That costs one HEAD. An upstream that says so of a repository lets these credentials, or anyone,
    pull from it: others say that it is forbidden, or nothing.

    Args:
        question: that was answered well.
        repository: without the path before all of them.
    """
    path = question.below_path(repository)
    try:
        with client_for(question, Transport(question)) as client:
            first = get(client, f"{question.remote_url}/v2/")
            auth = _login(question, client, first, _scope(path))
            if isinstance(auth, Verdict):
                return False
            url = f"{question.remote_url}/v2/{path}/blobs/{NOBODYS}"
            return get(client, url, method="HEAD", auth=auth).status == httpx.codes.NOT_FOUND
    except (httpx.HTTPError, httpx.InvalidURL):
        return False


def _verdict(question: Question, client: httpx.Client) -> Verdict:
    url = f"{question.remote_url}/v2/"
    shown = get(client, url)
    # For one repository, as at a pull: what the challenge proposes is an example. But a repository
    # that does not exist may be refused to credentials that are right.
    is_scoped = question.login is None or question.path_prefix or question.known_image
    scope = _scope(question.below_path(question.repository)) if is_scoped else ""
    auth = _login(question, client, shown, scope)
    if isinstance(auth, Verdict):
        return auth
    token = auth.token if isinstance(auth, tokens.BearerAuth) else ""
    if auth:
        shown = get(client, url, auth=auth)
    verdict = judged(question, shown, token=token)
    if auth and isinstance(verdict, Refused):
        return verdict
    # Harbor and Quay let no one in here without a login, and have public images all the same.
    is_closed = auth and not question.login and shown.status == httpx.codes.UNAUTHORIZED
    if isinstance(verdict, Accepted) or shown.is_passed_over or is_closed:
        return _of_images(question, client, auth, shown)
    return verdict


def _scope(path: str) -> str:
    return f"repository:{path}:pull"


def _login(
    question: Question, client: httpx.Client, first: Answer, scope: str
) -> httpx.Auth | Verdict | None:
    """What a cache logs in with after this answer at `/v2/`, or why it can't; None: it does not."""
    if first.status != httpx.codes.UNAUTHORIZED or is_networks(question, first):
        return None
    challenges = first.challenges
    # If both are offered the cache sends the credentials in the end, too.
    if "basic" in challenges:
        return question.login or wants_login(question, f"it wants a login{quoted(question, first)}")
    if "bearer" in challenges:
        return _token(question, client, challenges["bearer"], scope)
    offered = ", ".join(sorted(challenges)) or "nothing"
    why = f"it offers neither Basic nor Bearer authentication, but {offered}"
    return cannot_log_in(question, why)


def _token(
    question: Question, client: httpx.Client, challenge: Mapping[str, str], scope: str
) -> tokens.BearerAuth | Verdict:
    if why := why_not_sent(question, challenge.get("realm", "")):
        return cannot_log_in(question, why)
    issued = get(client, str(tokens.token_url(challenge, scope)), auth=question.login)
    if scope and question.known_image and question.login and issued.status in REFUSALS:
        # It may have been the image that was refused, and not the credentials.
        issued = get(client, str(tokens.token_url(challenge)), auth=question.login)
    service = "its token service"
    if issued.status in REFUSALS and question.login is None:
        why = f"{service} gives no token without a login{quoted(question, issued)}"
        return wants_login(question, why)
    token = tokens.token(issued.text) if issued.status == httpx.codes.OK else None
    if token:
        return tokens.BearerAuth(token)
    verdict = judged(question, issued, service)
    if isinstance(verdict, Accepted):
        return useless(question, f"{service} answers without a token", LATER)
    return verdict


def _of_images(
    question: Question, client: httpx.Client, auth: httpx.Auth | None, shown: Answer
) -> Verdict:
    """What HEAD of an image adds to `/v2/`; that it does not exist says that others could.

    Below a path it is a blob that no one has: a Harbor would fetch a manifest. `shown` is what
    `/v2/` has answered to this login.
    """
    known, prefix = question.known_image, question.path_prefix
    repository, tag = known or ANY_IMAGE
    path = f"{prefix}/{NO_BLOB}" if prefix else f"{repository}/manifests/{tag}"
    url, accept = f"{question.remote_url}/v2/{path}", {"Accept": MANIFESTS}
    answer = get(client, url, method="HEAD", auth=auth, headers=accept)
    verdict = _of_answer(question, answer, auth, shown)
    if isinstance(verdict, Accepted):
        return replace(verdict, limit=rate_limit.of_headers(answer.headers))
    return verdict


def _of_answer(
    question: Question, answer: Answer, auth: httpx.Auth | None, shown: Answer
) -> Verdict:
    """What the answer to that HEAD means."""
    known, prefix = question.known_image, question.path_prefix
    repository, _ = known or ANY_IMAGE
    status = answer.status
    if status in REFUSALS and auth is None:
        if status == shown.status and not prefix and (known or question.login):
            return judged(question, shown)  # its message: an answer to HEAD has none
        if status == httpx.codes.UNAUTHORIZED or (question.login and (known or prefix)):
            what = "blobs" if prefix else "manifests"
            return _wants_login_elsewhere(question, f"{what} ({status})")
    if status in REFUSALS and prefix:
        return _closed_path(question, status)
    if status in REFUSALS and known and question.login:
        return _closed_image(question, repository, status)
    if status == httpx.codes.NOT_FOUND or (not known and status not in _SAYS_ENOUGH):
        return Accepted(host=question.host)
    return judged(question, answer)


def _closed_image(question: Question, repository: str, status: int) -> Verdict:
    """Of credentials that are right. Other images may come all the same, so it is not a refusal."""
    reason = f"it accepts the credentials but refuses {repository}, which is public ({status})"
    fix = f"let that account pull public images, or {how_to_correct(question)}"
    return Partial(host=question.host, reason=reason, fix=fix)


def _closed_path(question: Question, status: int) -> Verdict:
    prefix = question.path_prefix
    fix = f"or correct upstreams.{question.host}.pathPrefix"
    if question.login:
        reason = f"({status}): they may not pull below {prefix}, or there is nothing of that name"
        fix = f"{how_to_correct(question)}, {fix}"
        return Refused(host=question.host, reason=reason, fix=fix)
    reason = f"no one without a login may pull below {prefix} ({status}), or it does not exist"
    return useless(question, reason, f"log in: {how_to_set(question)}, {fix}")


def _wants_login_elsewhere(question: Question, what: str) -> Verdict:
    unused = ": the credentials are not used" if question.login else ""
    where = "does not say so at /v2/, the only place where a cache looks"
    reason = f"it wants a login for {what} but {where}{unused}"
    return useless(question, reason, without_a_cache(question))
