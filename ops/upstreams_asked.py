"""Asks the upstreams of a stack, once each, whether images can be pulled.

`up`, `doctor` and `warm` ask, and say what is not well. They do no more, because what a cache has
is served whatever its upstream answers.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from typing import TYPE_CHECKING

from ops import docker_config, secret_settings, stack_files
from plan.caches import CachePlan
from plan.login_settings import Credentials
from plan.settings import Settings, UpstreamProxy
from plan.upstream_settings import UpstreamSettings

if TYPE_CHECKING:
    from ops.fetching import Source
    from ops.upstream_login import Question, Verdict


def of_plans(plans: Sequence[CachePlan]) -> "tuple[Verdict, ...]":
    """What every upstream says that is asked at all; none is where the stack is offline."""
    return _asked([_of_plan(plan) for plan in plans if plan.asks_upstream])


def reasons(stack: str, hosts: Collection[str] | None = None) -> dict[str, str]:
    """Upstream -> why nothing can be pulled from it and what to do; those that are well are not in.

    Args:
        stack: its name.
        hosts: of the upstreams to ask; absent: all that have caches here.

    Raises:
        OpsError: the credentials can't be read.
        SettingsError: with every mistake of the stack's file.
    """
    checked = stack_files.check(stack)
    here = {upstream.host for upstream in checked.cached if not checked.offline}
    asked = here if hosts is None else here.intersection(hosts)
    if not asked:
        return {}
    # Whoever is asked without credentials is asked also where others' can't be read.
    settings = secret_settings.settings_of(stack, upstreams=asked, logins=False)
    settings = docker_config.with_logins(settings, asked)
    files = stack_files.named_files(settings)
    questions = [
        _of_settings(settings, upstream, files.get(upstream.ca_file, ""))
        for upstream in settings.cached
        if upstream.host in asked
    ]
    verdicts = _asked(questions)
    from ops.upstream_login import Accepted

    return {one.host: str(one) for one in verdicts if not isinstance(one, Accepted)}


@contextmanager
def sources_below_paths(settings: Settings) -> "Iterator[Mapping[str, Source]]":
    """Upstream -> where its cache gets images from, for upstreams whose images are below a path.

    Images go by the names that nodes use for them.

    Args:
        settings: of the stack, with its upstreams' credentials opened.

    Raises:
        OpsError: the credentials in Docker's own configuration can't be read.
    """
    below = [one for one in settings.cached if one.path_prefix]
    settings = docker_config.with_logins(settings, {one.host for one in below})
    files = stack_files.named_files(settings)
    with ExitStack() as opened:
        yield {
            one.host: opened.enter_context(
                closing(_source(_of_settings(settings, one, files.get(one.ca_file, ""))))
            )
            for one in below
        }


def _source(question: "Question") -> "Source":
    from ops import fetching
    from ops.harbor.pull import TokenAuth
    from ops.upstream_login import Transport

    keys = f'credentials["{question.host}"]'
    return fetching.source(
        f"{question.remote_url}/v2/{question.path_prefix}",
        auth=TokenAuth(question.username, question.password, keys),
        transport=Transport(question),
    )


def _asked(questions: "Sequence[Question]") -> "tuple[Verdict, ...]":
    # It takes a quarter of a second to import, and what is offline asks nobody.
    if not questions:
        return ()
    from ops import upstream_login

    return upstream_login.ask_all(questions)


def _of_plan(plan: CachePlan) -> "Question":
    at = (plan.host, plan.remote_url, plan.path_prefix)
    login = (plan.credentials, plan.from_docker)
    return _question(*at, plan.upstream_ca, *login, plan.upstream_proxy)


def _of_settings(settings: Settings, upstream: UpstreamSettings, ca_pem: str) -> "Question":
    at = (upstream.host, upstream.remote_url, upstream.path_prefix)
    login = (settings.credentials_for(upstream.host), upstream.from_docker)
    return _question(*at, ca_pem, *login, settings.upstream_proxy)


def _question(
    host: str,
    remote_url: str,
    path_prefix: str,
    ca_pem: str,
    login: Credentials | None,
    from_docker: bool,
    proxy: UpstreamProxy | None,
) -> "Question":
    from ops.upstream_login import Question

    return Question(
        host=host,
        remote_url=remote_url,
        path_prefix=path_prefix,
        username=login.username if login else "",
        password=login.password if login else "",
        from_docker=from_docker,
        ca_pem=ca_pem,
        proxy_url=proxy.url if proxy else "",
        no_proxy=proxy.no_proxy if proxy else (),
    )
