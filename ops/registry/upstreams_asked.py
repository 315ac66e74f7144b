"""Asks the upstreams of a stack, once each, whether images can be pulled.

`up`, `doctor` and `warm` ask, and say what is wrong. They do no more, because what a cache has is
served whatever its upstream answers. The last two also ask the caches of healthy upstreams: a cache
remembers, until it stops, that its upstream once wanted a login.
"""

import http.client
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from ops.docker import docker_config
from ops.errors import OpsError
from ops.registry import ping
from ops.registry.verdicts import Accepted, Question, Verdict
from ops.stack import stack_files, stack_secrets
from plan.caches.cache import Cache, of_settings
from plan.caches.cache_plan import CachePlan
from plan.settings.stack import Settings
from plan.settings.upstreams import UpstreamSettings
from plan.traffic.rate_limit import RateLimit

if TYPE_CHECKING:
    from ops.registry.fetch import Source

AT_ONCE = 8
# A cache may have to get a token first. One that is silent for longer is not reported here.
CACHE_SECONDS = 10
FAILED = http.client.INTERNAL_SERVER_ERROR
# Upstreams that count pulls, and say how many are left.
LIMITED = ("docker.io",)


def of_plans(plans: Sequence[CachePlan]) -> tuple[Verdict, ...]:
    """The verdict on every upstream that has to be asked: on none if the stack is offline."""
    return _asked([_of_plan(plan) for plan in plans if plan.asks_upstream])


@dataclass(frozen=True, kw_only=True)
class Found:
    """Why images can't be pulled.

    Attributes:
        sick: upstream -> why nothing can be pulled from it and what to do.
        cut_off: healthy upstream -> the error of its cache all the same, when it has to ask it.
        unasked: why no cache was asked; None if they were.
        limits: healthy upstream -> what it says about a limit on pulls, if it does.
    """

    sick: Mapping[str, str] = field(default_factory=dict)
    cut_off: Mapping[str, str] = field(default_factory=dict)
    unasked: str | None = None
    limits: Mapping[str, RateLimit] = field(default_factory=dict)

    @property
    def lines(self) -> dict[str, str]:
        """Upstream -> what is wrong with it."""
        return {**self.sick, **self.cut_off}


def found(
    stack: str,
    hosts: Collection[str] | None = None,
    repositories: Mapping[str, str] | None = None,
) -> Found:
    """What is wrong with upstreams, and between them and their caches.

    Args:
        stack: its name.
        hosts: of the upstreams to ask; absent: all that have caches here.
        repositories: upstream -> one that it has, if the caller knows one.

    Raises:
        OpsError: the credentials can't be read.
        SettingsError: with every mistake of the stack's file.
    """
    checked = stack_files.check(stack)
    here = {upstream.host for upstream in checked.cached if not checked.offline}
    asked = here if hosts is None else here.intersection(hosts)
    if not asked:
        return Found()
    settings, questions = _questions(stack, asked)
    verdicts = _asked(questions)
    sick = {one.host: str(one) for one in verdicts if not isinstance(one, Accepted)}
    limits = _limits(verdicts)
    well = [question for question in questions if question.host not in sick]
    try:
        cut_off = _cut_off(stack, settings, well, repositories or {})
    except OpsError as error:
        return Found(sick=sick, unasked=str(error), limits=limits)
    return Found(sick=sick, cut_off=cut_off, limits=limits)


def forecast(stack: str, needed: Mapping[str, int]) -> tuple[str, ...]:
    """Whether the limits of upstreams allow so many pulls: a line for each that has one.

    Args:
        stack: its name.
        needed: host -> pulls. Only those that are known for limits are asked.

    Raises:
        OpsError: the credentials can't be read.
    """
    limited = {host: pulls for host, pulls in needed.items() if host in LIMITED and pulls}
    if not limited:
        return ()
    _, questions = _questions(stack, set(limited))
    limits = _limits(_asked(questions))
    now = datetime.now().astimezone()
    return tuple(
        f"{one.host}: "
        + limits[one.host].forecast(limited[one.host], now, has_login=one.login is not None)
        for one in questions
        if one.host in limits
    )


def _questions(stack: str, hosts: set[str]) -> tuple[Settings, list[Question]]:
    """What to ask these upstreams of a stack, and its settings with their credentials."""
    # Unreadable credentials of other upstreams must not keep these from being asked.
    settings = stack_secrets.settings_of(stack, upstreams=hosts, logins=False)
    settings = docker_config.with_logins(settings, hosts)
    files = stack_files.named_files(settings)
    questions = [
        _of_settings(settings, upstream, files)
        for upstream in settings.cached
        if upstream.host in hosts
    ]
    return settings, questions


def _limits(verdicts: Sequence[Verdict]) -> dict[str, RateLimit]:
    return {one.host: one.limit for one in verdicts if isinstance(one, Accepted) and one.limit}


def _cut_off(
    stack: str,
    settings: Settings,
    well: Sequence[Question],
    repositories: Mapping[str, str],
) -> dict[str, str]:
    """Healthy upstream -> the error of its cache when that asks it in vain.

    Raises:
        OpsError: the login of the caches can't be read.
    """
    if well and settings.cache_login and settings.cache_login.is_encrypted:
        settings = stack_secrets.settings_of(stack)
    by_host = {cache.host: cache for cache in of_settings(settings)}

    def ask(question: Question) -> str | None:
        repository = repositories.get(question.host, question.repository)
        return _trouble_of(by_host[question.host], question, repository)

    with ThreadPoolExecutor(max_workers=AT_ONCE) as pool:
        said = pool.map(ask, well)
        return {one.host: words for one, words in zip(well, said, strict=True) if words}


def _trouble_of(cache: Cache, question: Question, repository: str) -> str | None:
    """The error of a cache when it asks its upstream in vain; None if it does not.

    An upstream may refuse repositories that it does not have: it gets the same request, and only
    if it does not refuse that, the cache is to blame. A cache that does not run, or wants another
    login than the stack's, is reported elsewhere.
    """
    from ops.registry import fetch, upstream_credentials

    try:
        if ping.status(cache.local_endpoint, CACHE_SECONDS, cache.login) != http.client.OK:
            return None
    except (OSError, http.client.HTTPException):
        return None
    with closing(fetch.opened(cache)) as asked:
        trouble = fetch.upstream_trouble(asked, repository, CACHE_SECONDS)
    # Too many requests (429): that passes by itself.
    is_cut_off = trouble and (trouble.status in fetch.REFUSALS or trouble.status >= FAILED)
    if not is_cut_off or not upstream_credentials.lacks_nobodys_blob(question, repository):
        return None
    return str(trouble).partition(": ")[2]


@contextmanager
def sources_below_paths(settings: Settings) -> "Iterator[Mapping[str, Source]]":
    """Upstream -> where its cache gets images from, for upstreams whose images are below a path.

    Images have the names that nodes use for them.

    Args:
        settings: of the stack, with its upstreams' credentials decrypted.

    Raises:
        OpsError: the credentials in Docker's own configuration can't be read.
    """
    below = [one for one in settings.cached if one.path_prefix]
    settings = docker_config.with_logins(settings, {one.host for one in below})
    files = stack_files.named_files(settings)
    with ExitStack() as opened:
        yield {
            one.host: opened.enter_context(closing(_source(_of_settings(settings, one, files))))
            for one in below
        }


def _source(question: Question) -> "Source":
    from ops.registry import fetch
    from ops.registry.tokens import TokenAuth
    from ops.registry.upstream_transport import Transport

    login = question.credentials
    keys = f'credentials["{question.host}"]'
    return fetch.source(
        f"{question.remote_url}/v2/{question.path_prefix}",
        auth=TokenAuth(login.username if login else "", login.password if login else "", keys),
        transport=Transport(question),
    )


def _asked(questions: Sequence[Question]) -> tuple[Verdict, ...]:
    # It takes a quarter of a second to import, and offline no one is asked.
    if not questions:
        return ()
    from ops.registry import upstream_credentials

    return upstream_credentials.ask_all(questions)


def _of_plan(plan: CachePlan) -> Question:
    return Question(
        host=plan.host,
        remote_url=plan.remote_url,
        credentials=plan.credentials,
        from_docker=plan.from_docker,
        path_prefix=plan.path_prefix,
        ca_pem=plan.upstream_ca,
        proxy=plan.upstream_proxy,
    )


def _of_settings(
    settings: Settings, upstream: UpstreamSettings, files: Mapping[str, str]
) -> Question:
    return Question(
        host=upstream.host,
        remote_url=upstream.remote_url,
        credentials=settings.credentials_for(upstream.host),
        from_docker=upstream.from_docker,
        path_prefix=upstream.path_prefix,
        ca_pem=files.get(upstream.ca_file, ""),
        proxy=settings.upstream_proxy,
    )
