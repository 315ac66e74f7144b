"""Checks whether nodes may pull from a stack's projects in Harbor, with the requests of nodes."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import httpx

from host.errors import TalosCacheError
from ops.errors import OpsError
from ops.harbor.client import trusting, unreachable
from ops.registry import answers
from ops.registry.fetch import NO_BLOB, REFUSALS
from ops.registry.tokens import RefusedError, TokenAuth
from plan.settings.credentials import HARBOR_LOGIN, set_login
from plan.settings.harbor import HarborSettings
from plan.talos.mirrors import Mirror

TIMEOUT = httpx.Timeout(10, connect=5)
AT_ONCE = 8
CHECK = "check in Harbor's web interface"


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """What nodes can't pull, and what to do."""

    text: str
    fix: str


@dataclass(frozen=True, kw_only=True)
class PullCheck:
    """The result of requests to Harbor as nodes make them.

    Attributes:
        refusals: of the login, or of projects; none if nodes may pull from all of them.
        unknown: why the result is not known; None if Harbor has answered.
    """

    refusals: tuple[Refusal, ...] = ()
    unknown: str | None = None


def ask(harbor: HarborSettings, mirrors: Sequence[Mirror], stack: str) -> PullCheck:
    """Request from each project a blob that none of them has.

    Args:
        harbor: of the stack.
        mirrors: of the upstreams behind it, at least one, as nodes get them.
        stack: whose `up` repairs what it has made itself; empty if that has just run.
    """
    login, ca = mirrors[0].login, mirrors[0].ca
    username, password = (login.username, login.password) if login else ("", "")
    try:
        if login and not knows(harbor.url, username, password, ca):
            return PullCheck(refusals=(_unknown_login(harbor, username, stack),))
        with (
            _client(ca, TokenAuth(username, password)) as client,
            ThreadPoolExecutor(max_workers=AT_ONCE) as pool,
        ):
            statuses = list(pool.map(lambda mirror: _of_no_blob(client, mirror), mirrors))
    except TalosCacheError as error:
        return PullCheck(unknown=f"could not check whether nodes may pull from Harbor: {error}")
    closed = [one for one, status in zip(mirrors, statuses, strict=True) if status in REFUSALS]
    return PullCheck(refusals=tuple(_closed(harbor, mirror, stack) for mirror in closed))


def report(
    harbor: HarborSettings, mirrors: Sequence[Mirror], warn: Callable[[str], object]
) -> str | None:
    """The same for `up`: what nodes can't pull, with what to do; None if they can.

    Args:
        harbor: as for `ask`.
        mirrors: as for `ask`.
        warn: called with why the result is not known.
    """
    check = ask(harbor, mirrors, stack="")
    if check.unknown:
        warn(check.unknown)
    return "\n".join(f"{refusal.text}: {refusal.fix}" for refusal in check.refusals) or None


def knows(url: str, username: str, password: str, ca_pem: str) -> bool:
    """Whether a Harbor accepts a login, a user's or a robot account's.

    Its token service does not say so: to a login that it does not know it gives an anonymous token.

    Raises:
        OpsError: Harbor does not answer.
    """
    with _client(ca_pem, httpx.BasicAuth(username, password)) as client:
        return _status(client, "GET", f"{url}/v2/", httpx.codes.OK) not in REFUSALS


def _client(ca_pem: str, auth: httpx.Auth) -> httpx.Client:
    return httpx.Client(
        auth=auth,
        verify=trusting(ca_pem),
        timeout=TIMEOUT,
        trust_env=False,
        headers=answers.IDENTITY,
        follow_redirects=True,
        event_hooks={"response": [answers.cut_refusal]},
    )


def _of_no_blob(client: httpx.Client, mirror: Mirror) -> int:
    return _status(client, "HEAD", f"{mirror.url}/{NO_BLOB}", httpx.codes.NOT_FOUND)


def _status(client: httpx.Client, method: str, url: str, good: int) -> int:
    """The status of an answer: the good one, or a refusal.

    Raises:
        OpsError: it is another one, or the answer is a web page: Harbor does not answer.
    """
    try:
        answer = client.request(method, url)
    except RefusedError as error:
        return error.status
    # The last two are for the target of a redirect.
    except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
        server = str(httpx.URL(url).copy_with(path="/")).rstrip("/")
        raise OpsError(unreachable(server, error)) from error
    if answer.headers.get("Content-Type", "").startswith("text/html"):
        raise OpsError(f"{url}: it answers with a web page, so something other than Harbor answers")
    if answer.status_code not in (good, *REFUSALS):
        raise OpsError(f"{url}: it answers with status {answer.status_code}")
    return answer.status_code


def _unknown_login(harbor: HarborSettings, username: str, stack: str) -> Refusal:
    if harbor.login is None:
        return Refusal(
            text=f"Harbor at {harbor.url} no longer accepts the robot account {username}",
            fix=f"make up STACK={stack}, which sets its secret again"
            if stack
            else f"{CHECK} whether it is disabled or has expired",
        )
    return Refusal(
        text=f"Harbor at {harbor.url} does not accept {HARBOR_LOGIN}: its user name or password is "
        "wrong, or it is a robot account that is disabled or has expired",
        fix=f"{set_login(HARBOR_LOGIN, 'username')} (then the same for password)",
    )


def _closed(harbor: HarborSettings, mirror: Mirror, stack: str) -> Refusal:
    project = mirror.url.rpartition("/")[2]
    where = f"the project {project} of Harbor at {harbor.url}"
    if harbor.admin is not None:
        fix = f"make up STACK={stack}" if stack else f"{CHECK} who may pull from it"
        return Refusal(text=f"nodes may not pull from {where}", fix=fix)
    names = "set harbor.projectPrefix to what its projects' names start with"
    if harbor.login is not None:
        return Refusal(
            text=f"the user of {HARBOR_LOGIN} may not pull from {where}, or it does not exist",
            fix=f"let it pull there (a robot account needs repository:pull there), or {names}",
        )
    return Refusal(
        text=f"{where} is private, or does not exist",
        fix=f"{set_login(HARBOR_LOGIN, 'username')} (then the same for password), or {names}",
    )
