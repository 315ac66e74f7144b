"""Raw stack config -> Settings: the only place that checks the user's input.

All mistakes are reported together: the key's path, the value found (masked if it may be a secret),
the rule, and the fix. Defaults are filled in here and nowhere else.
"""

import difflib
import ipaddress
import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from plan.network import ip_address
from plan.problems import SettingsError
from plan.settings.caches import CacheSettings, UpstreamProxy, parse_cache, parse_upstream_proxy
from plan.settings.checks import Checks
from plan.settings.cluster import ClusterSettings, parse_clusters
from plan.settings.config_keys import refuse_others
from plan.settings.credentials import (
    CACHE_LOGIN,
    CREDENTIALS,
    HARBOR_ADMIN,
    LOGINS,
    SECRET_KEYS,
    Credentials,
    is_absent,
    parse_credentials,
    parse_login,
    refuse_unusable_login,
    set_login,
    set_secret,
)
from plan.settings.harbor import HarborSettings, parse_harbor
from plan.settings.keys import DEFAULTS, DOCKER_BRIDGE, KEYS, QEMU_BRIDGE, TEXT_KEYS
from plan.settings.upstreams import (
    HARBOR,
    HOST_NAME,
    LOCAL,
    UpstreamSettings,
    hosts_of,
    parse_upstreams,
)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """A stack's configuration, checked, with every default filled in."""

    addressing: str
    bind_addresses: tuple[str, ...]
    expose_to_lan: bool
    prefix: str
    base_port: int
    offline: bool
    cache: CacheSettings
    upstreams: tuple[UpstreamSettings, ...]
    clusters: tuple[ClusterSettings, ...]
    credentials: tuple[tuple[str, Credentials], ...] = ()
    upstream_proxy: UpstreamProxy | None = None
    cache_login: Credentials | None = None
    harbor: HarborSettings | None = None

    @property
    def cached(self) -> tuple[UpstreamSettings, ...]:
        """The upstreams that have a cache on this machine, by host."""
        own = (upstream for upstream in self.upstreams if upstream.backend == LOCAL)
        return tuple(sorted(own, key=lambda upstream: upstream.host))

    @property
    def behind_harbor(self) -> tuple[UpstreamSettings, ...]:
        """The upstreams that Harbor caches, by host."""
        others = (upstream for upstream in self.upstreams if upstream.backend == HARBOR)
        return tuple(sorted(others, key=lambda upstream: upstream.host))

    @property
    def qemu_bridge_address(self) -> str:
        """The first address of the (first) cluster's CIDR, which QEMU's bridge gets."""
        cidr = self.clusters[0].cidr if self.clusters else str(DEFAULTS["cluster.cidr"])
        return str(ipaddress.ip_network(cidr)[1])

    def credentials_for(self, host: str) -> Credentials | None:
        """The upstream's credentials, or None for anonymous pulls."""
        return dict(self.credentials).get(host)


def decode(config: Mapping[str, object]) -> dict[str, object]:
    """Undo the engine's encoding: it hands over all values, and writes some into files, as text.

    Objects, lists, numbers and booleans are JSON in that text. Text that is not JSON stays as it
    is, and `parse` says what was expected. A value that is not text comes from YAML and stays too.
    """
    return {
        key: value if key in TEXT_KEYS or not isinstance(value, str) else _decoded(value)
        for key, value in config.items()
    }


def parse(
    raw: Mapping[str, object],
    stack: str = "",
    *,
    plain_secrets: Collection[str] = (),
    public: bool = False,
) -> Settings:
    """Check a stack's configuration.

    Args:
        raw: keys as `config_keys.own` leaves them, values as YAML or JSON reads them. A value
            that is still encrypted (`{"secure": ...}`) is not checked.
        stack: name of the stack, for messages.
        plain_secrets: those of SECRET_KEYS that are unencrypted in the stack's file.
        public: whether the passphrase of its secrets is public.

    Raises:
        SettingsError: with all mistakes.
    """
    check = Checks(KEYS)
    whole = refuse_others(check, raw) if isinstance(raw, Mapping) else raw
    top = check.mapping("", whole, "")
    addressing = _addressing(check, top.get("addressing"))
    bind_addresses = _bind_addresses(check, top.get("bindAddresses"), addressing)
    base_port = check.integer("basePort", top)
    backend = check.choice("backend", top)
    upstreams = parse_upstreams(check, top.get("upstreams"), base_port, backend)
    logins = {key: parse_login(check, key, top.get(key)) for key in LOGINS}
    refuse_unusable_login(check, logins[CACHE_LOGIN])
    settings = Settings(
        addressing=addressing,
        bind_addresses=bind_addresses,
        expose_to_lan=check.boolean("exposeToLan", top),
        prefix=check.matching("prefix", top),
        base_port=base_port,
        offline=check.boolean("offline", top),
        cache=parse_cache(check, top.get("cache")),
        upstreams=upstreams,
        clusters=parse_clusters(check, top.get("cluster")),
        credentials=parse_credentials(check, top.get(CREDENTIALS), hosts_of(top.get("upstreams"))),
        upstream_proxy=parse_upstream_proxy(check, top.get("upstreamProxy")),
        cache_login=logins[CACHE_LOGIN],
        harbor=parse_harbor(check, top.get("harbor"), upstreams, logins),
    )
    if addressing == QEMU_BRIDGE and len(settings.clusters) > 1:
        _refuse_one_bridge_for_several(check)
    _refuse_double_credentials(check, settings)
    _refuse_unused_credentials(check, settings)
    _refuse_offline_without_caches(check, settings)
    if public:
        _refuse_secrets_of_public_stacks(check, stack, settings, top)
    for key in plain_secrets:
        _refuse_plain_secret(check, key)
    if check.problems:
        raise SettingsError(tuple(check.problems))
    return settings


def _refuse_one_bridge_for_several(check: Checks) -> None:
    rule = (
        "only for a stack with one cluster: the address is on the first cluster's bridge, which "
        "exists only while that cluster does"
    )
    check.add("addressing", QEMU_BRIDGE, rule, f"write {DOCKER_BRIDGE}, which all clusters reach")


def _refuse_double_credentials(check: Checks, settings: Settings) -> None:
    for upstream in settings.upstreams:
        if upstream.from_docker and settings.credentials_for(upstream.host):
            rule = f"credentials have one source, and credentials.{upstream.host} is set too"
            path = f"upstreams.{upstream.host}.credentialsFrom"
            check.add(path, "docker-config", rule, "remove one of the two")


def _refuse_unused_credentials(check: Checks, settings: Settings) -> None:
    if settings.harbor is None or settings.harbor.admin is not None:
        return
    rule = f"Harbor pulls from this upstream, and gets credentials only with {HARBOR_ADMIN}"
    fix = f"remove it and have whoever runs Harbor enter it there, or set {HARBOR_ADMIN}"
    for upstream in settings.behind_harbor:
        if upstream.from_docker:
            check.add(f"upstreams.{upstream.host}.credentialsFrom", "docker-config", rule, fix)
        if settings.credentials_for(upstream.host):
            check.hidden(f"{CREDENTIALS}.{upstream.host}", rule, fix)


def _refuse_offline_without_caches(check: Checks, settings: Settings) -> None:
    if settings.offline and settings.upstreams and not settings.cached:
        rule = "only for caches on this machine, and in this stack Harbor replaces all of them"
        check.add("offline", True, rule, "remove it, or write backend: local")


def _refuse_secrets_of_public_stacks(
    check: Checks, stack: str, settings: Settings, top: Mapping[str, Any]
) -> None:
    rule = f"no secrets: the passphrase of the stack '{stack}' is public"
    fix = f"create your own stack: make stack NAME=mine FROM={stack}"
    for key in SECRET_KEYS:
        if not is_absent(top.get(key)):
            check.hidden(key, rule, fix)
    if settings.cache.tls:
        check.add("cache.tls", True, f"{rule}, and a certificate has a private key", fix)
    for upstream in settings.upstreams:
        if upstream.from_docker:
            path = f"upstreams.{upstream.host}.credentialsFrom"
            check.add(path, "docker-config", rule, fix)


def _refuse_plain_secret(check: Checks, key: str) -> None:
    is_login = key != CREDENTIALS
    command = set_login(key, "username") if is_login else set_secret("docker.io", "username")
    fix = f"remove it, and run: {command} (then the same for password)"
    check.hidden(key, "credentials are never stored in plain text", fix)


def _decoded(value: str) -> object:
    try:
        decoded: object = json.loads(value)
    except (ValueError, RecursionError):  # not JSON, or nested too deeply for Python
        return value
    return decoded


def _addressing(check: Checks, value: object) -> str:
    if value is None:
        return DOCKER_BRIDGE
    rule = check.key("addressing").rule
    if not isinstance(value, str):
        check.refuse("addressing", value)
        return DOCKER_BRIDGE
    if value in (DOCKER_BRIDGE, QEMU_BRIDGE):
        return value
    if near := difflib.get_close_matches(value.lower(), (DOCKER_BRIDGE, QEMU_BRIDGE), cutoff=0.7):
        check.add("addressing", value, rule, f"did you mean {near[0]}?")
    elif (address := ip_address(value)) is not None:
        if address.is_unspecified:
            why = f"nodes can't connect to {address}, which means every address of this machine"
            fix = f"write the address that nodes use; {address} belongs in bindAddresses"
            check.add("addressing", value, why, fix)
            return DOCKER_BRIDGE
        return str(address)
    elif re.fullmatch(r"[0-9.]+", value):
        check.add("addressing", value, rule, f"write {DOCKER_BRIDGE}, or correct the IP address")
    elif not HOST_NAME.fullmatch(value):
        check.add("addressing", value, rule, f"write {DOCKER_BRIDGE}, or just the host")
    else:
        return value
    return DOCKER_BRIDGE


def _bind_addresses(check: Checks, value: object, addressing: str) -> tuple[str, ...]:
    if value in (None, []):
        _host_name_needs_binds(check, addressing)
        return ()
    if not isinstance(value, list):
        example = value if isinstance(value, str) and ip_address(value) else "192.168.1.10"
        check.add("bindAddresses", value, "a list of IP addresses", f'write ["{example}"]')
        return ()
    addresses: list[str] = []
    for index, item in enumerate(value):
        address = ip_address(item) if isinstance(item, str) else None
        path = f"bindAddresses[{index}]"
        if address is None:
            check.refuse("bindAddresses", item, path)
        elif str(address) in addresses:
            check.add(path, item, "each address only once", "remove it")
        else:
            addresses.append(str(address))
    return tuple(addresses)


def _host_name_needs_binds(check: Checks, addressing: str) -> None:
    if addressing not in (DOCKER_BRIDGE, QEMU_BRIDGE) and ip_address(addressing) is None:
        rule = f"required if addressing is a host name ({addressing})"
        fix = (
            'write the addresses that the name stands for, such as ["192.168.1.10"], '
            f"or write addressing: {DOCKER_BRIDGE}"
        )
        check.missing("bindAddresses", rule, fix)
