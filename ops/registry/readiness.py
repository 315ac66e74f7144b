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

from ops.docker import api
from ops.registry import upstreams_asked
from plan.caches.cache_plan import CachePlan
from plan.settings.credentials import Credentials
from plan.upstreams import address_of

if TYPE_CHECKING:
    from ops.registry.upstream_credentials import Verdict

POLL_SECONDS = 0.05
REQUEST_TIMEOUT_SECONDS = 5
LOG_LINES = 8


def unready(plans: Sequence[CachePlan], warn: Callable[[str], object]) -> str:
    """Ask all caches at once until each has answered or its time is up; and meanwhile upstreams.

    Each upstream is asked once whether images can be pulled from it.

    Args:
        plans: of the caches, at least one.
        warn: told what does not work and is not the stack's mistake. An upstream to which no
            connection comes about is none where it needs no login: people without a network know
            that.

    Returns:
        Empty text when all is well; else a report that names each cache that does not answer,
        with the last lines of its log, or each upstream that refuses, in its own words.
    """
    with ThreadPoolExecutor(max_workers=1) as pool:
        asked = pool.submit(upstreams_asked.of_plans, plans)
        silent = _silent(plans)
    return silent or _refused(plans, asked.result(), warn)


def _silent(plans: Sequence[CachePlan]) -> str:
    with ThreadPoolExecutor(max_workers=len(plans)) as pool:
        outcomes = list(pool.map(_waited, plans))
    sick = [(plan, why) for plan, why in zip(plans, outcomes, strict=True) if why]
    if not sick:
        return ""
    count = "1 cache does" if len(sick) == 1 else f"{len(sick)} caches do"
    return "\n".join([f"{count} not answer:", *(_report(plan, why) for plan, why in sick)])


def _refused(
    plans: Sequence[CachePlan], verdicts: "Sequence[Verdict]", warn: Callable[[str], object]
) -> str:
    if not verdicts:
        return ""
    # Imported already, where somebody was asked; otherwise it takes a quarter of a second.
    from ops.registry.upstream_credentials import Accepted, Refused, Unreachable, Untrusted

    known = {plan.host for plan in plans if plan.credentials}
    refused = [one for one in verdicts if isinstance(one, Refused | Untrusted)]
    failed = [one for one in refused if one.host in known]
    for one in verdicts:
        quiet = Accepted if one.host in known else Accepted | Unreachable
        if one not in failed and not isinstance(one, quiet):
            warn(str(one))
    return "\n".join(map(str, failed))


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
        log = api.last_log_lines(api.connect(), plan.name, LOG_LINES)
    except api.DockerUnavailableError as error:
        log = str(error)
    indented = "\n".join(f"    {line}" for line in log.splitlines())
    return (
        f"  {plan.name} ({plan.host}) at {plan.local_endpoint} for {plan.wait_seconds} s: {why}\n"
        f"{indented}"
    )
