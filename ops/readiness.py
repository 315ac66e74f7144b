"""Waits until every cache answers; says which do not, and what their logs end with."""

import base64
import functools
import http.client
import ssl
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ops import docker_api
from plan.caches import CachePlan
from plan.login_settings import Credentials
from plan.upstreams import address_of

if TYPE_CHECKING:
    from ops import upstream_login

POLL_SECONDS = 0.05
REQUEST_TIMEOUT_SECONDS = 5
LOG_LINES = 8


def unready(plans: Sequence[CachePlan], warn: Callable[[str], object]) -> str:
    """Ask all caches at once until each has answered or its time is up; then their upstreams.

    An upstream is asked only whether it takes the credentials that its cache has for it.

    Args:
        plans: of the caches, at least one.
        warn: told what might not work: an upstream that could not be asked.

    Returns:
        Empty text when all is well; else a report that names each cache that does not answer,
        with the last lines of its log, or each upstream that refuses, in its own words.
    """
    return _silent(plans) or _refused(plans, warn)


def _silent(plans: Sequence[CachePlan]) -> str:
    with ThreadPoolExecutor(max_workers=len(plans)) as pool:
        outcomes = list(pool.map(_waited, plans))
    sick = [(plan, why) for plan, why in zip(plans, outcomes, strict=True) if why]
    if not sick:
        return ""
    count = "1 cache does" if len(sick) == 1 else f"{len(sick)} caches do"
    return "\n".join([f"{count} not answer:", *(_report(plan, why) for plan, why in sick)])


def _refused(plans: Sequence[CachePlan], warn: Callable[[str], object]) -> str:
    asked = [plan for plan in plans if plan.credentials]
    if not asked:
        return ""
    # It takes a quarter of a second to import, and most stacks have no credentials.
    from ops import upstream_login

    verdicts = upstream_login.ask_all([_question(plan) for plan in asked])
    for verdict in verdicts:
        if isinstance(verdict, upstream_login.Unreachable):
            warn(str(verdict))
    bad = (upstream_login.Refused, upstream_login.Untrusted)
    return "\n".join(str(verdict) for verdict in verdicts if isinstance(verdict, bad))


def _question(plan: CachePlan) -> "upstream_login.Question":
    from ops import upstream_login

    assert plan.credentials is not None  # noqa: S101 - only such plans are asked about
    return upstream_login.Question(
        host=plan.host,
        remote_url=plan.remote_url,
        username=plan.credentials.username,
        password=plan.credentials.password,
        ca_pem=plan.upstream_ca,
        proxy_url=plan.upstream_proxy.url if plan.upstream_proxy else "",
        no_proxy=plan.upstream_proxy.no_proxy if plan.upstream_proxy else (),
    )


def _waited(plan: CachePlan) -> str:
    return wait_for_answer(plan.local_endpoint, plan.wait_seconds, plan.login)


def wait_for_answer(endpoint: str, seconds: float, login: Credentials | None = None) -> str:
    """Empty once the registry answers; otherwise, in the end, the last reason why it did not."""
    deadline = time.monotonic() + seconds
    while (why := failure(endpoint, login)) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
    return why


def failure(endpoint: str, login: Credentials | None = None) -> str:
    """Why `GET /v2/` at this endpoint is not answered as a registry does; empty if it is.

    The environment's proxies are left out on purpose: the endpoint is on this machine.

    Args:
        endpoint: URL.
        login: what the registry has to accept; without one it may ask for one.
    """
    try:
        found = status(endpoint, REQUEST_TIMEOUT_SECONDS, login)
    except (OSError, http.client.HTTPException) as error:
        return str(error) or type(error).__name__
    good = (http.client.OK,) if login else (http.client.OK, http.client.UNAUTHORIZED)
    return "" if found in good else f"it answers with status {found}"


def status(endpoint: str, seconds: float, login: Credentials | None = None) -> int:
    """The HTTP status of `GET /v2/`, asked without proxies.

    Args:
        endpoint: URL; its path is left out. Certificates are not checked: only whose they are
            would be proved, and nothing is sent that matters.
        seconds: how long connecting may take, and then answering.
        login: sent along, if given.

    Raises:
        OSError, http.client.HTTPException: there is no answer, or no answer of a web server.
        ValueError: the endpoint is no http or https URL.
    """
    host, port = address_of(endpoint)
    if urlsplit(endpoint).scheme == "https":
        connection: http.client.HTTPConnection = http.client.HTTPSConnection(
            host, port, timeout=seconds, context=anybody()
        )
    else:
        connection = http.client.HTTPConnection(host, port, timeout=seconds)
    try:
        connection.request("GET", "/v2/", headers=_authorization(login))
        return connection.getresponse().status
    finally:
        connection.close()


@functools.cache
def anybody() -> ssl.SSLContext:
    """Takes any certificate: for this machine's caches, which nobody else answers for.

    It reads no authorities, and is made once: a cache that is not ready yet is asked many times.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _authorization(login: Credentials | None) -> dict[str, str]:
    if login is None:
        return {}
    pair = f"{login.username}:{login.password}".encode()
    return {"Authorization": f"Basic {base64.b64encode(pair).decode()}"}


def _report(plan: CachePlan, why: str) -> str:
    try:
        log = docker_api.last_log_lines(docker_api.connect(), plan.name, LOG_LINES)
    except docker_api.DockerUnavailableError as error:
        log = str(error)
    indented = "\n".join(f"    {line}" for line in log.splitlines())
    return (
        f"  {plan.name} ({plan.host}) at {plan.local_endpoint} for {plan.wait_seconds} s: {why}\n"
        f"{indented}"
    )
