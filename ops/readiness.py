"""Waits until every cache answers; says which do not, and what their logs end with."""

import http.client
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

from ops import docker_api
from plan.caches import CachePlan

POLL_SECONDS = 0.05
REQUEST_TIMEOUT_SECONDS = 5
LOG_LINES = 8


def unready(plans: Sequence[CachePlan]) -> str:
    """Ask all caches at once until each has answered or its time is up.

    Returns:
        Empty text when every cache answers; else a report that names each that does not, with
        the last lines of its log.
    """
    with ThreadPoolExecutor(max_workers=len(plans)) as pool:
        outcomes = list(pool.map(_last_failure, plans))
    sick = [(plan, why) for plan, why in zip(plans, outcomes, strict=True) if why]
    if not sick:
        return ""
    count = "1 cache does" if len(sick) == 1 else f"{len(sick)} caches do"
    return "\n".join([f"{count} not answer:", *(_report(plan, why) for plan, why in sick)])


def _last_failure(plan: CachePlan) -> str:
    """Empty once the cache answers; otherwise the last reason why it did not."""
    deadline = time.monotonic() + plan.wait_seconds
    while (why := failure(plan.local_endpoint)) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
    return why


def failure(endpoint: str) -> str:
    """Why `GET /v2/` at this endpoint is not answered as a registry does; empty if it is.

    The environment's proxies are left out on purpose: the endpoint is on this machine.
    """
    url = urlsplit(endpoint)
    connection = http.client.HTTPConnection(
        str(url.hostname), url.port, timeout=REQUEST_TIMEOUT_SECONDS
    )
    try:
        connection.request("GET", "/v2/")
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return str(error) or type(error).__name__
    finally:
        connection.close()
    return "" if status == http.client.OK else f"it answers with status {status}"


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
