"""Refused combinations: caches behind each other, credentials that anyone could use."""

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
    """Refuse caches with credentials on every address: anyone who reaches one can use them."""
    if settings.expose_to_lan or not exposes_everywhere(addressing.bind_addresses):
        return
    problems = tuple(
        Problem(
            path=_credentials_path(upstream),
            found="credentials on a cache that is published on every address of this machine",
            rule="a cache with credentials must not be open to the local network",
            fix=f"{less_exposed(settings)}; or set 'exposeToLan: true' if everyone on your network "
            "may pull what these credentials can",
        )
        for upstream in settings.cached
        if settings.credentials_for(upstream.host) or upstream.from_docker
    )
    if problems:
        raise SettingsError(problems)


def refuse_own_caches(settings: Settings, addressing: Addressing) -> None:
    """Refuse a cache as an upstream: requests would loop until the caches run out of memory."""
    caches = {upstream.port: upstream.host for upstream in settings.cached}
    known = (addressing.endpoint_host, *addressing.bind_addresses)
    # Names by which a container reaches ports published on every address of its host.
    everywhere = loopback.OF_THE_HOST if exposes_everywhere(addressing.bind_addresses) else ()
    names = {_same(host) for host in (*known, *everywhere)}
    problems = tuple(
        Problem(
            path=path,
            found=url,
            rule=f"this is this stack's own cache of {caches[port]}, not an upstream",
            fix="write the URL of the upstream's API; docker ps shows what listens on which port",
        )
        for path, url in _urls(settings)
        for host, port in [address_of(url)]
        if port in caches and _same(host) in names
    )
    if problems:
        raise SettingsError(problems)


def _urls(settings: Settings) -> Iterator[tuple[str, str]]:
    """(Path of the key, URL) of everything that caches connect to."""
    for upstream in settings.cached:
        yield f"upstreams.{upstream.host}.remoteUrl", upstream.remote_url
    if proxy := settings.upstream_proxy:
        yield "upstreamProxy.url", proxy.url


def _same(host: str) -> str:
    """Normalize the spelling of a host."""
    bare = host.strip("[]").lower().removesuffix(".")
    return str(ip_address(bare) or bare)


def _credentials_path(upstream: UpstreamSettings) -> str:
    if upstream.from_docker:
        return f"upstreams.{upstream.host}.credentialsFrom"
    return f"credentials.{upstream.host}"
