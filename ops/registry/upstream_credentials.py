"""Asks upstream registries, from this machine, whether a stack's caches can pull from them.

It goes the way that a cache goes (distribution v3.1.2, registry/proxy and internal/client/auth):
`GET /v2/`; where that is refused, again with basic authentication, or with a token that the
upstream's token service gives for the same user name and password, or for none. Where `/v2/` says
too little, a manifest is asked for by HEAD, which no upstream counts as a pull. Of certificates it
believes what the registry's image believes (Mozilla's authorities), and the private CA that it is
told of.
"""

import threading
import time
from collections.abc import Mapping, Sequence

import httpx

from ops.registry import tokens
from ops.registry.fetch import NO_BLOB, NOBODYS, REFUSALS
from ops.registry.upstream_transport import (
    Answer,
    Way,
    client_for,
    context,
    get,
)
from ops.registry.upstream_trouble import (
    LATER,
    can_not_log_in,
    clean,
    failed,
    how_to_correct,
    how_to_set,
    in_its_words,
    is_networks,
    judged_answer,
    silent,
    useless,
    wants_login,
    why_not_sent,
    without_a_cache,
)
from ops.registry.verdicts import (
    ANY_IMAGE,
    Accepted,
    Question,
    Refused,
    Unreachable,
    Useless,
    Verdict,
)
from plan.images.manifests import INDEX_TYPES, MANIFEST_TYPES

# Until somebody who waits for an anonymous answer goes on without it.
PATIENCE_SECONDS = 3
# The same for what fails an `up`: its steps have a time each, and a few bytes a second end none.
LOGIN_PATIENCE_SECONDS = 30
# What an upstream says to whoever asks for an image that is not there, and means everybody. Others
# may call the name wrong (the Image Factory), or forbidden; and Harbor and Quay want a login for
# it, also of who has a token.
_SAYS_ENOUGH = (
    httpx.codes.OK,
    httpx.codes.TOO_MANY_REQUESTS,
    httpx.codes.SERVICE_UNAVAILABLE,
    httpx.codes.NETWORK_AUTHENTICATION_REQUIRED,
)
MANIFESTS = ", ".join((*INDEX_TYPES, *MANIFEST_TYPES))


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
            return silent(self._question, self._way, self._patience)
        if self._found is None:
            reason = f"no answer within {self._patience} s"
            return Unreachable(host=self._question.host, reason=reason)
        if isinstance(self._found, BaseException):
            raise self._found
        return self._found


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
        with client_for(question, way) as client:
            return _verdict(question, client)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return failed(question, error, way)


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
        with client_for(question, Way()) as client:
            auth = _auth(question, client, path)
            url = f"{question.remote_url}/v2/{path}/blobs/{NOBODYS}"
            return get(client, url, method="HEAD", auth=auth).status == httpx.codes.NOT_FOUND
    except (httpx.HTTPError, httpx.InvalidURL):
        return False


def _auth(question: Question, client: httpx.Client, path: str) -> httpx.Auth | None:
    """As a cache comes to it, for a repository; None where nothing is asked for, or given."""
    asked = get(client, f"{question.remote_url}/v2/")
    if asked.status != httpx.codes.UNAUTHORIZED or "basic" in asked.challenges:
        return question.login
    asked_for = asked.challenges.get("bearer", {})
    if why_not_sent(question, asked_for.get("realm", "")):
        return None
    url = tokens.token_url(asked_for, f"repository:{path}:pull")
    token = tokens.token(get(client, str(url), auth=question.login).text)
    return tokens.BearerAuth(token) if token else None


def _verdict(question: Question, client: httpx.Client) -> Verdict:
    url = f"{question.remote_url}/v2/"
    asked = get(client, url)
    challenges = asked.challenges
    if asked.status != httpx.codes.UNAUTHORIZED or is_networks(question, asked):
        return _without_login(question, client, asked)
    # Where both are offered the cache sends these in the end, too.
    if "basic" in challenges:
        if question.login is None:
            return wants_login(question, f"it wants a login{in_its_words(question, asked)}")
        return _with_login(question, client, question.login)
    if "bearer" not in challenges:
        offered = ", ".join(sorted(challenges)) or "nothing"
        said = f"it offers neither Basic nor Bearer authentication, but {offered}"
        return can_not_log_in(question, clean(said, question))
    return _by_token(question, client, challenges["bearer"])


def _without_login(question: Question, client: httpx.Client, asked: Answer) -> Verdict:
    """Of an upstream that wants no login at `/v2/`."""
    judged = judged_answer(question, asked)
    if isinstance(judged, Accepted) or asked.is_silent:
        return _of_images(question, client, before=asked)
    return judged


def _by_token(question: Question, client: httpx.Client, asked_for: Mapping[str, str]) -> Verdict:
    if why := why_not_sent(question, asked_for.get("realm", "")):
        return can_not_log_in(question, clean(why, question))
    issued = _issued(question, client, asked_for)
    if issued.status != httpx.codes.OK:
        if question.login is None and issued.status in REFUSALS:
            said = in_its_words(question, issued)
            return wants_login(question, f"its token service gives no token without a login{said}")
        return judged_answer(question, issued, "its token service")
    token = tokens.token(issued.text)
    if not token and issued.is_page:
        return judged_answer(question, issued, "its token service")
    if not token:
        return useless(question, "its token service answers without a token", LATER)
    bearer = tokens.BearerAuth(token)
    if question.login:
        return _with_login(question, client, bearer, secrets=(token,))
    if question.known_image or question.path_prefix:
        return _of_images(question, client, bearer)
    shown = get(client, f"{question.remote_url}/v2/", auth=bearer)
    if shown.status == httpx.codes.UNAUTHORIZED or shown.is_silent:
        # Harbor and Quay let nobody in here without a login, and have public images all the same.
        return _of_images(question, client, bearer)
    return judged_answer(question, shown, secrets=(token,))


def _issued(question: Question, client: httpx.Client, asked_for: Mapping[str, str]) -> Answer:
    """What the token service answers."""
    # For one repository, as a pull has it: what the challenge proposes is an example.
    scope = f"repository:{_repository(question)}:pull"
    issued = None
    if question.login is None or question.path_prefix or question.known_image:
        url = tokens.token_url(asked_for, scope)
        issued = get(client, str(url), auth=question.login)
    if issued is None or (question.known_image and question.login and issued.status in REFUSALS):
        # It may have been the image that was refused, and not the credentials.
        issued = get(client, str(tokens.token_url(asked_for)), auth=question.login)
    return issued


def _with_login(
    question: Question, client: httpx.Client, auth: httpx.Auth, secrets: Sequence[str] = ()
) -> Verdict:
    """Whether `/v2/` takes the login; and what is below a path, or an image that is known, adds.

    By the second alone a login that a Harbor does not know would be well where anybody may pull.
    """
    shown = get(client, f"{question.remote_url}/v2/", auth=auth)
    judged = judged_answer(question, shown, secrets=secrets)
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
    before: Answer | None = None,
) -> Verdict:
    """What HEAD of an image adds to `/v2/`; that there is none says that there could be.

    `before` is what `/v2/` has said without a login.
    """
    if question.path_prefix:
        return _below_path(question, client, auth)
    known = question.known_image
    repository, tag = known or ANY_IMAGE
    url = f"{question.remote_url}/v2/{repository}/manifests/{tag}"
    answer = get(client, url, method="HEAD", auth=auth, headers={"Accept": MANIFESTS})
    is_refused = answer.status == httpx.codes.FORBIDDEN and (known or question.login)
    if is_refused and before and before.status == answer.status:
        return judged_answer(question, before)  # its words: an answer to HEAD has none
    is_closed = known and question.login and answer.status in REFUSALS
    if auth is None and (is_closed or answer.status == httpx.codes.UNAUTHORIZED):
        return _wants_login_elsewhere(question, f"manifests ({answer.status})")
    if is_closed:
        return _closed_image(question, repository, answer.status)
    if answer.status == httpx.codes.NOT_FOUND or (not known and answer.status not in _SAYS_ENOUGH):
        return Accepted(host=question.host)
    return judged_answer(question, answer)


def _closed_image(question: Question, repository: str, status: int) -> Verdict:
    """Of credentials that are right. Other images may come all the same, so it is no refusal."""
    reason = (
        f"it takes the credentials, and refuses {repository}, which anybody may pull ({status})"
    )
    fix = f"let that account pull public images, or {how_to_correct(question)}"
    return Useless(host=question.host, reason=reason, fix=fix, what="not everything")


def _below_path(question: Question, client: httpx.Client, auth: httpx.Auth | None) -> Verdict:
    """What HEAD of a blob that nobody has adds: no manifest's, which a Harbor would fetch."""
    url = f"{question.remote_url}/v2/{question.path_prefix}/{NO_BLOB}"
    answer = get(client, url, method="HEAD", auth=auth)
    if answer.status in REFUSALS:
        if auth is None and (question.login or answer.status == httpx.codes.UNAUTHORIZED):
            return _wants_login_elsewhere(question, f"blobs ({answer.status})")
        return _closed_path(question, answer.status)
    if answer.status not in _SAYS_ENOUGH:
        return Accepted(host=question.host)
    return judged_answer(question, answer)


def _closed_path(question: Question, status: int) -> Verdict:
    prefix = question.path_prefix
    if question.login:
        words = f"they may not pull below {prefix}, or there is nothing of that name"
        fix = f"{how_to_correct(question)}, or correct upstreams.{question.host}.pathPrefix"
        return Refused(host=question.host, status=status, words=words, fix=fix)
    reason = f"nobody without a login may pull below {prefix} ({status}), or it is not there"
    fix = f"log in: {how_to_set(question)}, or correct upstreams.{question.host}.pathPrefix"
    return useless(question, reason, fix)


def _wants_login_elsewhere(question: Question, what: str) -> Verdict:
    unused = ": the credentials are not used" if question.login else ""
    where = "does not say so at /v2/, the only place where a cache looks"
    reason = f"it wants a login for {what} but {where}{unused}"
    return useless(question, reason, without_a_cache(question))
