"""Raw stack config -> Settings, the only place where the user's input is judged.

Every mistake is found in one go and reported together: the key's path, the value found (masked
where it may be a secret), the rule, and what to do. Defaults live here and nowhere else.
"""

import difflib
import ipaddress
import itertools
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from plan.checks import (
    Checks,
    SettingsError,
    ip_address,
    is_integer,
    leaf,
    number_in_quotes,
    text,
)
from plan.upstreams import DEFAULT_BASE_PORT, DOCKER_IO_ALIASES, KNOWN, LARGEST_OFFSET, slug

DOCKER_BRIDGE = "docker-bridge"
QEMU_BRIDGE = "qemu-bridge"
PROVISIONERS = ("docker", "qemu")
ON_DESTROY = ("keep", "delete")

# Ports below 1024 need privileges on many machines, and none of the guide's ports is that low.
PORT_RANGE = (1024, 65535)
REQUIRED = object()

# Every key that a stack file may have, with its default; the documentation tests compare
# Pulumi.yaml, Pulumi.example.yaml and the README with this table. `<host>` stands for any upstream
# registry. None: absent unless given.
DEFAULTS: dict[str, object] = {
    "addressing": DOCKER_BRIDGE,
    "bindAddresses": (),
    "exposeToLan": False,
    "prefix": "registry",
    "basePort": DEFAULT_BASE_PORT,
    "cache.image": "registry:3.1.1",
    "cache.ttl": "0",
    "cache.onDestroy": "keep",
    "cache.waitSeconds": 60,
    "upstreams.<host>.remoteUrl": None,
    "upstreams.<host>.port": None,
    "upstreams.<host>.skipFallback": False,
    "upstreams.<host>.overridePath": False,
    "cluster.provisioner": "docker",
    "cluster.name": "talos-default",
    "cluster.controlPlanes": 1,
    "cluster.workers": 1,
    "cluster.cidr": "10.5.0.0/24",
    "cluster.talosVersion": None,
    "cluster.kubernetesVersion": None,
    "cluster.createTimeout": "20m",
    "credentials.<host>.username": REQUIRED,
    "credentials.<host>.password": REQUIRED,
}
# The stacks that come with the project: the passphrase behind their committed salts is public.
PUBLIC_STACKS = ("docker", "qemu", "demo")
# Top-level keys whose value is text: the others reach the program as JSON.
TEXT_KEYS = frozenset({"addressing", "prefix"})
# A host to show where the user's own can't be guessed.
EXAMPLE_HOST = "registry.example.com"
# What `pulumi config set --secret --path` leaves in a stack file in place of a value.
ENCRYPTED_KEY = "secure"

_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_HOST = re.compile(rf"{_LABEL}(\.{_LABEL})*(:[0-9]{{1,5}})?")
_HOST_NAME = re.compile(rf"{_LABEL}(\.{_LABEL})*")
_URL = re.compile(r"https?://([A-Za-z0-9][A-Za-z0-9._-]*|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?/?")
# Docker's own rule for names, kept short enough for a prefix with a long host behind it.
_PREFIX = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,62}")
_PREFIX_RULE = (
    "Docker names start with a letter or digit and hold letters, digits, '_', '.' and '-'; "
    "a prefix has at most 63 of them"
)
_CLUSTER_NAME = re.compile(_LABEL)
_PATH_PART = r"[a-z0-9]+([._-]+[a-z0-9]+)*"
_IMAGE = re.compile(
    rf"({_LABEL}(\.{_LABEL})*(:[0-9]{{1,5}})?/)?({_PATH_PART}/)*(?P<name>{_PATH_PART})"
    r"(:(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}))?(@sha256:[0-9a-f]{64})?"
)
_EXACT_VERSION = re.compile(r"v?[0-9]{1,4}\.[0-9]{1,4}\.[0-9]{1,4}(-[a-z0-9.]+)?")


@dataclass(frozen=True, kw_only=True)
class CacheSettings:
    """What all caches have in common. `ttl` is a Go duration, "0" for never."""

    image: str
    ttl: str
    on_destroy: str
    wait_seconds: int


@dataclass(frozen=True, kw_only=True)
class UpstreamSettings:
    """One upstream registry and the port of its cache."""

    host: str
    remote_url: str
    port: int
    skip_fallback: bool
    override_path: bool


@dataclass(frozen=True, kw_only=True)
class ClusterSettings:
    """The Talos cluster behind the caches. Versions are exact; None leaves them to talosctl."""

    provisioner: str
    name: str
    control_planes: int
    workers: int
    cidr: str
    talos_version: str | None
    kubernetes_version: str | None
    create_timeout: str


@dataclass(frozen=True, kw_only=True)
class Credentials:
    """User name and password (or token) for one upstream."""

    username: str
    password: str = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """A stack's configuration, checked, with every default filled in."""

    addressing: str
    bind_addresses: tuple[str, ...]
    expose_to_lan: bool
    prefix: str
    base_port: int
    cache: CacheSettings
    upstreams: tuple[UpstreamSettings, ...]
    cluster: ClusterSettings | None
    credentials: tuple[tuple[str, Credentials], ...] = ()

    @property
    def qemu_bridge_address(self) -> str:
        """The first address of the cluster's CIDR, which QEMU's bridge gets."""
        cidr = self.cluster.cidr if self.cluster else str(DEFAULTS["cluster.cidr"])
        return str(ipaddress.ip_network(cidr)[1])

    def credentials_for(self, host: str) -> Credentials | None:
        """The upstream's credentials, or None for anonymous pulls."""
        return dict(self.credentials).get(host)


def decode(config: Mapping[str, object]) -> dict[str, object]:
    """Undo the engine's way with values: it hands over, and writes into stack files, text.

    Objects, lists, numbers and booleans are JSON in it. Text that is no JSON stays as it is, and
    `parse` says what was expected in its place. What is no text was read from YAML and stays too.
    """
    return {
        key: value if key in TEXT_KEYS or not isinstance(value, str) else _decoded(value)
        for key, value in config.items()
    }


def parse(
    raw: Mapping[str, object], stack: str = "", *, plain_credentials: bool = False
) -> Settings:
    """Check a stack's configuration.

    Args:
        raw: keys without the project's namespace, values as YAML or JSON reads them. A value
            that is still encrypted (`{"secure": ...}`) is not looked into.
        stack: name of the stack, which decides whether it may hold secrets.
        plain_credentials: whether `credentials` stand in the stack's file unencrypted.

    Raises:
        SettingsError: with every mistake there is.
    """
    check = Checks(DEFAULTS)
    top = check.mapping("", raw, "")
    addressing = _addressing(check, top.get("addressing"))
    bind_addresses = _bind_addresses(check, top.get("bindAddresses"), addressing)
    base_port = _base_port(check, top)
    upstreams = _upstreams(check, top.get("upstreams"), base_port)
    settings = Settings(
        addressing=addressing,
        bind_addresses=bind_addresses,
        expose_to_lan=check.boolean("exposeToLan", top),
        prefix=check.matching("prefix", top, _PREFIX, _PREFIX_RULE, "write for instance registry"),
        base_port=base_port,
        cache=_cache(check, top.get("cache")),
        upstreams=upstreams,
        cluster=_cluster(check, top.get("cluster")),
        credentials=_credentials(check, top.get("credentials"), _hosts(top.get("upstreams"))),
    )
    if top.get("credentials") is not None:
        _refuse_open_credentials(check, stack, plain_credentials=plain_credentials)
    if check.problems:
        raise SettingsError(tuple(check.problems))
    return settings


def _refuse_open_credentials(check: Checks, stack: str, *, plain_credentials: bool) -> None:
    if stack in PUBLIC_STACKS:
        rule = f"the passphrase of the stack '{stack}' is public: it comes with the project"
        fix = f"make a stack of your own: make stack NAME=mine FROM={stack}"
        check.hidden("credentials", rule, fix)
    elif plain_credentials:
        fix = f"remove them, and run: {_set_secret('docker.io', 'password')}, and so on"
        check.hidden("credentials", "credentials are never stored as plain text", fix)


def _decoded(value: str) -> object:
    try:
        decoded: object = json.loads(value)
    except (ValueError, RecursionError):  # no JSON, or JSON that Python refuses to read
        return value
    return decoded


def _addressing(check: Checks, value: object) -> str:
    if value is None:
        return DOCKER_BRIDGE
    rule = f"{DOCKER_BRIDGE}, {QEMU_BRIDGE}, an IP address or a host name (no scheme, no port)"
    if not isinstance(value, str):
        check.add("addressing", value, rule, f"write {DOCKER_BRIDGE}")
        return DOCKER_BRIDGE
    if value in (DOCKER_BRIDGE, QEMU_BRIDGE):
        return value
    if near := difflib.get_close_matches(value.lower(), (DOCKER_BRIDGE, QEMU_BRIDGE), cutoff=0.7):
        check.add("addressing", value, rule, f"did you mean {near[0]}?")
    elif (address := ip_address(value)) is not None:
        if address.is_unspecified:
            why = f"nodes can't call {address}, which stands for every address of this machine"
            fix = f"write the address that nodes use; {address} belongs into bindAddresses"
            check.add("addressing", value, why, fix)
            return DOCKER_BRIDGE
        return str(address)
    elif re.fullmatch(r"[0-9.]+", value):
        check.add("addressing", value, rule, f"write {DOCKER_BRIDGE}, or correct the IP address")
    elif not _HOST_NAME.fullmatch(value):
        check.add("addressing", value, rule, f"write {DOCKER_BRIDGE}, or only the host")
    else:
        return value
    return DOCKER_BRIDGE


def _bind_addresses(check: Checks, value: object, addressing: str) -> tuple[str, ...]:
    if value in (None, []):
        _host_name_needs_binds(check, addressing)
        return ()
    if not isinstance(value, list):
        instance = value if isinstance(value, str) and ip_address(value) else "192.168.1.10"
        check.add("bindAddresses", value, "a list of IP addresses", f'write ["{instance}"]')
        return ()
    addresses: list[str] = []
    for index, item in enumerate(value):
        address = ip_address(item) if isinstance(item, str) else None
        path = f"bindAddresses[{index}]"
        if address is None:
            rule = "an IP address of this machine, as text and without a port"
            check.add(path, item, rule, 'write for instance "192.168.1.10"')
        elif str(address) in addresses:
            check.add(path, item, "every address stands once", "remove it")
        else:
            addresses.append(str(address))
    return tuple(addresses)


def _host_name_needs_binds(check: Checks, addressing: str) -> None:
    if addressing not in (DOCKER_BRIDGE, QEMU_BRIDGE) and ip_address(addressing) is None:
        rule = f"a host name as addressing ({addressing}) does not say where to listen"
        fix = (
            'write the address behind the name, for instance ["192.168.1.10"], '
            f"or choose addressing: {DOCKER_BRIDGE}"
        )
        check.missing("bindAddresses", rule, fix)


def _base_port(check: Checks, top: Mapping[str, Any]) -> int:
    most = PORT_RANGE[1] - LARGEST_OFFSET
    return check.integer("basePort", top, PORT_RANGE[0], most, "the base port")


def _cache(check: Checks, value: object) -> CacheSettings:
    group = check.mapping("cache", value, "cache")
    return CacheSettings(
        image=_image(check, group),
        ttl=check.duration("cache.ttl", group, zero="to keep images for ever"),
        on_destroy=check.choice("cache.onDestroy", group, ON_DESTROY),
        wait_seconds=check.integer("cache.waitSeconds", group, 1, 3600, "the wait"),
    )


def _image(check: Checks, group: Mapping[str, Any]) -> str:
    value = group.get("image")
    default = str(DEFAULTS["cache.image"])
    if value is None:
        return default
    match = _IMAGE.fullmatch(value) if isinstance(value, str) else None
    fix = f"write for instance {default}"
    if match is None:
        check.add("cache.image", value, "an image reference with an exact tag or a digest", fix)
        return default
    tag = match["tag"] or ""
    if "@" not in match[0] and tag in ("", "latest"):
        rule = "an exact tag or a digest: a moving tag would change the caches behind your back"
        check.add("cache.image", value, rule, fix)
    elif match["name"] == "registry" and re.match(r"v?[0-2](\.|$)", tag):
        rule = "distribution v3 or newer: version 2 can't start while its upstream is away"
        check.add("cache.image", value, rule, fix)
    return match[0]


def _upstreams(check: Checks, value: object, base_port: int) -> tuple[UpstreamSettings, ...]:
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
        if (upstream := _upstream(check, text(host), item, base_port, free_ports)) is not None
    )
    _refuse_same_slugs(check, _hosts(value))
    _refuse_same_ports(check, parsed, free_ports)
    return parsed


def _hosts(upstreams: object) -> list[str]:
    """The upstream registries as the stack names them, right or wrong."""
    if upstreams is None:
        return list(KNOWN)
    return [text(host) for host in upstreams] if isinstance(upstreams, Mapping) else []


def _upstream(
    check: Checks, host: str, value: object, base_port: int, free_ports: Iterator[int]
) -> UpstreamSettings | None:
    path = f"upstreams.{host}"
    before = len(check.problems)
    # What else is said of this upstream is said of the host that it should have been.
    host = _host(check, path, host)
    group = check.mapping(path, value, "upstreams.<host>")
    remote_url = _remote_url(check, path, host, group.get("remoteUrl"))
    port = _port(check, path, host, group.get("port"), base_port, free_ports)
    skip_fallback = check.boolean("upstreams.<host>.skipFallback", group, f"{path}.skipFallback")
    override_path = check.boolean("upstreams.<host>.overridePath", group, f"{path}.overridePath")
    if len(check.problems) > before or port is None or remote_url is None:
        return None
    return UpstreamSettings(
        host=host,
        remote_url=remote_url,
        port=port,
        skip_fallback=skip_fallback,
        override_path=override_path,
    )


def _host(check: Checks, path: str, host: str) -> str:
    """The host; where it is wrong, what it should probably be."""
    rule = (
        "the host of an image reference: lower-case letters, digits, '-' and '.', and a port if it "
        "has one; no scheme, no user, no path"
    )
    bare = host.rpartition("@")[2].split("://")[-1].split("/")[0].lower()
    if bare in DOCKER_IO_ALIASES:
        why = "image references say docker.io, never this name, so its mirror would not be asked"
        check.add(path, host, why, "write docker.io")
        return "docker.io"
    if not _HOST.fullmatch(bare):
        fix = f"write for instance {EXAMPLE_HOST} or localhost:5000"
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


def _remote_url(check: Checks, path: str, host: str, value: object) -> str | None:
    path = f"{path}.remoteUrl"
    rule = "http:// or https:// and a host, with nothing behind it but a port (1 to 65535)"
    usual = KNOWN[host].remote_url if host in KNOWN else f"https://{host}"
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
        fix = (
            f"take them out, and run: {_set_secret(host, 'username')} (then the same for password)"
        )
        check.add(path, value, rule, fix)
        return None
    if not _URL.fullmatch(value) or not _has_valid_port(value):
        bare = value.split("://")[-1].split("/")[0].split("?")[0].split("#")[0]
        scheme = "http" if value.startswith("http://") else "https"
        fixed = f"{scheme}://{bare}"
        works = _URL.fullmatch(fixed) and _has_valid_port(fixed)
        check.add(path, value, rule, f'write "{fixed if works else usual}"')
        return None
    return value.rstrip("/")


def _has_valid_port(url: str) -> bool:
    """Whether the URL has no port, or one that there is."""
    try:
        return urlsplit(url).port != 0
    except ValueError:
        return False


def _port(
    check: Checks,
    path: str,
    host: str,
    value: object,
    base_port: int,
    free_ports: Iterator[int],
) -> int | None:
    least, most = PORT_RANGE
    if value is None:
        if host in KNOWN:
            return base_port + KNOWN[host].port_offset
        rule = "an upstream outside the known six says its port, so that it never moves"
        check.missing(f"{path}.port", rule, f"write port: {next(free_ports)} (free in this stack)")
        return None
    if is_integer(value) and least <= value <= most:
        return value
    rule = f"a port is a whole number from {least} to {most}, without quotes"
    if meant := number_in_quotes(value, least, most):
        fix = f"write port: {meant}"
    else:
        fix = f"write port: {next(free_ports)} (free in this stack)"
    check.add(f"{path}.port", value, rule, fix)
    return None


def _free_ports(base_port: int, all_upstreams: Mapping[Any, object]) -> Iterator[int]:
    """Ports to propose, each once: neither in the table nor asked for by an upstream."""
    asked = {
        item["port"]
        for item in all_upstreams.values()
        if isinstance(item, Mapping) and is_integer(item.get("port"))
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
    for upstream in upstreams:
        if upstream.port in by_port:
            check.add(
                f"upstreams.{upstream.host}.port",
                upstream.port,
                f"every cache has a port of its own; {by_port[upstream.port]} has this one",
                f"write port: {next(free_ports)} (free in this stack)",
            )
        by_port.setdefault(upstream.port, upstream.host)


def _cluster(check: Checks, value: object) -> ClusterSettings | None:
    if value is None:
        return None
    group = check.mapping("cluster", value, "cluster")
    return ClusterSettings(
        provisioner=check.choice("cluster.provisioner", group, PROVISIONERS),
        name=check.matching(
            "cluster.name",
            group,
            _CLUSTER_NAME,
            "lower-case letters, digits and '-', at most 63 of them",
            "write for instance dev",
        ),
        control_planes=check.integer("cluster.controlPlanes", group, 1, 9, "a count of nodes"),
        workers=check.integer("cluster.workers", group, 0, 99, "a count of nodes"),
        cidr=_cidr(check, group.get("cidr")),
        talos_version=_version(check, "cluster.talosVersion", group),
        kubernetes_version=_version(check, "cluster.kubernetesVersion", group),
        create_timeout=check.duration("cluster.createTimeout", group),
    )


def _cidr(check: Checks, value: object) -> str:
    default = str(DEFAULTS["cluster.cidr"])
    if value is None:
        return default
    rule = "an IPv4 network such as 10.5.0.0/24, no smaller than a /29, its host bits zero"
    try:
        if not isinstance(value, str) or "/" not in value:
            raise ValueError
        network = ipaddress.IPv4Network(value, strict=False)
    except ValueError:
        check.add("cluster.cidr", value, rule, f"write for instance {default}")
        return default
    if str(network) != value:
        check.add("cluster.cidr", value, rule, f"did you mean {network}?")
    elif network.prefixlen > 29:
        check.add("cluster.cidr", value, rule, "choose a larger network, for instance a /24")
    return str(network)


def _version(check: Checks, key: str, group: Mapping[str, Any]) -> str | None:
    value = group.get(leaf(key))
    if value is None:
        return None
    if not isinstance(value, str) or not _EXACT_VERSION.fullmatch(value):
        instance = "v1.13.0" if leaf(key) == "talosVersion" else "v1.36.0"
        fix = f'write for instance "{instance}"'
        check.add(key, value, f"an exact version such as {instance}", fix)
        return None
    return value


def _credentials(
    check: Checks, value: object, hosts: list[str]
) -> tuple[tuple[str, Credentials], ...]:
    if value is None or _is_encrypted(value):
        return ()
    if not isinstance(value, Mapping):
        run = _set_secret("docker.io", "username")
        fix = f"remove it, and run: {run} (then the same for password)"
        check.hidden("credentials", "a secret mapping of hosts to user names and passwords", fix)
        return ()
    return tuple(
        (text(host), credentials)
        for host, item in value.items()
        if (credentials := _host_credentials(check, text(host), item, hosts)) is not None
    )


def _host_credentials(
    check: Checks, host: str, value: object, hosts: list[str]
) -> Credentials | None:
    path = f"credentials.{host}"
    if hosts and host not in hosts:
        near = difflib.get_close_matches(host, hosts, n=1, cutoff=0.75)
        fix = f"did you mean {near[0]}?" if near else "add the upstream, or remove these"
        check.add(path, host, "credentials belong to an upstream of this stack", fix)
    if not isinstance(value, Mapping):
        fix = f"run: {_set_secret(host, 'username')} (then the same for password)"
        check.hidden(path, "a mapping of username and password", fix)
        return None
    group = check.mapping(path, value, "credentials.<host>")
    return Credentials(
        username=_secret_text(check, host, "username", group.get("username")),
        password=_secret_text(check, host, "password", group.get("password")),
    )


def _secret_text(check: Checks, host: str, key: str, value: object) -> str:
    if isinstance(value, str) and value:
        return value
    if not _is_encrypted(value):
        report = check.missing if value in (None, "") else check.hidden
        report(
            f"credentials.{host}.{key}", "text that is not empty", f"run: {_set_secret(host, key)}"
        )
    return ""


def _set_secret(host: str, key: str) -> str:
    """The command that sets it without a trace in the shell's history: it asks for the value."""
    return f"pulumi config set --secret --path 'credentials[\"{host}\"].{key}'"


def _is_encrypted(value: object) -> bool:
    return isinstance(value, Mapping) and set(value) == {ENCRYPTED_KEY}
