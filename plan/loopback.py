"""Names and addresses with which a container reaches only itself."""

import ipaddress
import re

from plan.network import address_of, ip_address
from plan.settings.checks import Checks

# As Debian, Fedora, Alpine and Docker have them in /etc/hosts; `localhost` and all below it is
# loopback for every resolver (RFC 6761).
_NAMES = frozenset(
    {"localhost.localdomain", "localhost4", "localhost6", "ip6-localhost", "ip6-loopback"}
)
_NUMBER = re.compile(r"0x[0-9a-f]*|[0-9]+")
_BITS = 32
# The gateway of Docker's bridge on most machines, for when this machine's is not known.
BRIDGE = "172.17.0.1"
# The names and addresses of the host for containers, on most machines.
OF_THE_HOST = (BRIDGE, "host.docker.internal")


def is_loopback(host: str) -> bool:
    """Whether a host, without brackets, is loopback or the unspecified address."""
    host = host.lower().removesuffix(".")
    if host in _NAMES or host == "localhost" or host.endswith(".localhost"):
        return True
    address = ip_address(host) or _as_c_reads_it(host)
    return address is not None and (address.is_loopback or address.is_unspecified)


def refuse(check: Checks, path: str, url: str, who: str, *, is_here: bool = True) -> bool:
    """Whether a URL leads back to the container that connects to it; reports that as a mistake.

    Args:
        check: collects mistakes.
        path: of the key.
        url: http or https.
        who: connects to it.
        is_here: whether that is a container on this machine.
    """
    host, port = address_of(url)
    if not is_loopback(host):
        return False
    rule = f"{who} connects to it, and in a container loopback is the container itself"
    bridge = f"{url.partition('://')[0]}://{BRIDGE}:{port}"
    fix = (
        "have the server listen on the address of Docker's bridge as well, and write that: "
        f'"{bridge}" on most machines (ip -4 address show docker0)'
    )
    check.add(path, url, rule, fix if is_here else f"write the address by which {who} reaches it")
    return True


def _as_c_reads_it(host: str) -> ipaddress.IPv4Address | None:
    """An IPv4 address as C's `inet_aton` reads it: `127.1`, `0x7f000001`, `0`."""
    parts = host.split(".")
    if len(parts) > 4 or not all(_NUMBER.fullmatch(part) for part in parts):
        return None
    try:
        *first, last = (_number(part) for part in parts)
    except ValueError:  # 08 is not an octal number
        return None
    room = _BITS - 8 * len(first)
    if any(number > 255 for number in first) or last >= 1 << room:
        return None
    above = sum(number << (_BITS - 8 * place) for place, number in enumerate(first, start=1))
    return ipaddress.IPv4Address(above + last)


def _number(part: str) -> int:
    if part.startswith("0x"):
        return int(part[2:] or "0", 16)
    return int(part, 8 if part.startswith("0") else 10)
