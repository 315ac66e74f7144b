"""The key `upstreams`: upstream registries, and where each of them is cached."""

import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from plan import loopback
from plan.images import grammar
from plan.problems import text
from plan.settings.checks import (
    Checks,
    is_integer,
    number_in,
)
from plan.settings.credentials import set_secret
from plan.upstreams import DOCKER_IO_ALIASES, KNOWN, LARGEST_OFFSET, slug

LOCAL = "local"
HARBOR = "harbor"
HARBOR_ITSELF = "Harbor"
BACKENDS = (LOCAL, HARBOR)
# Keys of an upstream that configure a cache on this machine.
KEYS_OF_A_CACHE = ("port", "overridePath", "pathPrefix", "ca")
# The other source of credentials, besides the stack's own secrets.
DOCKER_CONFIG = "docker-config"
# Talos's and containerd's names for every registry without an entry.
_CATCH_ALLS = ("*", "_default")
# Ports below 1024 need privileges on many machines, and the Talos guide's ports are all above.
PORT_RANGE = (1024, 65535)
# An example host, if the user's own can't be guessed.
EXAMPLE_HOST = "registry.example.com"

HOST_NAME = re.compile(rf"{grammar.LABEL}(\.{grammar.LABEL})*")
HOST = re.compile(grammar.HOST)
PATH = re.compile(grammar.PATH)
URL_HOST = r"https?://([A-Za-z0-9][A-Za-z0-9._-]*|\[[0-9A-Fa-f:.]+\])"
URL = re.compile(rf"{URL_HOST}(:[0-9]{{1,5}})?/?")


@dataclass(frozen=True, kw_only=True)
class UpstreamSettings:
    """One upstream registry, and the port of its cache.

    Attributes:
        host: as in an image reference.
        remote_url: of its API; empty if only Harbor knows it.
        port: of the cache on this machine; 0 if Harbor replaces the cache.
        skip_fallback: whether nodes never pull from the upstream itself.
        override_path: whether nodes use the mirror's path as it is.
        path_prefix: path before every repository's name at the remote URL, without slashes at its
            ends; may be empty.
        ca_file: path of a file with the CA that issued the upstream's certificate; may be empty.
        from_docker: whether to read credentials from the user's docker configuration.
        backend: LOCAL or HARBOR.
    """

    host: str
    remote_url: str
    port: int
    skip_fallback: bool
    override_path: bool
    path_prefix: str = ""
    ca_file: str = ""
    from_docker: bool = False
    backend: str = LOCAL


def parse_upstreams(
    check: Checks, value: object, base_port: int, backend: str
) -> tuple[UpstreamSettings, ...]:
    """The key `upstreams`; without it, the six that are built in.

    Args:
        check: collects mistakes.
        value: of the key.
        base_port: see `upstreams.KNOWN`.
        backend: of every upstream that doesn't set its own.
    """
    if value is None:
        value = {host: {} for host in KNOWN}
    if not isinstance(value, Mapping) or not value:
        rule = "a mapping with at least one upstream registry"
        fix = "write {docker.io: {}}, or remove the key for the six defaults"
        check.add("upstreams", value, rule, fix)
        return ()
    free_ports = _free_ports(base_port, value)
    parsed = tuple(
        upstream
        for host, item in value.items()
        if (upstream := _upstream(check, text(host), item, base_port, free_ports, backend))
        is not None
    )
    _refuse_same_slugs(check, hosts_of(value))
    _refuse_same_ports(check, parsed, free_ports)
    return parsed


def is_base_url(url: str) -> bool:
    """Whether it is http:// or https://, a host, maybe a port, and nothing else."""
    try:
        return bool(URL.fullmatch(url)) and urlsplit(url).port != 0
    except ValueError:  # a port out of range, or not an IPv6 address
        return False


def is_host(host: str) -> bool:
    """Whether it can be an upstream: a host in lower case, and maybe a port."""
    port = host.partition(":")[2]
    return bool(HOST.fullmatch(host)) and (not port or 1 <= int(port) <= PORT_RANGE[1])


def hosts_of(upstreams: object) -> list[str]:
    """The upstream registries as they are written, right or wrong."""
    if upstreams is None:
        return list(KNOWN)
    return [text(host) for host in upstreams] if isinstance(upstreams, Mapping) else []


def _upstream(
    check: Checks,
    host: str,
    value: object,
    base_port: int,
    free_ports: Iterator[int],
    default_backend: str,
) -> UpstreamSettings | None:
    path = f"upstreams.{host}"
    before = len(check.problems)
    # Further messages about this upstream name the host that was probably meant.
    host = _host(check, path, host)
    group = check.mapping(path, value, "upstreams.<host>")
    backend = group.get("backend")
    if backend is None:
        backend = default_backend
    else:
        backend = check.choice("upstreams.<host>.backend", group, f"{path}.backend")
    remote_url, port = None, None
    if backend == HARBOR:
        _refuse_keys_of_a_cache(check, path, group)
        if group.get("remoteUrl") is not None or host in KNOWN:
            remote_url = _remote_url(check, path, host, group.get("remoteUrl"), HARBOR_ITSELF)
    elif backend == LOCAL:
        remote_url = _remote_url(check, path, host, group.get("remoteUrl"), "the cache")
        port = _port(check, path, host, group.get("port"), base_port, free_ports)
    upstream = UpstreamSettings(
        host=host,
        remote_url=remote_url or "",
        port=port or 0,
        skip_fallback=check.boolean("upstreams.<host>.skipFallback", group, f"{path}.skipFallback"),
        override_path=check.boolean("upstreams.<host>.overridePath", group, f"{path}.overridePath"),
        path_prefix=_path_prefix(check, path, group.get("pathPrefix")),
        ca_file=check.file("upstreams.<host>.ca", group, f"{path}.ca"),
        from_docker=_from_docker(check, path, group),
        backend=backend,
    )
    return upstream if len(check.problems) == before else None


def _refuse_keys_of_a_cache(check: Checks, path: str, group: Mapping[str, Any]) -> None:
    for key in KEYS_OF_A_CACHE:
        # A default that is written out changes nothing.
        if group.get(key) not in (None, check.key(f"upstreams.<host>.{key}").default):
            rule = "only for upstreams that are cached on this machine, and Harbor caches this one"
            check.add(f"{path}.{key}", group[key], rule, "remove it, or write backend: local")


def _path_prefix(check: Checks, path: str, value: object) -> str:
    if value is None:
        return ""
    bare = _bare_path(text(value))
    if value == bare and PATH.fullmatch(bare):
        return bare
    row = check.key("upstreams.<host>.pathPrefix")
    fix = row.fix
    if PATH.fullmatch(bare):
        fix = f"write {bare}" if isinstance(value, str) else f'put it in quotes: "{bare}"'
    check.add(f"{path}.pathPrefix", value, row.rule, fix)
    return ""


def _from_docker(check: Checks, path: str, group: Mapping[str, Any]) -> bool:
    if group.get("credentialsFrom") is None:
        return False
    key = "upstreams.<host>.credentialsFrom"
    return check.choice(key, group, f"{path}.credentialsFrom") == DOCKER_CONFIG


def _host(check: Checks, path: str, host: str) -> str:
    """The host; if it is wrong, the one that was probably meant."""
    rule = (
        "the host of an image reference: lower-case letters, digits, '-' and '.' and, if needed, a "
        "port; no scheme, no user, no path"
    )
    if host in _CATCH_ALLS:
        why = "each upstream has its own cache: one for all can't know which one to pull from"
        check.add(path, host, why, "list every registry that nodes pull from, one per line")
        return EXAMPLE_HOST
    bare = host.rpartition("@")[2].split("://")[-1].split("/")[0].lower()
    if bare in DOCKER_IO_ALIASES:
        why = "image references say docker.io instead, so a mirror of this host would not be used"
        check.add(path, host, why, "write docker.io")
        return "docker.io"
    if not HOST.fullmatch(bare):
        fix = f"write something like {EXAMPLE_HOST}"
        check.add(path, host, rule, fix)
        return EXAMPLE_HOST
    name, _, port = bare.partition(":")
    if port and not 1 <= int(port) <= PORT_RANGE[1]:
        rule = f"a port from 1 to {PORT_RANGE[1]} after the colon"
        check.add(path, host, rule, f"write {name}, or correct the port")
        return name
    if bare != host:
        check.add(path, host, rule, f"write {bare}")
    return bare


def _remote_url(check: Checks, path: str, host: str, value: object, who: str) -> str | None:
    """The URL; `who` connects to it."""
    path = f"{path}.remoteUrl"
    rule = check.key("upstreams.<host>.remoteUrl").rule
    usual = _usual_url(host)
    if value is None:
        if host in KNOWN:
            return usual
        why = f"required for any upstream other than {', '.join(KNOWN)}"
        check.missing(path, why, f'write remoteUrl: "{usual}"')
        return None
    if not isinstance(value, str):
        check.add(path, value, rule, f'write "{usual}"')
        return None
    if "@" in value:
        rule = "no user name or password in a URL, which is stored in plain text"
        fix = f"remove them, and run: {set_secret(host, 'username')} (then the same for password)"
        check.add(path, value, rule, fix)
        return None
    if not is_base_url(value):
        bare = value.split("://")[-1].split("/")[0].split("?")[0].split("#")[0]
        scheme = "http" if value.startswith("http://") else "https"
        fixed = f"{scheme}://{bare}"
        works = is_base_url(fixed)
        fix = f'write "{fixed if works else usual}"'
        if works and (prefix := _prefix_in(value)):
            fix += f", and pathPrefix: {prefix} if its images are under that path"
        check.add(path, value, rule, fix)
        return None
    if loopback.refuse(check, path, value, who, is_here=who != HARBOR_ITSELF):
        return None
    return value.rstrip("/")


def _usual_url(host: str) -> str:
    """The probable URL of an upstream's API, as a container reaches it."""
    if host in KNOWN:
        return KNOWN[host].remote_url
    name, colon, port = host.partition(":")
    if loopback.is_loopback(name):
        return f"http://{loopback.BRIDGE}{colon}{port}"
    return f"https://{host}"


def _prefix_in(url: str) -> str:
    """The repository path in a URL; empty if there is none."""
    _, _, path = url.split("://")[-1].partition("/")
    prefix = _bare_path(path)
    return prefix if PATH.fullmatch(prefix) else ""


def _bare_path(path: str) -> str:
    """A repository's path without the /v2 of the registry's API."""
    return f"{path.strip('/')}/".removeprefix("v2/").rstrip("/")


def _port(
    check: Checks,
    path: str,
    host: str,
    value: object,
    base_port: int,
    free_ports: Iterator[int],
) -> int | None:
    if value is None:
        if host in KNOWN:
            return base_port + KNOWN[host].port_offset
        rule = "required unless the upstream is built in, so that the port never changes"
        check.missing(f"{path}.port", rule, f"write port: {next(free_ports)} (free in this stack)")
        return None
    number, row = number_in(value), check.key("upstreams.<host>.port")
    if is_integer(number) and row.least <= number <= row.most:
        return number
    fix = f"write port: {next(free_ports)} (free in this stack)"
    check.add(f"{path}.port", value, row.rule, fix)
    return None


def _free_ports(base_port: int, all_upstreams: Mapping[Any, object]) -> Iterator[int]:
    """Ports to propose, each once: no upstream of the stack has or sets them."""
    taken = {
        number
        for item in all_upstreams.values()
        if isinstance(item, Mapping) and is_integer(number := number_in(item.get("port")))
    }
    above = range(base_port + LARGEST_OFFSET + 1, PORT_RANGE[1] + 1)
    below = range(PORT_RANGE[0], base_port)
    return (port for port in itertools.chain(above, below) if port not in taken)


def _refuse_same_slugs(check: Checks, hosts: list[str]) -> None:
    by_slug: dict[str, str] = {}
    for host in hosts:
        name = slug(host.lower())
        if name in by_slug:
            rule = (
                f"both would be named {name}: upstreams must differ in more than upper and lower "
                "case, '.', ':' and '-'"
            )
            found = f"{host} and {by_slug[name]}"
            check.add(f"upstreams.{host}", found, rule, "keep one of the two")
        by_slug.setdefault(name, host)


def _refuse_same_ports(
    check: Checks, upstreams: tuple[UpstreamSettings, ...], free_ports: Iterator[int]
) -> None:
    by_port: dict[int, str] = {}
    for upstream in (one for one in upstreams if one.backend == LOCAL):
        if upstream.port in by_port:
            check.add(
                f"upstreams.{upstream.host}.port",
                upstream.port,
                f"each cache needs its own port, and {by_port[upstream.port]} has this one",
                f"write port: {next(free_ports)} (free in this stack)",
            )
        by_port.setdefault(upstream.port, upstream.host)
