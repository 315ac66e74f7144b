"""From settings to what a stack creates in Harbor, and to the mirrors for upstreams behind it."""

import re
from collections.abc import Mapping

from plan.harbor.desired import (
    DEFAULT_ROBOT_PREFIX,
    HarborPlan,
    HarborProject,
    mirror_url,
    upstream_endpoint,
)
from plan.settings.credentials import Credentials
from plan.settings.stack import Settings
from plan.settings.upstreams import UpstreamSettings
from plan.talos.mirrors import Mirror
from plan.upstreams import slug


def needs_robot(settings: Settings) -> bool:
    """Whether this stack creates an account for nodes: for its own private projects."""
    harbor = settings.harbor
    return harbor is not None and harbor.admin is not None and not harbor.public


def build(
    settings: Settings, stack: str, owner: str, texts: Mapping[str, str], robot_secret: str
) -> HarborPlan | None:
    """What this stack creates in Harbor; None if it creates nothing.

    Args:
        settings: of the stack.
        stack: its name.
        owner: distinguishes it from others with its name.
        texts: contents of every file that the settings name.
        robot_secret: password of the account for nodes; used if `needs_robot`.
    """
    harbor = settings.harbor
    if harbor is None or harbor.admin is None:
        return None
    return HarborPlan(
        stack=stack,
        owner=owner,
        url=harbor.url,
        ca_pem=texts.get(harbor.ca_file, ""),
        projects=tuple(_project(settings, upstream) for upstream in settings.behind_harbor),
        public=harbor.public,
        retention_days=harbor.retention_days,
        quota_bytes=harbor.quota_bytes,
        robot=_robot(stack, harbor.robot) if needs_robot(settings) else "",
        robot_secret=robot_secret,
        username=harbor.admin.username,
        password=harbor.admin.password,
        keep_data=settings.cache.on_destroy == "keep",
    )


def mirrors(
    settings: Settings, texts: Mapping[str, str], plan: HarborPlan | None
) -> tuple[Mirror, ...]:
    """One mirror per upstream behind Harbor, by host; the plan is that from `build`."""
    harbor = settings.harbor
    if harbor is None:
        return ()
    login = harbor.login
    if plan and plan.robot:
        login = Credentials(username=plan.robot, password=plan.robot_secret)
    return tuple(
        Mirror(
            host=upstream.host,
            url=mirror_url(harbor.url, harbor.project(upstream.host)),
            skip_fallback=upstream.skip_fallback,
            override_path=True,
            ca=texts.get(harbor.ca_file, "").strip(),
            login=login,
        )
        for upstream in settings.behind_harbor
    )


def _project(settings: Settings, upstream: UpstreamSettings) -> HarborProject:
    assert settings.harbor is not None  # noqa: S101 - `build` has checked
    name = settings.harbor.project(upstream.host)
    kind, url = upstream_endpoint(upstream.host, upstream.remote_url)
    login = settings.credentials_for(upstream.host)
    return HarborProject(
        host=upstream.host,
        name=name,
        registry_name=name,
        registry_type=kind,
        remote_url=url,
        username=login.username if login else "",
        password=login.password if login else "",
    )


def _robot(stack: str, name: str) -> str:
    """The full name: the configured one, or one that tells the stack."""
    tail = re.sub("[^a-z0-9]+", "-", stack.lower()).strip("-") or slug(stack)
    return name or f"{DEFAULT_ROBOT_PREFIX}talos-cache-{tail}"
