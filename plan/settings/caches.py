"""The settings of the caches themselves, and of the proxy between them and their upstreams."""

import ipaddress
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from plan import loopback
from plan.images import grammar
from plan.problems import text
from plan.settings.checks import Checks
from plan.settings.upstreams import (
    is_base_url,
)

ON_DESTROY = ("keep", "delete")
NO_PROXY_NAME = re.compile(r"\*|(\*?\.)?[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?(:[0-9]{1,5})?")
IMAGE = re.compile(
    rf"({grammar.HOST}/)?({grammar.PATH_PART}/)*(?P<name>{grammar.PATH_PART})"
    rf"(:(?P<tag>{grammar.TAG}))?(@{grammar.DIGEST})?"
)
_CERTIFICATE_FILES = ("certificate", "key", "ca")


@dataclass(frozen=True, kw_only=True)
class CacheSettings:
    """The settings of all caches.

    Attributes:
        image: of the registry.
        ttl: a Go duration; "0" keeps images forever.
        on_destroy: one of ON_DESTROY.
        wait_seconds: how long `up` waits for an answer.
        tls: whether they serve HTTPS, with the certificate in the files below or else with one
            from this stack's own CA.
        certificate_file, key_file, ca_file: paths of PEM files; may be empty.
    """

    image: str
    ttl: str
    on_destroy: str
    wait_seconds: int
    tls: bool
    certificate_file: str
    key_file: str
    ca_file: str


@dataclass(frozen=True, kw_only=True)
class UpstreamProxy:
    """A proxy between this machine and its upstreams.

    Attributes:
        url: http or https, without user name and password.
        no_proxy: hosts, domains with a leading dot, and networks to reach without it.
    """

    url: str
    no_proxy: tuple[str, ...]


def parse_cache(check: Checks, value: object) -> CacheSettings:
    """The group `cache`."""
    group = check.mapping("cache", value, "cache")
    files = {name: check.file(f"cache.{name}", group) for name in _CERTIFICATE_FILES}
    tls = check.boolean("cache.tls", group)
    _refuse_half_a_certificate(check, group, tls=tls)
    return CacheSettings(
        image=_image(check, group),
        ttl=check.duration("cache.ttl", group),
        on_destroy=check.choice("cache.onDestroy", group),
        wait_seconds=check.integer("cache.waitSeconds", group),
        tls=tls,
        certificate_file=files["certificate"],
        key_file=files["key"],
        ca_file=files["ca"],
    )


def _refuse_half_a_certificate(check: Checks, group: Mapping[str, Any], *, tls: bool) -> None:
    given = [key for key in _CERTIFICATE_FILES if group.get(key) is not None]
    if given and not tls:
        rule = f"required for {given[0]}, as only caches with TLS have a certificate"
        check.add("cache.tls", tls, rule, "write tls: true")
    for key, other in (("certificate", "key"), ("key", "certificate"), ("ca", "certificate")):
        if key in given and other not in given:
            rule = f"required with {key}; without any of these keys a certificate is generated"
            fix = f"remove {key}, or write something like "
            example = f"{other}: {check.key(f'cache.{other}').example}"
            check.missing(f"cache.{other}", rule, fix, example)


def parse_upstream_proxy(check: Checks, value: object) -> UpstreamProxy | None:
    """The group `upstreamProxy`; None without it."""
    if value is None:
        return None
    group = check.mapping("upstreamProxy", value, "upstreamProxy")
    if not isinstance(value, Mapping):
        return None
    return UpstreamProxy(
        url=_proxy_url(check, group.get("url")), no_proxy=_no_proxy(check, group.get("noProxy"))
    )


def _proxy_url(check: Checks, value: object) -> str:
    path = "upstreamProxy.url"
    if value is None:
        check.missing(path, check.key(path).rule, check.key(path).fix)
    elif isinstance(value, str) and "@" in value:
        rule = "no user name or password: anyone who may inspect the containers can read the URL"
        fix = (
            "run a local proxy that logs in to it (cntlm, px), have it listen on the address of "
            "Docker's bridge, and write that one's URL"
        )
        check.add(path, value, rule, fix)
    elif not isinstance(value, str) or not is_base_url(value) or not urlsplit(value).port:
        check.refuse(path, value)
    elif not loopback.refuse(check, path, value, "every cache"):
        return value.rstrip("/")
    return ""


def _no_proxy(check: Checks, value: object) -> tuple[str, ...]:
    path = "upstreamProxy.noProxy"
    rule = check.key(path).rule
    if value in (None, []):
        return ()
    if not isinstance(value, list):
        parts = [part.strip() for part in text(value).split(",")]
        works = isinstance(value, str) and all(map(_is_no_proxy, parts))
        fix = f"write {json.dumps(parts)}" if works else check.key(path).fix
        check.add(path, value, rule, fix)
        return ()
    for index, item in enumerate(value):
        if not _is_no_proxy(item):
            check.add(f"{path}[{index}]", item, rule, "write one host, domain or network per item")
    return tuple(text(item) for item in value)


def _is_no_proxy(item: object) -> bool:
    """Whether `plan.network` understands it."""
    if not isinstance(item, str):
        return False
    try:
        ipaddress.ip_network(item, strict=False)
    except ValueError:
        return bool(NO_PROXY_NAME.fullmatch(item))
    return True


def _image(check: Checks, group: Mapping[str, Any]) -> str:
    value = group.get("image")
    default = check.default("cache.image")
    if value is None:
        return default
    match = IMAGE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        check.refuse("cache.image", value)
        return default
    fix = check.key("cache.image").fix
    tag = match["tag"] or ""
    if "@" not in match[0] and tag in ("", "latest"):
        rule = "an exact tag or a digest: a moving tag would change the caches behind your back"
        check.add("cache.image", value, rule, fix)
    elif match["name"] == "registry" and re.match(r"v?[0-2](\.|$)", tag):
        rule = "distribution v3 or newer: version 2 can't start while its upstream is unreachable"
        check.add("cache.image", value, rule, fix)
    return match[0]
