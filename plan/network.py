"""Addresses, ports and URLs."""

import ipaddress
from collections.abc import Iterable
from urllib.parse import urlsplit


def ip_address(value: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address in `value`, if it is one; of an IPv4-mapped IPv6 address, the IPv4 address.

    An IPv6 address with a zone doesn't count: the zone after the % has a meaning on one machine
    only, and Docker doesn't publish on it.
    """
    if "%" in value:
        return None
    try:
        address = ipaddress.ip_address(value)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


_USUAL_PORTS = {"http": 80, "https": 443}


def address_of(url: str) -> tuple[str, int]:
    """Host and port of a URL; without a port, the default one of its scheme.

    Raises:
        ValueError: it is not an http or https URL.
    """
    parts = urlsplit(url)
    if parts.scheme not in _USUAL_PORTS or not parts.hostname:
        raise ValueError(f"{url} is not an http or https URL")
    return parts.hostname, parts.port or _USUAL_PORTS[parts.scheme]


LOOPBACK = "127.0.0.1"
EVERY_ADDRESS = "0.0.0.0"  # noqa: S104 - the value that decision 5 guards against


def url_host(host: str) -> str:
    """The host as URLs have it: IPv6 addresses in brackets."""
    return f"[{host}]" if ":" in host else host


def is_used(url: str, no_proxy: Iterable[str]) -> bool:
    """Whether requests to a URL go through the proxy.

    Args:
        url: http or https.
        no_proxy: exceptions: host names (including subdomains), `.names` (only subdomains), IP
            addresses and CIDRs, each but the last with a port if only that is meant, or `*`.

    Raises:
        ValueError: it is not an http or https URL.
    """
    host, port = address_of(url)
    address = ip_address(host)
    # Never through the proxy, whatever no_proxy contains: Go's own exception.
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
