"""From settings to one plan per pull-through cache: names, ports, environment, files."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from plan.caches import htpasswd, upstream_watchdog
from plan.caches.addressing import (
    Addressing,
)
from plan.caches.cache import Cache, of_upstream, scheme
from plan.caches.refusals import refuse_exposed_credentials, refuse_own_caches
from plan.caches.tls import ServerCertificate
from plan.caches.upstream_watchdog import BASIC_PATH, DEBUG_ADDRESS
from plan.network import is_used
from plan.settings.caches import UpstreamProxy
from plan.settings.credentials import Credentials
from plan.settings.stack import Settings
from plan.settings.upstreams import UpstreamSettings
from plan.upstreams import slug

REGISTRY_PORT = 5000
DATA_PATH = "/var/lib/registry"
CREDENTIAL_HELPER_PATH = "/usr/local/bin/docker-credential-talos-cache"
# The only label on a volume. A changed label replaces the volume, and the cached images are lost;
# so there is none whose value could ever change.
VOLUME_LABELS = {"talos-cache.project": "talos-cache"}
UPSTREAM_WATCH_PATH = "/usr/local/bin/talos-cache-upstream-watch"
CERTIFICATE_PATH = "/etc/talos-cache/server.pem"
KEY_PATH = "/etc/talos-cache/server.key"
PASSWORDS_PATH = "/etc/talos-cache/htpasswd"
# Go reads every file in these folders, and also the image's own CA bundle.
UPSTREAM_CA_FOLDER = "/etc/talos-cache/upstream-ca"
CA_FOLDERS = f"/etc/ssl/certs:{UPSTREAM_CA_FOLDER}"
REALM = "talos-cache"
# The defaults of Docker Hub's `registry` image. `ghcr.io/distribution/distribution` comes with a
# configuration for developers: it logs everything and never purges interrupted downloads.
AS_ON_DOCKER_HUB = (
    ("REGISTRY_LOG_LEVEL", "info"),
    (
        "REGISTRY_STORAGE_MAINTENANCE_UPLOADPURGING",
        '{"enabled":true,"age":"168h","interval":"24h","dryrun":false}',
    ),
)
# The registry runs the helper once, when it first needs credentials: for a token, or for Basic
# authentication. In the second case, without credentials, it never sends its upstream another
# request, even if the upstream stops requiring them. So the helper looks which case it is, and
# leaves a note for the watchdog.
_NOTE_OF_BASIC = f"""\
goroutines="http://$REGISTRY_HTTP_DEBUG_ADDR/debug/pprof/goroutine?debug=1"
if busybox timeout 2 busybox wget -q -O - "$goroutines" 2>/dev/null |
    busybox grep -q basicHandler; then
    : >"{BASIC_PATH}.$REGISTRY_HTTP_DEBUG_ADDR"
fi
"""
# The image's own command, which must be repeated when the entrypoint is ours.
REGISTRY_COMMAND = ("registry", "serve", "/etc/distribution/config.yml")


@dataclass(frozen=True, kw_only=True)
class PublishedPort:
    """A cache's port as published on this host."""

    address: str
    port: int


@dataclass(frozen=True, kw_only=True)
class CacheFile:
    """A file in a cache's container.

    Attributes:
        path: in the container.
        content: of the file.
        is_secret: whether it is a secret; then only root in the container can read it.
    """

    path: str
    content: str = field(repr=False)
    is_secret: bool = False


@dataclass(frozen=True, kw_only=True)
class CachePlan(Cache):
    """Everything that defines one cache's volume and container.

    Attributes:
        slug: logical name of the component.
        remote_url: URL of the upstream's API.
        published: where the cache listens on this host.
        endpoint: URL that nodes use, without a path.
        ca: CA that nodes must trust for the endpoint; empty if they do already, or without TLS.
        env: environment of the registry (no secrets).
        files: further files in the container.
        credentials: for the upstream; None for anonymous pulls.
        from_docker: whether these are from the user's Docker configuration.
        upstream_ca: CA to trust for the upstream, in addition to the usual ones.
        upstream_proxy: between the cache and the Internet; None if there is none.
        credential_helper: text of the program that passes the upstream's credentials to the
            registry; a secret if `has_credentials`.
        upstream_watch: text of the program that starts the registry and then watches whether the
            upstream responds; empty for a cache that has no upstream (offline).
        keep_data: whether the volume outlives the stack.
        wait_seconds: how long `up` waits for the cache to respond.
    """

    slug: str
    remote_url: str
    published: tuple[PublishedPort, ...]
    endpoint: str
    ca: str
    env: tuple[tuple[str, str], ...]
    files: tuple[CacheFile, ...]
    credentials: Credentials | None
    from_docker: bool
    upstream_ca: str
    upstream_proxy: UpstreamProxy | None
    credential_helper: str
    upstream_watch: str
    keep_data: bool
    wait_seconds: int
    skip_fallback: bool
    override_path: bool

    @property
    def asks(self) -> str:
        """URL that the cache connects to: its upstream, or a proxy in front of that."""
        return _first_hop(self.upstream_proxy, self.remote_url)

    @property
    def asks_upstream(self) -> bool:
        """Whether it ever contacts its upstream; an offline cache does not."""
        return bool(self.upstream_watch)

    @property
    def logical_container(self) -> str:
        """Logical name of its container."""
        return f"{self.slug}-container"

    @property
    def has_credentials(self) -> bool:
        """Whether requests to the upstream have a user name and a password."""
        return self.credentials is not None

    def __repr__(self) -> str:
        """Leave out the helper: it may contain a password, and tracebacks show reprs."""
        return f"CachePlan(host={self.host!r}, name={self.name!r}, endpoint={self.endpoint!r})"


def build(
    settings: Settings,
    addressing: Addressing,
    texts: Mapping[str, str] | None = None,
    certificate: ServerCertificate | None = None,
) -> tuple[CachePlan, ...]:
    """One plan per upstream, ordered by host so that the order in the YAML changes nothing.

    Args:
        settings: of the stack.
        addressing: where caches listen.
        texts: content of every file that an upstream's `ca` names, by path.
        certificate: of the caches; required if and only if `cache.tls` is set.

    Raises:
        SettingsError: a cache with credentials would be open to the local network, or the upstream
            of a cache is a cache of the same stack.
    """
    refuse_exposed_credentials(settings, addressing)
    refuse_own_caches(settings, addressing)
    shared = _Shared(
        settings=settings,
        addressing=addressing,
        certificate=certificate,
        passwords=_passwords_file(settings),
    )
    return tuple(
        _plan(shared, upstream, (texts or {}).get(upstream.ca_file, ""))
        for upstream in settings.cached
    )


def in_reported_order(
    plans: Sequence[CachePlan], reported: Mapping[str, Sequence[tuple[str, int]]]
) -> tuple[CachePlan, ...]:
    """The same plans, with the ports of each in the order in which Docker reports them.

    The Docker provider compares ports as a list, and reads them back in Docker's order, which is
    not the order of the request: it is reversed up to Docker 27, and sorted by address since. See
    docs/adr/0021.

    Args:
        plans: of the caches.
        reported: container name -> (address, port) pairs that it is published on now.
    """
    return tuple(
        replace(plan, published=_reordered(plan.published, reported.get(plan.name, ())))
        for plan in plans
    )


def _reordered(
    published: Sequence[PublishedPort], reported: Sequence[tuple[str, int]]
) -> tuple[PublishedPort, ...]:
    """The reported ones first; those that are not published yet keep their order."""
    ranks = {pair: rank for rank, pair in enumerate(reported)}
    return tuple(
        sorted(published, key=lambda port: ranks.get((port.address, port.port), len(ranks)))
    )


@dataclass(frozen=True, kw_only=True)
class _Shared:
    """Inputs that the plans of all caches have in common."""

    settings: Settings
    addressing: Addressing
    certificate: ServerCertificate | None
    passwords: str = field(repr=False)


def _passwords_file(settings: Settings) -> str:
    """The htpasswd file; a login always gives the same text, or every run would replace caches."""
    login = settings.cache_login
    if login is None:
        return ""
    # A salt must be unique, not secret.
    salt = hashlib.sha256(f"{settings.prefix}\n{login.username}".encode()).digest()[:16]
    return htpasswd.line(login.username, login.password, salt)


def credential_helper(credentials: Credentials | None) -> str:
    """The program that distribution runs for `proxy.exec`, a Docker credential helper.

    It exists even without credentials: without `proxy.exec` the registry sends its upstream a
    request at start-up, and exits if that fails. Empty values mean anonymous.
    """
    answer = json.dumps(
        {
            "ServerURL": "",
            "Username": credentials.username if credentials else "",
            "Secret": credentials.password if credentials else "",
        }
    )
    note = "" if credentials else _NOTE_OF_BASIC
    return f"#!/bin/sh\n{note}cat <<'TALOS_CACHE_END'\n{answer}\nTALOS_CACHE_END\n"


def _plan(shared: _Shared, upstream: UpstreamSettings, upstream_ca: str) -> CachePlan:
    settings = shared.settings
    # An offline cache needs none.
    credentials = None if settings.offline else settings.credentials_for(upstream.host)
    proxy = None if settings.offline else settings.upstream_proxy
    return CachePlan(
        **vars(of_upstream(settings, upstream)),
        slug=slug(upstream.host),
        remote_url=upstream.remote_url,
        published=tuple(
            PublishedPort(address=address, port=upstream.port)
            for address in shared.addressing.bind_addresses
        ),
        endpoint=f"{scheme(settings)}://{shared.addressing.endpoint_host}:{upstream.port}",
        ca=shared.certificate.ca.strip() if shared.certificate else "",
        env=_environment(settings, upstream),
        files=_files(shared, upstream_ca),
        credentials=credentials,
        from_docker=upstream.from_docker,
        upstream_ca="" if settings.offline else upstream_ca,
        upstream_proxy=proxy,
        credential_helper=credential_helper(credentials),
        upstream_watch=_watch(settings, upstream),
        keep_data=settings.cache.on_destroy == "keep",
        wait_seconds=settings.cache.wait_seconds,
        skip_fallback=upstream.skip_fallback,
        override_path=upstream.override_path,
    )


def _environment(settings: Settings, upstream: UpstreamSettings) -> tuple[tuple[str, str], ...]:
    """The registry's settings; the names are paths in distribution's configuration.

    Offline it is not a proxy but a read-only registry: it serves at once what it has, answers 404
    to everything else, and never waits for an upstream.
    """
    common = [
        ("OTEL_TRACES_EXPORTER", "none"),
        ("REGISTRY_HTTP_DEBUG_ADDR", DEBUG_ADDRESS),
        ("REGISTRY_HTTP_DEBUG_PROMETHEUS_ENABLED", "true"),
        *AS_ON_DOCKER_HUB,
    ]
    if settings.cache.tls:
        common.append(("REGISTRY_HTTP_TLS_CERTIFICATE", CERTIFICATE_PATH))
        common.append(("REGISTRY_HTTP_TLS_KEY", KEY_PATH))
    if settings.cache_login:
        common.append(("REGISTRY_AUTH_HTPASSWD_PATH", PASSWORDS_PATH))
        common.append(("REGISTRY_AUTH_HTPASSWD_REALM", REALM))
    if settings.offline:
        return (*common, ("REGISTRY_STORAGE_MAINTENANCE_READONLY", '{"enabled":true}'))
    if upstream.ca_file:
        common.append(("SSL_CERT_DIR", CA_FOLDERS))
    if proxy := settings.upstream_proxy:
        # Even if the upstream itself is not behind it: its tokens and blobs may come from other
        # servers.
        common.append(("HTTP_PROXY", proxy.url))
        common.append(("HTTPS_PROXY", proxy.url))
        common.append(("NO_PROXY", ",".join(proxy.no_proxy)))
    return (
        *common,
        ("REGISTRY_PROXY_EXEC_COMMAND", CREDENTIAL_HELPER_PATH),
        ("REGISTRY_PROXY_REMOTEURL", upstream.remote_url),
        ("REGISTRY_PROXY_TTL", settings.cache.ttl),
        ("REGISTRY_STORAGE_DELETE_ENABLED", "true"),
    )


def _files(shared: _Shared, upstream_ca: str) -> tuple[CacheFile, ...]:
    files = []
    if shared.certificate:
        files.append(CacheFile(path=CERTIFICATE_PATH, content=shared.certificate.certificate))
        files.append(CacheFile(path=KEY_PATH, content=shared.certificate.key, is_secret=True))
    if shared.passwords:
        files.append(CacheFile(path=PASSWORDS_PATH, content=shared.passwords, is_secret=True))
    if upstream_ca and not shared.settings.offline:
        files.append(CacheFile(path=f"{UPSTREAM_CA_FOLDER}/upstream.pem", content=upstream_ca))
    return tuple(files)


def _watch(settings: Settings, upstream: UpstreamSettings) -> str:
    """The watchdog of what the cache connects to; empty offline."""
    if settings.offline:
        return ""
    first_hop = _first_hop(settings.upstream_proxy, upstream.remote_url)
    return upstream_watchdog.script(first_hop, upstream.path_prefix)


def _first_hop(proxy: UpstreamProxy | None, remote_url: str) -> str:
    return proxy.url if proxy and is_used(remote_url, proxy.no_proxy) else remote_url
