"""Addresses, ports and URLs."""

import ipaddress
from collections.abc import Iterable
from urllib.parse import urlsplit


def ip_address(value: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address that `value` is, if it is one; an IPv4 address in IPv6 dress is the IPv4 one.

    An IPv6 address with a zone is none here: what is behind the % means something on one machine
    only, and Docker does not publish on it.
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
    """Host and port behind a URL, the port that its scheme implies where it names none.

    Raises:
        ValueError: it is no http or https URL.
    """
    parts = urlsplit(url)
    if parts.scheme not in _USUAL_PORTS or not parts.hostname:
        raise ValueError(f"{url} is no http or https URL")
    return parts.hostname, parts.port or _USUAL_PORTS[parts.scheme]


LOOPBACK = "127.0.0.1"
EVERY_ADDRESS = "0.0.0.0"  # noqa: S104 - the value that decision 5 guards against


def url_host(host: str) -> str:
    """IPv6 addresses stand in brackets in a URL."""
    return f"[{host}]" if ":" in host else host


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
