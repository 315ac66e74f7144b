"""The key `harbor`: a Harbor that replaces caches on this machine."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from plan import loopback, sizes
from plan.images.grammar import LABEL
from plan.network import address_of
from plan.problems import text
from plan.settings.checks import Checks
from plan.settings.credentials import HARBOR_ADMIN, HARBOR_LOGIN, Credentials
from plan.settings.upstreams import HARBOR, UpstreamSettings, is_base_url

# Keys for what the stack creates in Harbor, which it does only with `harborAdmin`.
KEYS_OF_AN_ADMIN = ("public", "retentionDays", "quota", "robot")
MOST_DAYS = 3650

# Harbor's own rule for project names; the upstream's host follows.
PROJECT_PREFIX = r"[a-z0-9]+([._-][a-z0-9]+)*[._-]?"
QUOTA = sizes.whole(("MiB", "GiB", "TiB"), most_digits=7, zero=False)
ROBOT = re.compile(rf"[^\s:/]{{0,32}}?{LABEL}([._+-]{LABEL})*")


@dataclass(frozen=True, kw_only=True)
class HarborSettings:
    """A Harbor, and what the stack creates in it.

    Attributes:
        url: without a path.
        ca_file: path of a file with the CA that issued its certificate; may be empty.
        project_prefix: comes before an upstream's host in its project's name.
        public: whether anyone may pull from the projects that this stack creates.
        retention_days: how long to keep an image that no one pulls; None for forever.
        quota_bytes: size limit of each project; None for no limit.
        robot: full name of the account that nodes pull with; empty for the default one.
        admin: the account that creates projects; None if they exist already.
        login: the account that nodes pull with, if this stack creates none for them.
    """

    url: str
    ca_file: str
    project_prefix: str
    public: bool
    retention_days: int | None
    quota_bytes: int | None
    robot: str
    admin: Credentials | None
    login: Credentials | None

    def project(self, host: str) -> str:
        """Name of the project that caches an upstream; it can't contain a port's colon."""
        return f"{self.project_prefix}{host.replace(':', '-')}"


def parse_harbor(
    check: Checks,
    value: object,
    upstreams: tuple[UpstreamSettings, ...],
    logins: Mapping[str, Credentials | None],
) -> HarborSettings | None:
    """The key `harbor`, checked together with the upstreams behind it."""
    behind = [upstream for upstream in upstreams if upstream.backend == HARBOR]
    if value is None:
        _refuse_without_harbor(check, behind, logins)
        return None
    group = check.mapping("harbor", value, "harbor")
    if not isinstance(value, Mapping):
        return None
    admin, login = logins[HARBOR_ADMIN], logins[HARBOR_LOGIN]
    if not behind and not check.problems:
        rule = "Harbor caches only upstreams with the backend harbor"
        check.add("harbor", "no such upstream", rule, "write backend: harbor, or remove it")
    if admin is None:
        _refuse_keys_of_an_admin(check, group)
    else:
        _refuse_two_logins(check, login, group)
        _refuse_unknown_upstreams(check, behind)
    public = check.boolean("harbor.public", group)
    url = _url(check, group.get("url"))
    if url.startswith("http:") and group.get("ca") is not None:
        rule = "only with https, and harbor.url says http"
        check.add("harbor.ca", group["ca"], rule, "remove it, or write https in harbor.url")
    return HarborSettings(
        url=url,
        ca_file=check.file("harbor.ca", group),
        project_prefix=check.matching("harbor.projectPrefix", group),
        public=public,
        retention_days=_retention_days(check, group),
        quota_bytes=_quota(check, group.get("quota")),
        robot=_robot(check, group, public=public),
        admin=admin,
        login=login,
    )


def _refuse_without_harbor(
    check: Checks, behind: list[UpstreamSettings], logins: Mapping[str, Credentials | None]
) -> None:
    fix = 'write harbor: {url: "https://harbor.example.com"}'
    if behind:
        rule = f"required, as the upstream {behind[0].host} has the backend harbor"
        check.missing("harbor", rule, fix)
        return
    for key in (HARBOR_ADMIN, HARBOR_LOGIN):
        if logins[key] is not None:
            check.hidden(key, "only together with the key harbor", f"remove it, or {fix}")


def _refuse_keys_of_an_admin(check: Checks, group: Mapping[str, Any]) -> None:
    for key in KEYS_OF_AN_ADMIN:
        # A default that is written out changes nothing.
        if group.get(key) not in (None, check.key(f"harbor.{key}").default):
            rule = f"only for projects that this stack creates, which needs {HARBOR_ADMIN}"
            fix = f"remove it, or set {HARBOR_ADMIN} as a secret"
            check.add(f"harbor.{key}", group[key], rule, fix)


def _refuse_two_logins(check: Checks, login: Credentials | None, group: Mapping[str, Any]) -> None:
    if login is not None:
        why = (
            "nodes pull with the robot account that this stack creates"
            if group.get("public") is False
            else "anyone may pull from public projects"
        )
        check.hidden(HARBOR_LOGIN, why, f"remove it, or remove {HARBOR_ADMIN}")


def _refuse_unknown_upstreams(check: Checks, behind: list[UpstreamSettings]) -> None:
    for upstream in behind:
        if not upstream.remote_url:
            rule = "required: Harbor needs the URL of this upstream's API"
            fix = f'write remoteUrl: "https://{upstream.host}"'
            check.missing(f"upstreams.{upstream.host}.remoteUrl", rule, fix)


def _url(check: Checks, value: object) -> str:
    rule, fix = check.key("harbor.url").rule, check.key("harbor.url").fix
    if value is None:
        check.missing("harbor.url", rule, fix)
        return ""
    if isinstance(value, str) and "@" in value:
        rule = "no user name or password in a URL, which is stored in plain text"
        check.add("harbor.url", value, rule, f"remove them, and set {HARBOR_LOGIN} as a secret")
        return ""
    if not isinstance(value, str) or not is_base_url(value):
        host = text(value).split("://")[-1].split("/")[0]
        scheme = "http" if text(value).startswith("http:") else "https"
        if isinstance(value, str) and is_base_url(f"{scheme}://{host}"):
            fix = f'write url: "{scheme}://{host}"'
        check.add("harbor.url", value, rule, fix)
        return ""
    if loopback.is_loopback(address_of(value)[0]):
        rule = "nodes pull from it, and on a node loopback is the node itself"
        check.add("harbor.url", value, rule, "write the name or address by which nodes reach it")
        return ""
    return value.rstrip("/")


def _retention_days(check: Checks, group: Mapping[str, Any]) -> int | None:
    if group.get("retentionDays") is None:
        return None
    return check.integer("harbor.retentionDays", group)


def _quota(check: Checks, value: object) -> int | None:
    if value is None:
        return None
    size = sizes.parse_whole(value, QUOTA)
    if size is None:
        check.refuse("harbor.quota", value)
        return None
    return size


def _robot(check: Checks, group: Mapping[str, Any], *, public: bool) -> str:
    value = group.get("robot")
    if value is None:
        return ""
    if public:
        rule = "only for private projects: anyone may pull from public ones, without an account"
        check.add("harbor.robot", value, rule, "remove it, or write public: false")
    elif not isinstance(value, str) or not ROBOT.fullmatch(value):
        check.refuse("harbor.robot", value)
    else:
        return value
    return ""
