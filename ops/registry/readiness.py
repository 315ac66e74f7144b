"""Waits until every cache answers; reports those that do not, with the end of their logs."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from ops.docker import api
from ops.registry import upstreams_asked
from ops.registry.ping import wait_for_answer
from ops.registry.verdicts import Accepted, Refused, Unreachable, Verdict
from plan.caches.cache_plan import CachePlan

LOG_LINES = 8


def not_ready(plans: Sequence[CachePlan], warn: Callable[[str], object]) -> str | None:
    """Poll all caches until each has answered or its time is up; meanwhile check upstreams.

    Each upstream is checked once: can images be pulled from it?

    Args:
        plans: of the caches, at least one.
        warn: called with what does not work and is not the stack's mistake. Not with an upstream
            that can't be reached and needs no login: users without a network know that.

    Returns:
        None if all is well; otherwise a report that names each cache that does not answer, with
        the last lines of its log, or each upstream that refuses, with its message.
    """
    with ThreadPoolExecutor(max_workers=1) as pool:
        verdicts = pool.submit(upstreams_asked.of_plans, plans)
        silent = _silent(plans)
    return silent or _refused(plans, verdicts.result(), warn)


def _silent(plans: Sequence[CachePlan]) -> str | None:
    with ThreadPoolExecutor(max_workers=len(plans)) as pool:
        outcomes = list(pool.map(_wait, plans))
    silent = [(plan, why) for plan, why in zip(plans, outcomes, strict=True) if why]
    if not silent:
        return None
    count = "1 cache does" if len(silent) == 1 else f"{len(silent)} caches do"
    return "\n".join([f"{count} not answer:", *(_report(plan, why) for plan, why in silent)])


def _refused(
    plans: Sequence[CachePlan], verdicts: Sequence[Verdict], warn: Callable[[str], object]
) -> str | None:
    with_login = {plan.host for plan in plans if plan.credentials}
    failed = [one for one in verdicts if isinstance(one, Refused) and one.host in with_login]
    for verdict in verdicts:
        quiet = Accepted if verdict.host in with_login else Accepted | Unreachable
        if verdict not in failed and not isinstance(verdict, quiet):
            warn(str(verdict))
    return "\n".join(map(str, failed)) or None


def _wait(plan: CachePlan) -> str | None:
    return wait_for_answer(plan.local_endpoint, plan.wait_seconds, plan.login)


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
