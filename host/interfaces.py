"""Facts about this machine that Docker does not report."""

import fcntl
import platform
import socket
import struct
from collections.abc import Iterable

ARM = ("aarch64", "arm64")
BRIDGE_INTERFACE = "docker0"
# From <bits/ioctls.h>: asks the kernel for an interface's IPv4 address.
SIOCGIFADDR = 0x8915


def architecture() -> str:
    """This machine's architecture, as Go names it."""
    return "arm64" if platform.machine() in ARM else "amd64"


def bridge_address(reported: Iterable[str | None]) -> str | None:
    """IPv4 address of Docker's default bridge on this machine, or None if it has none.

    Args:
        reported: the gateways that Docker reports for it; right after dockerd's very first start
            there are none, although the interface exists.
    """
    return next(filter(None, reported), None) or interface_address(BRIDGE_INTERFACE)


def interface_address(interface: str) -> str | None:
    """IPv4 address of a network interface of this machine, or None if it has none."""
    request = struct.pack("256s", interface.encode())
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            answer = fcntl.ioctl(probe.fileno(), SIOCGIFADDR, request)
        except OSError:
            return None
    # struct ifreq: 16 bytes of name, 4 of family and port, then the address.
    return socket.inet_ntoa(answer[20:24])
