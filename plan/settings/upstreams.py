"""The key `upstreams`: one upstream registry each, and where its cache is."""

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
# Keys of an upstream that are about a cache on this machine.
KEYS_OF_A_CACHE = ("port", "overridePath", "pathPrefix", "ca")
# Where credentials can come from beside the stack's own secrets.
DOCKER_CONFIG = "docker-config"
# Talos's and containerd's names for every registry that has no entry.
_CATCH_ALLS = ("*", "_default")
# Ports below 1024 need privileges on many machines, and none of the guide's ports is that low.
PORT_RANGE = (1024, 65535)
# A host to show where the user's own can't be guessed.
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
        remote_url: where its API is; empty where Harbor knows and this stack does not.
        port: of the cache on this machine; 0 where Harbor takes the cache's place.
        skip_fallback: whether nodes never ask the upstream itself.
        override_path: whether nodes take the mirror's path as it stands.
        path_prefix: path that stands before every repository's name at the remote URL, without
            slashes at its ends; empty for a registry that knows its images by their own names.
        ca_file: path of a file with the CA that the upstream's certificate comes from; may be
            empty.
        from_docker: whether credentials come from the user's docker configuration.
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
    """The key `upstreams`; absent, it is the known six.

    Args:
        check: where mistakes go.
        value: of the key.
        base_port: see `upstreams.KNOWN`.
        backend: of every upstream that names none.
    """
    if value is None:
        value = {host: {} for host in KNOWN}
    if not isinstance(value, Mapping) or not value:
        rule = "a mapping with at least one upstream registry"
        fix = "write {docker.io: {}}, or leave the key out for the six defaults"
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
    """Whether it is http:// or https://, a host and perhaps a port, and nothing behind that."""
    try:
        return bool(URL.fullmatch(url)) and urlsplit(url).port != 0
    except ValueError:  # a port, or an IPv6 address, that there is not
        return False


def is_host(host: str) -> bool:
    """Whether it can be an upstream: a host in small letters, and perhaps a port."""
    port = host.partition(":")[2]
    return bool(HOST.fullmatch(host)) and (not port or 1 <= int(port) <= PORT_RANGE[1])


def hosts_of(upstreams: object) -> list[str]:
    """The upstream registries as the stack names them, right or wrong."""
    if upstreams is None:
        return list(KNOWN)
    return [text(host) for host in upstreams] if isinstance(upstreams, Mapping) else []


def _upstream(
    check: Checks,
    host: str,
    value: object,
    base_port: int,
    free_ports: Iterator[int],
    usual_backend: str,
) -> UpstreamSettings | None:
    path = f"upstreams.{host}"
    before = len(check.problems)
    # What else is said of this upstream is said of the host that it should have been.
    host = _host(check, path, host)
    group = check.mapping(path, value, "upstreams.<host>")
    backend = group.get("backend")
    if backend is None:
        backend = usual_backend
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
    made = UpstreamSettings(
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
    return made if len(check.problems) == before else None


def _refuse_keys_of_a_cache(check: Checks, path: str, group: Mapping[str, Any]) -> None:
    for key in KEYS_OF_A_CACHE:
        # The default says nothing, also where it is written down.
        if group.get(key) not in (None, check.key(f"upstreams.<host>.{key}").default):
            rule = "it is about a cache on this machine, and Harbor takes its place here"
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
        fix = f"write {bare}" if isinstance(value, str) else f'write it in quotes: "{bare}"'
    check.add(f"{path}.pathPrefix", value, row.rule, fix)
    return ""


def _from_docker(check: Checks, path: str, group: Mapping[str, Any]) -> bool:
    if group.get("credentialsFrom") is None:
        return False
    key = "upstreams.<host>.credentialsFrom"
    return check.choice(key, group, f"{path}.credentialsFrom") == DOCKER_CONFIG


def _host(check: Checks, path: str, host: str) -> str:
    """The host; where it is wrong, what it should probably be."""
    rule = (
        "the host of an image reference: lower-case letters, digits, '-' and '.', and a port if it "
        "has one; no scheme, no user, no path"
    )
    if host in _CATCH_ALLS:
        why = "every upstream has a cache of its own: one for all would not know which one to ask"
        check.add(path, host, why, "name every registry that nodes pull from, each on its own line")
        return EXAMPLE_HOST
    bare = host.rpartition("@")[2].split("://")[-1].split("/")[0].lower()
    if bare in DOCKER_IO_ALIASES:
        why = "image references say docker.io, never this name, so its mirror would not be asked"
        check.add(path, host, why, "write docker.io")
        return "docker.io"
    if not HOST.fullmatch(bare):
        fix = f"write for instance {EXAMPLE_HOST}"
        check.add(path, host, rule, fix)
        return EXAMPLE_HOST
    name, _, port = bare.partition(":")
    if port and not 1 <= int(port) <= PORT_RANGE[1]:
        rule = f"a port from 1 to {PORT_RANGE[1]} behind the colon"
        check.add(path, host, rule, f"write {name}, or correct the port")
        return name
    if bare != host:
        check.add(path, host, rule, f"write {bare}")
    return bare


def _remote_url(check: Checks, path: str, host: str, value: object, who: str) -> str | None:
    """The URL, which `who` asks."""
    path = f"{path}.remoteUrl"
    rule = check.key("upstreams.<host>.remoteUrl").rule
    usual = _usual_url(host)
    if value is None:
        if host in KNOWN:
            return usual
        why = f"an upstream outside the known six ({', '.join(KNOWN)}) says where its API is"
        check.missing(path, why, f'write remoteUrl: "{usual}"')
        return None
    if not isinstance(value, str):
        check.add(path, value, rule, f'write "{usual}"')
        return None
    if "@" in value:
        rule = "no user name or password in a URL: it is stored as plain text"
        fix = f"take them out, and run: {set_secret(host, 'username')} (then the same for password)"
        check.add(path, value, rule, fix)
        return None
    if not is_base_url(value):
        bare = value.split("://")[-1].split("/")[0].split("?")[0].split("#")[0]
        scheme = "http" if value.startswith("http://") else "https"
        fixed = f"{scheme}://{bare}"
        works = is_base_url(fixed)
        fix = f'write "{fixed if works else usual}"'
        if works and (prefix := _prefix_in(value)):
            fix += f", and pathPrefix: {prefix} if its images are below that path"
        check.add(path, value, rule, fix)
        return None
    if loopback.refuse(check, path, value, who, is_here=who != HARBOR_ITSELF):
        return None
    return value.rstrip("/")


def _usual_url(host: str) -> str:
    """Where the API of an upstream probably is, as a container has to write it."""
    if host in KNOWN:
        return KNOWN[host].remote_url
    name, colon, port = host.partition(":")
    if loopback.is_loopback(name):
        return f"http://{loopback.BRIDGE}{colon}{port}"
    return f"https://{host}"


def _prefix_in(url: str) -> str:
    """The repository path that somebody has written into a URL; empty if there is none."""
    _, _, path = url.split("://")[-1].partition("/")
    prefix = _bare_path(path)
    return prefix if PATH.fullmatch(prefix) else ""


def _bare_path(path: str) -> str:
    """A repository's path without what the registry's API puts before it."""
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
        rule = "an upstream outside the known six says its port, so that it never moves"
        check.missing(f"{path}.port", rule, f"write port: {next(free_ports)} (free in this stack)")
        return None
    number, row = number_in(value), check.key("upstreams.<host>.port")
    if is_integer(number) and row.least <= number <= row.most:
        return number
    fix = f"write port: {next(free_ports)} (free in this stack)"
    check.add(f"{path}.port", value, row.rule, fix)
    return None


def _free_ports(base_port: int, all_upstreams: Mapping[Any, object]) -> Iterator[int]:
    """Ports to propose, each once: neither in the table nor asked for by an upstream."""
    asked = {
        number
        for item in all_upstreams.values()
        if isinstance(item, Mapping) and is_integer(number := number_in(item.get("port")))
    }
    above = range(base_port + LARGEST_OFFSET + 1, PORT_RANGE[1] + 1)
    below = range(PORT_RANGE[0], base_port)
    return (port for port in itertools.chain(above, below) if port not in asked)


def _refuse_same_slugs(check: Checks, hosts: list[str]) -> None:
    by_slug: dict[str, str] = {}
    for host in hosts:
        name = slug(host.lower())
        if name in by_slug:
            rule = (
                f"both would be named {name}: two upstreams differ by more than upper and lower "
                "case, '.', ':' and '-'"
            )
            found = f"{host} beside {by_slug[name]}"
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
                f"every cache has a port of its own; {by_port[upstream.port]} has this one",
                f"write port: {next(free_ports)} (free in this stack)",
            )
        by_port.setdefault(upstream.port, upstream.host)
