"""Makes room for ports that move from one of a stack's caches to another, or to a cluster.

A container that goes or moves is removed before the engine runs, which then finds it gone, as when
somebody had removed it by hand. Its volume stays.
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
    """Remove what has to give up a port; returns a line for each.

    Raises:
        SettingsError: two things of the stack are to get one port, or do not go together otherwise.
        OpsError: the program can't run as things are, for what the stack's configuration says.
        DockerUnavailableError: Docker does not answer.
        DockerException: it refuses.
    """
    client = api.connect()
    asks = addressing.needs_bridge_gateway(settings)
    bridge = api.bridge_gateway(client) if asks else None
    # Certificates and secrets have no part in which ports they get.
    plans = cache_plan.build(settings, addressing.resolve(settings, bridge))
    if problems := host_ports.clashes(settings.clusters, plans):
        raise SettingsError(problems)
    host, recorded = preflight.look(), whose.recorded(stack)
    moving = preflight.moves(host, plans, settings.clusters, recorded)
    # The engine is about to tell of anything else in the way; until then all stays as it is.
    if not moving or _is_refused(stack, host, recorded, bridge):
        return []
    ids = {container.name: container.id for container in host.containers}
    deadline = time.monotonic() + REMOVE_SECONDS
    for name in dict.fromkeys(move.container for move in moving):
        api.remove_until_gone(client, ids[name], deadline)
    said = (
        f"removed the container {move.container}, whose port {move.port.port} is for {move.by} now"
        for move in moving
    )
    return list(dict.fromkeys(said))  # a port that several addresses have is told once


def _is_refused(stack: str, host: Host, recorded: Recorded, bridge: str | None) -> bool:
    """Whether the engine or the program is going to refuse whatever we do about ports.

    It looks at all that the program looks at, as that does: only here does it cost something.
    """
    from ops import passphrase  # its cipher is seldom needed

    if passphrase.advice(stack):
        return True
    us = whose.we_are(stack, recorded)
    which.check(stack, stack_files.keys(stack))
    settings = docker_config.with_logins(stack_secrets.settings_of(stack))
    files = stack_files.named_files(settings)
    facts = machine_facts.gather(stack, settings, files, bridge, host.published)
    plan = build(stack, settings, facts)
    return bool(preflight.preflight_errors(host, plan.caches, plan.clusters, recorded, us))
