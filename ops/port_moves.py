"""Makes room for ports that move from one of a stack's caches to another, or to a cluster.

A container that goes or moves is removed before the engine runs, which then finds it gone, as when
somebody had removed it by hand. Its volume stays.
"""

import time

from ops import docker_api, preflight, whose
from plan import addressing, caches, host_ports
from plan.checks import SettingsError
from plan.settings import Settings

REMOVE_SECONDS = 30


def make_room(stack: str, settings: Settings) -> list[str]:
    """Remove what has to give up a port; returns a line for each.

    Raises:
        SettingsError: two things of the stack are to get one port.
        DockerUnavailableError: Docker does not answer.
        DockerException: it refuses.
    """
    client = docker_api.connect()
    asks = addressing.needs_bridge_gateway(settings)
    bridge = docker_api.bridge_gateway(client) if asks else None
    # Certificates and secrets have no part in which ports they get.
    plans = caches.build(settings, addressing.resolve(settings, bridge))
    if problems := host_ports.clashes(settings.clusters, plans):
        raise SettingsError(problems)
    host, recorded = preflight.look(), whose.recorded(stack)
    moving = preflight.moves(host, plans, settings.clusters, recorded)
    # The program is about to tell of anything else in the way; until then all stays as it is.
    if not moving or preflight.conflicts(host, plans, recorded, whose.we_are(stack, recorded)):
        return []
    ids = {container.name: container.id for container in host.containers}
    deadline = time.monotonic() + REMOVE_SECONDS
    for name in dict.fromkeys(move.container for move in moving):
        docker_api.remove_until_gone(client, ids[name], deadline)
    return [
        f"removed the container {move.container}, whose port {move.port.port} is for {move.by} now"
        for move in moving
    ]
