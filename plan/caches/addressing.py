"""How nodes reach the caches: the addresses to publish on, and the host in every endpoint."""

import ipaddress
from dataclasses import dataclass

from plan.network import EVERY_ADDRESS, LOOPBACK, url_host
from plan.settings.keys import DOCKER_BRIDGE, QEMU_BRIDGE
from plan.settings.stack import Settings


@dataclass(frozen=True, kw_only=True)
class Addressing:
    """Where the caches listen and how nodes address them.

    Attributes:
        bind_addresses: addresses that every cache's port is published on, without duplicates.
        endpoint_host: IP address or host name that nodes use, as written in a URL.
        warnings: sentences for the user.
    """

    bind_addresses: tuple[str, ...]
    endpoint_host: str
    warnings: tuple[str, ...] = ()


def needs_bridge_gateway(settings: Settings) -> bool:
    """Whether these settings depend on the address of Docker's bridge."""
    return settings.addressing == DOCKER_BRIDGE


def resolve(settings: Settings, bridge_gateway: str | None = None) -> Addressing:
    """Work out the addresses.

    Args:
        settings: checked settings.
        bridge_gateway: IPv4 address of Docker's default bridge on this host; needed for Docker
            bridge addressing, ignored otherwise.

    Raises:
        ValueError: Docker bridge addressing without a gateway (the caller did not look it up).
    """
    host, implied = _implied(settings, bridge_gateway)
    binds = _with_loopback(settings.bind_addresses or implied)
    return Addressing(
        bind_addresses=binds,
        endpoint_host=url_host(host),
        warnings=(_exposed_warning(settings),) if exposes_everywhere(binds) else (),
    )


def exposes_everywhere(binds: tuple[str, ...]) -> bool:
    """Whether a port published on these addresses can be reached from the local network."""
    return any(ipaddress.ip_address(address).is_unspecified for address in binds)


def _implied(settings: Settings, bridge_gateway: str | None) -> tuple[str, tuple[str, ...]]:
    if settings.addressing == DOCKER_BRIDGE:
        if bridge_gateway is None:
            raise ValueError("Docker bridge addressing needs the bridge's gateway")
        return bridge_gateway, (bridge_gateway,)
    if settings.addressing == QEMU_BRIDGE:
        # The bridge exists only once the cluster does, too late to publish on its address.
        return settings.qemu_bridge_address, (EVERY_ADDRESS,)
    # For a host name the second is not used: plan/settings/stack.py requires bindAddresses then.
    return settings.addressing, (settings.addressing,)


def _with_loopback(binds: tuple[str, ...]) -> tuple[str, ...]:
    """Add loopback, which `localEndpoints` needs, and drop addresses that another one covers.

    Docker refuses to publish on the unspecified address and on another of the same family: the port
    is already taken. The unspecified IPv6 address does not cover IPv4 (tried).
    """
    addresses = [ipaddress.ip_address(address) for address in (LOOPBACK, *binds)]
    covered = {address.version for address in addresses if address.is_unspecified}
    kept = (a for a in addresses if a.is_unspecified or a.version not in covered)
    return tuple(dict.fromkeys(str(address) for address in kept))


def less_exposed(settings: Settings) -> str:
    """What users can do if they don't want their caches published on every address."""
    if settings.bind_addresses:
        return (
            "name single addresses in bindAddresses, or leave it out and use "
            "'addressing: docker-bridge'"
        )
    return "use 'addressing: docker-bridge', which works for QEMU nodes too and exposes nothing"


def _exposed_warning(settings: Settings) -> str:
    why = (
        "bindAddresses says so"
        if settings.bind_addresses
        else "addressing qemu-bridge uses an address that exists only once the cluster does"
    )
    return (
        f"the caches are published on every address of this machine ({why}): anyone on your "
        f"network can pull from them. To avoid it, {less_exposed(settings)}."
    )
