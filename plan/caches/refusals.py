"""What does not go together: caches that ask each other, credentials that anybody could use."""

from collections.abc import Iterator

from plan import loopback
from plan.caches.addressing import (
    Addressing,
    exposes_everywhere,
    less_exposed,
)
from plan.network import address_of, ip_address
from plan.problems import Problem, SettingsError
from plan.settings.stack import Settings
from plan.settings.upstreams import UpstreamSettings


def refuse_exposed_credentials(settings: Settings, addressing: Addressing) -> None:
    """Whoever reaches a cache with credentials reads what they open."""
    if settings.expose_to_lan or not exposes_everywhere(addressing.bind_addresses):
        return
    problems = tuple(
        Problem(
            path=_credentials_path(upstream),
            found="credentials on a cache that is published on every address of this machine",
            rule="a cache that holds credentials is not open to the local network",
            fix=f"{less_exposed(settings)}; or say 'exposeToLan: true' if everyone on your network "
            "may pull what these credentials can",
        )
        for upstream in settings.cached
        if settings.credentials_for(upstream.host) or upstream.from_docker
    )
    if problems:
        raise SettingsError(problems)


def refuse_own_caches(settings: Settings, addressing: Addressing) -> None:
    """Requests that come back to a cache would go round until it has no memory left."""
    caches = {upstream.port: upstream.host for upstream in settings.cached}
    known = (addressing.endpoint_host, *addressing.bind_addresses)
    # By which a container reaches what is published on all addresses of its host.
    everywhere = loopback.OF_THE_HOST if exposes_everywhere(addressing.bind_addresses) else ()
    names = {_same(host) for host in (*known, *everywhere)}
    problems = tuple(
        Problem(
            path=path,
            found=url,
            rule=f"this is this stack's own cache of {caches[port]}, which asks an upstream itself",
            fix="write where the upstream's API is; docker ps shows what listens on which port",
        )
        for path, url in _asked_urls(settings)
        for host, port in [address_of(url)]
        if port in caches and _same(host) in names
    )
    if problems:
        raise SettingsError(problems)


def _asked_urls(settings: Settings) -> Iterator[tuple[str, str]]:
    """(path of the key, URL) of everything that caches connect to."""
    for upstream in settings.cached:
        yield f"upstreams.{upstream.host}.remoteUrl", upstream.remote_url
    if proxy := settings.upstream_proxy:
        yield "upstreamProxy.url", proxy.url


def _same(host: str) -> str:
    """One spelling for all of a host's."""
    bare = host.strip("[]").lower().removesuffix(".")
    return str(ip_address(bare) or bare)


def _credentials_path(upstream: UpstreamSettings) -> str:
    if upstream.from_docker:
        return f"upstreams.{upstream.host}.credentialsFrom"
    return f"credentials.{upstream.host}"
