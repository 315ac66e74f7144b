"""Which addresses are asked through a forward proxy: as Go programs read HTTPS_PROXY and NO_PROXY.

Rules: golang.org/x/net/http/httpproxy, which the registry goes by.
"""

import ipaddress
from collections.abc import Iterable

from plan.settings.checks import ip_address
from plan.upstreams import address_of


def is_used(url: str, no_proxy: Iterable[str]) -> bool:
    """Whether the server behind a URL is asked through the proxy.

    Args:
        url: http or https.
        no_proxy: what is not: host names (with all below them), `.names` (only what is below them),
            IP addresses, CIDRs, each but the last with a port if only that is meant, or `*`.

    Raises:
        ValueError: it is no http or https URL.
    """
    host, port = address_of(url)
    address = ip_address(host)
    # Never through the proxy, whatever is said: Go's own exception.
    if host == "localhost" or (address is not None and address.is_loopback):
        return False
    return not any(_means(entry.strip().lower(), host, port) for entry in no_proxy)


def _means(entry: str, host: str, port: int) -> bool:
    if entry == "*":
        return True
    if (network := _network(entry)) is not None:
        address = ip_address(host)
        return address is not None and address in network
    name, _, only_port = entry.partition(":")
    if only_port not in ("", str(port)):
        return False
    name = name.removeprefix("*")
    return host == name or host.endswith(name if name.startswith(".") else f".{name}")


def _network(entry: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(entry, strict=False)
    except ValueError:
        return None
