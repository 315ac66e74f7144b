"""Frees ports that move from one of a stack's caches to another, or to a cluster.

The container that has such a port is removed before the engine runs. The engine finds it gone, as
if it had been removed by hand. Its volume stays.
"""

import time

from ops import whose
from ops.docker import api, docker_config, which
from ops.stack import machine_facts, preflight, stack_files, stack_secrets
from ops.stack.preflight import Host
from plan import host_ports
from plan.caches import addressing, cache_plan
from plan.ownership import Recorded
from plan.problems import SettingsError
from plan.settings.stack import Settings
from plan.stack import build

REMOVE_SECONDS = 30


def make_room(stack: str, settings: Settings) -> list[str]:
    """Remove the containers that must give up a port; returns a line for each.

    Raises:
        SettingsError: two parts of the stack want one port, or conflict in another way.
        OpsError: the program would refuse the stack's configuration.
        DockerUnavailableError: Docker does not answer.
        DockerException: Docker reports an error.
    """
    client = api.connect()
    needs_gateway = addressing.needs_bridge_gateway(settings)
    bridge = api.bridge_gateway(client) if needs_gateway else None
    # Certificates and secrets make no difference to ports.
    plans = cache_plan.build(settings, addressing.resolve(settings, bridge))
    if problems := host_ports.clashes(settings.clusters, plans):
        raise SettingsError(problems)
    host, recorded = preflight.look(), whose.recorded(stack)
    moving = preflight.moves(host, plans, settings.clusters, recorded)
    # Anything else in the way is reported by the engine's run; until then nothing is removed.
    if not moving or _is_refused(stack, host, recorded, bridge):
        return []
    ids = {container.name: container.id for container in host.containers}
    deadline = time.monotonic() + REMOVE_SECONDS
    for name in dict.fromkeys(move.container for move in moving):
        api.remove_until_gone(client, ids[name], deadline)
    lines = (
        f"removed the container {move.container}: its port {move.port.port} goes to {move.by}"
        for move in moving
    )
    return list(dict.fromkeys(lines))  # one line for a port of several addresses


def _is_refused(stack: str, host: Host, recorded: Recorded, bridge: str | None) -> bool:
    """Whether the engine or the program will refuse, whatever happens to the ports.

    It checks all that the program checks, in the same way. That takes a moment, so only here.
    """
    from ops import passphrase  # imports a cipher that is rarely needed

    if passphrase.advice(stack):
        return True
    us = whose.we_are(stack, recorded)
    which.check(stack, stack_files.keys(stack))
    settings = docker_config.with_logins(stack_secrets.settings_of(stack))
    files = stack_files.named_files(settings)
    facts = machine_facts.gather(stack, settings, files, bridge, host.published)
    plan = build(stack, settings, facts)
    return bool(preflight.preflight_errors(host, plan.caches, plan.clusters, recorded, us))
