"""The address of Docker's default bridge, which containers and VMs on this machine can reach."""

import pulumi
import pulumi_docker as docker

from host.interfaces import BRIDGE_INTERFACE, bridge_address

BRIDGE_NETWORK = "bridge"


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
    address = bridge_address(config.gateway for config in network.ipam_configs)
    if address is None:
        raise pulumi.RunError(
            "Docker's default bridge has no gateway, and there is no interface "
            f"{BRIDGE_INTERFACE} on this machine. Set 'addressing' to an address that nodes can "
            "reach (on Docker Desktop: host.docker.internal, with bindAddresses [127.0.0.1])."
        )
    return address
