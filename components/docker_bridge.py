"""The address of Docker's default bridge, which containers and VMs on this machine can reach."""

import fcntl
import socket
import struct

import pulumi
import pulumi_docker as docker

BRIDGE_NETWORK = "bridge"
BRIDGE_INTERFACE = "docker0"
# From <bits/ioctls.h>: asks the kernel for an interface's IPv4 address.
SIOCGIFADDR = 0x8915


def gateway() -> str:
    """IPv4 address of the bridge on this host, as the Docker provider reports it.

    Raises:
        pulumi.RunError: Docker does not answer, or has no default bridge.
    """
    try:
        network = docker.get_network(name=BRIDGE_NETWORK)
    except Exception as error:
        raise pulumi.RunError(
            f"Docker did not say what its bridge's address is: {error}\n"
            "Start Docker (make up does it for you where it can), or set 'addressing' to an "
            "address of this machine."
        ) from error
    reported = [config.gateway for config in network.ipam_configs if config.gateway]
    # Right after dockerd's very first start it reports none, though the interface is there.
    address = reported[0] if reported else interface_address(BRIDGE_INTERFACE)
    if address is None:
        raise pulumi.RunError(
            "Docker's default bridge has no gateway, and there is no interface "
            f"{BRIDGE_INTERFACE} on this machine. Set 'addressing' to an address that nodes can "
            "reach (on Docker Desktop: host.docker.internal, with bindAddresses [127.0.0.1])."
        )
    return address


def interface_address(interface: str) -> str | None:
    """IPv4 address of a network interface of this machine, or None where it has none."""
    request = struct.pack("256s", interface.encode())
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            answer = fcntl.ioctl(probe.fileno(), SIOCGIFADDR, request)
        except OSError:
            return None
    # struct ifreq: 16 bytes of name, 4 of family and port, then the address.
    return socket.inet_ntoa(answer[20:24])
