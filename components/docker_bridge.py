"""The address of Docker's default bridge, which containers and VMs on this machine can reach."""

import pulumi
import pulumi_docker as docker

from host.interfaces import BRIDGE_INTERFACE, bridge_address

BRIDGE_NETWORK = "bridge"


def gateway() -> str:
    """Return the IPv4 address of the bridge on this host, as the Docker provider reports it.

    Raises:
        pulumi.RunError: Docker does not answer, or has no default bridge.
    """
    try:
        network = docker.get_network(name=BRIDGE_NETWORK)
    except Exception as error:
        raise pulumi.RunError(
            f"Docker did not report the address of its default bridge: {error}\n"
            "Start Docker (make up does that if it can), or set 'addressing' to an address of "
            "this machine."
        ) from error
    address = bridge_address(config.gateway for config in network.ipam_configs)
    if address is None:
        raise pulumi.RunError(
            f"Docker's default bridge has no gateway, and this machine has no {BRIDGE_INTERFACE} "
            "interface. Set 'addressing' to an address that nodes can reach (on Docker Desktop: "
            "host.docker.internal, with bindAddresses [127.0.0.1])."
        )
    return address
