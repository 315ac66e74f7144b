"""From settings to one plan per pull-through cache: names, ports, environment, files."""

import json
from dataclasses import dataclass

from plan.addressing import LOOPBACK, Addressing, exposes_everywhere, less_exposed
from plan.checks import Problem, SettingsError
from plan.settings import Credentials, Settings, UpstreamSettings
from plan.upstreams import physical_name, slug

REGISTRY_PORT = 5000
DEBUG_ADDRESS = "127.0.0.1:5001"
DATA_PATH = "/var/lib/registry"
CREDENTIAL_HELPER_PATH = "/usr/local/bin/docker-credential-talos-cache"


@dataclass(frozen=True, kw_only=True)
class PublishedPort:
    """The cache's port as it appears on this host."""

    address: str
    port: int


@dataclass(frozen=True, kw_only=True)
class CachePlan:
    """Everything that one cache's volume and container are made from.

    Attributes:
        host: upstream registry, as in an image reference.
        slug: logical name of the component.
        name: name of the container and of the volume.
        remote_url: where the upstream's API is.
        published: where the cache answers on this host.
        endpoint: URL that nodes use, without a path.
        local_endpoint: URL for this machine, always on loopback.
        env: environment of the registry (no secrets).
        credential_helper: text of the program that hands the upstream's credentials to the
            registry; a secret where `has_credentials`.
        keep_data: whether the volume outlives the stack.
        wait_seconds: how long `up` waits for the cache to answer.
    """

    host: str
    slug: str
    name: str
    image: str
    remote_url: str
    published: tuple[PublishedPort, ...]
    endpoint: str
    local_endpoint: str
    env: tuple[tuple[str, str], ...]
    credential_helper: str
    has_credentials: bool
    keep_data: bool
    wait_seconds: int
    skip_fallback: bool
    override_path: bool

    def __repr__(self) -> str:
        """Leave the helper out: it may hold a password, and tracebacks show reprs."""
        return f"CachePlan(host={self.host!r}, name={self.name!r}, endpoint={self.endpoint!r})"


def build(settings: Settings, addressing: Addressing) -> tuple[CachePlan, ...]:
    """One plan per upstream, ordered by host so that the order in the YAML changes nothing.

    Raises:
        SettingsError: a cache that holds credentials would be open to the local network.
    """
    _refuse_exposed_credentials(settings, addressing)
    return tuple(
        _plan(settings, addressing, upstream)
        for upstream in sorted(settings.upstreams, key=lambda upstream: upstream.host)
    )


def credential_helper(credentials: Credentials | None) -> str:
    """The program distribution runs for `proxy.exec`, in docker-credential-helper form.

    It is there even without credentials: with `proxy.exec` the registry skips the request to the
    upstream that it would otherwise not survive at start-up. Empty values mean anonymous.
    """
    answer = json.dumps(
        {
            "ServerURL": "",
            "Username": credentials.username if credentials else "",
            "Secret": credentials.password if credentials else "",
        }
    )
    return f"#!/bin/sh\ncat <<'TALOS_CACHE_END'\n{answer}\nTALOS_CACHE_END\n"


def _plan(settings: Settings, addressing: Addressing, upstream: UpstreamSettings) -> CachePlan:
    credentials = settings.credentials_for(upstream.host)
    return CachePlan(
        host=upstream.host,
        slug=slug(upstream.host),
        name=physical_name(settings.prefix, upstream.host),
        image=settings.cache.image,
        remote_url=upstream.remote_url,
        published=tuple(
            PublishedPort(address=address, port=upstream.port)
            for address in addressing.bind_addresses
        ),
        endpoint=f"http://{addressing.endpoint_host}:{upstream.port}",
        local_endpoint=f"http://{LOOPBACK}:{upstream.port}",
        env=_environment(upstream.remote_url, settings.cache.ttl),
        credential_helper=credential_helper(credentials),
        has_credentials=credentials is not None,
        keep_data=settings.cache.on_destroy == "keep",
        wait_seconds=settings.cache.wait_seconds,
        skip_fallback=upstream.skip_fallback,
        override_path=upstream.override_path,
    )


def _environment(remote_url: str, ttl: str) -> tuple[tuple[str, str], ...]:
    """The registry's settings; their names are distribution's configuration paths."""
    return (
        ("OTEL_TRACES_EXPORTER", "none"),
        ("REGISTRY_HTTP_DEBUG_ADDR", DEBUG_ADDRESS),
        ("REGISTRY_HTTP_DEBUG_PROMETHEUS_ENABLED", "true"),
        ("REGISTRY_PROXY_EXEC_COMMAND", CREDENTIAL_HELPER_PATH),
        ("REGISTRY_PROXY_REMOTEURL", remote_url),
        ("REGISTRY_PROXY_TTL", ttl),
        ("REGISTRY_STORAGE_DELETE_ENABLED", "true"),
    )


def _refuse_exposed_credentials(settings: Settings, addressing: Addressing) -> None:
    if settings.expose_to_lan or not exposes_everywhere(addressing.bind_addresses):
        return
    problems = tuple(
        Problem(
            path=f"credentials.{upstream.host}",
            found="credentials on a cache that is published on every address of this machine",
            rule="a cache that holds credentials is not open to the local network",
            fix=f"{less_exposed(settings)}; or say 'exposeToLan: true' if everyone on your network "
            "may pull what these credentials can",
        )
        for upstream in settings.upstreams
        if settings.credentials_for(upstream.host)
    )
    if problems:
        raise SettingsError(problems)
